"""Breaks each rule of the protocol once, and counts the seeds until the simulation finds it.

`python -m tests.simulation.mutations [--most N] [--only WORDS]`. The product is patched here and nowhere else, and only
as long as a mutated run lasts.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial

from maintenance.coordination.pauses import Resume
from maintenance.domain.instances import Baseline, Instance
from maintenance.domain.messages import Envelope
from maintenance.domain.operation import Operation
from maintenance.lifecycle import deferring, ending, planning, posting, tracking, verdicts
from maintenance.lifecycle.actions import Done, Submit
from maintenance.operations import poller
from maintenance.operations.dead_letters import DeadLetterReader
from maintenance.operations.instance_views import InstanceViews
from maintenance.operations.runner import Runner
from maintenance.policies import gates, waves
from maintenance.policies.calendar import Calendar
from maintenance.policies.limits import Limits
from maintenance.requests import controls, handler
from maintenance.servicebus.coordination_queue import CoordinationQueue
from tests.simulation.gateways import Bus, CoordinationClient
from tests.simulation.mutants import (
    Anything,
    Patch,
    act_then_complete,
    always,
    answer_before_marker,
    by_phase,
    complete_then_send,
    eligible_if_unreported,
    fewest,
    keyword,
    no_age,
    no_longer_planned,
    nothing,
    of_any_content,
    of_any_set,
    of_any_time,
    of_any_wave,
    only_one_page,
    post_late,
    run_of_request,
    shared_for_ever,
    still_open,
    timing,
    up,
    whenever,
    with_argument,
    without,
    without_confirmation,
    without_intent,
)
from tests.simulation.story import play_seed, silence


@dataclass(frozen=True, slots=True)
class Mutation:
    """A rule that is broken. `harmless`: nothing may break, as a control. `hidden`: why the simulation hardly finds it,
    or never: another rule keeps the promise."""

    name: str
    patches: tuple[Patch, ...]
    harmless: bool = False
    hidden: str = ""


@contextlib.contextmanager
def mutated(mutation: Mutation) -> Iterator[None]:
    before = [(target, name, vars(target)[name]) for target, name, _ in mutation.patches]
    try:
        for target, name, change in mutation.patches:
            setattr(target, name, change(vars(target)[name]))
        yield
    finally:
        for target, name, original in reversed(before):
            setattr(target, name, original)


NO_READ: tuple[Patch, ...] = (
    (posting, "own_leases", always([Anything])),
    (posting, "leases_of", always([Anything])),
)
MUTATIONS = (
    Mutation("the POST comes without a confirmed completion", ((Runner, "_submit", without_confirmation),)),
    Mutation("the POST comes before the completion", ((Runner, "_submit", act_then_complete),)),
    Mutation("a redelivered POST acts", ((posting, "deliver", keyword(redelivered=False)),)),
    Mutation("no JUDGE is sent before the POST", ((Runner, "_submit", without_intent),)),
    Mutation("JUDGE plans again without looking", ((posting, "is_changed", always(False)),)),
    Mutation("JUDGE looks after a minute", (timing(settle=timedelta(minutes=1)),)),
    Mutation("ids of records depend on the decision", ((Operation, "message_id", by_phase),)),
    Mutation("a record is completed before its successor is sent", ((poller, "settle", complete_then_send),)),
    Mutation("the run id follows from the requestId", ((Envelope, "run_id", run_of_request),)),
    Mutation(
        "the POST does not read the leases", NO_READ, hidden="PLAN has just read them, and what is down is counted too"
    ),
    Mutation("nobody looks at the leases of others", (*NO_READ, (planning, "_lease", always(None)))),
    Mutation("the first in line does not wait", (timing(lease_wait=timedelta(0)),)),
    Mutation("the last in line is first", ((planning, "leases_of", lambda o: lambda *a: o(*a)[::-1]),)),
    Mutation("a short page ends the peek", ((CoordinationClient, "peek_messages", only_one_page),)),
    Mutation(
        "the marker lasts a day",
        ((controls, "MARKER_LASTS", lambda _: timedelta(days=1)),),
        hidden="runs of the simulation meet their markers within a day",
    ),
    Mutation("the marker lasts five minutes", ((controls, "MARKER_LASTS", lambda _: timedelta(minutes=5)),)),
    Mutation("the answer comes before the marker", ((handler.RequestHandler, "handle", answer_before_marker),)),
    Mutation(
        "the POST does not read markers",
        ((posting, "cancellation", always(None)),),
        hidden="a POST that waited a minute was received before, and does not act",
    ),
    Mutation("PLAN does not read markers", ((planning, "cancellation", always(None)),)),
    Mutation("a marker holds for any scale set", ((planning, "cancellation", of_any_set),)),
    Mutation(
        "a duplicate is one of any content",
        ((planning, "leases_of", of_any_content), (planning, "plan", without("content", 1, ""))),
    ),
    Mutation("END releases while a wave is at work", ((ending, "deliver_end", without("at_work", 1, value=False)),)),
    Mutation("the lease's id is not used up", ((CoordinationQueue, "use_up", nothing),)),
    Mutation("REST does not read again", ((ending, "after_release", lambda _: lambda r, o, **k: Done(o)),)),
    Mutation("what is down is not counted", ((waves, "within", lambda _: fewest),)),
    Mutation(
        "what is down is not counted by the POST",
        ((posting, "startable", lambda _: lambda operation, instances, leases, wanted, limits: tuple(wanted)),),
        hidden="PLAN has just counted them, and a lease keeps other runs away",
    ),
    Mutation(
        "what another run has just done is forgotten",
        ((planning, "stale_views", always(None)), (posting, "stale_views", always(None))),
        hidden="takes a lagging view and a POST record whose lock is lost at once, moments after a run",
    ),
    Mutation(
        "limits of other leases do not count",
        ((waves, "most_down", with_argument(2, ())),),
        hidden="the first in line waits until every lease shows, so that two are hardly ever at work at once",
    ),
    Mutation("waves are split anew", ((planning, "plan", no_longer_planned),)),
    Mutation("the stopwatch is ignored", ((Runner, "_post", post_late),)),
    Mutation("the lag of views is ignored", (timing(view_lag=timedelta(0)),)),
    Mutation("views are shared at any age", ((InstanceViews, "of", no_age), (Runner, "views", shared_for_ever))),
    Mutation("the baseline is ignored", ((verdicts, "is_completed", with_argument(1, Baseline())),)),
    Mutation(
        "ARM's word is enough", ((verdicts, "is_completed", lambda o: lambda *a, **k: k["succeeded"] or o(*a, **k)),)
    ),
    Mutation(
        "an absent status is completed",
        ((verdicts, "is_completed", lambda o: lambda *a, **k: a[0].maintenance is None or o(*a, **k)),),
    ),
    Mutation("an unreported view counts as up", ((Instance, "is_down", up),)),
    Mutation(
        "an unreported view counts as eligible",
        ((Instance, "state", eligible_if_unreported), (Instance, "is_down", up)),
    ),
    Mutation("health is not waited for", ((tracking, "has_recovered", always(value=True)),)),
    Mutation(
        "update domains are mixed",
        (
            (waves, "split", lambda o: o),
            (planning, "split", lambda o: lambda i, r, **k: o(i, replace(r, by_update_domain=False), **k)),
        ),
    ),
    Mutation("dead letters are ignored", ((DeadLetterReader, "read", nothing),)),
    Mutation("JUDGE is not canceled", ((Bus, "cancel", nothing),), harmless=True),
    Mutation(
        "the POST does not read what keeps it waiting",
        ((posting, "deferral", always(None)),),
        hidden="PLAN has just read it",
    ),
    Mutation("windows and blackouts do not count", ((Calendar, "closed", always(None)),)),
    Mutation("pauses do not count", ((deferring, "pause_of", always(None)),)),
    Mutation(
        "calls may be sent after the window",
        ((Submit, "seconds_left", without("until", 0, None)),),
        hidden="what was read must be a minute old at the most",
    ),
    Mutation("a resume ends later pauses, too", ((Resume, "lifts", whenever),)),
    Mutation("whose turn it is does not count", ((deferring, "turn", always(None)),)),
    Mutation(
        "runs under limits do not wait until leases show",
        (
            (
                deferring,
                "in_line",
                lambda _: lambda r, o, e, n: replace(o, leased_at=o.leased_at or n - timedelta(hours=1)),
            ),
        ),
    ),
    Mutation("gates do not count", ((planning, "must_ask", always(value=False)),)),
    Mutation("a gate opens by itself", ((deferring, "word", always("proceed")),)),
    Mutation("a proceed holds for any wave", ((gates, "proceed_for", of_any_wave),)),
    Mutation("a proceed holds for later requests, too", ((gates, "proceed_for", of_any_time),)),
    Mutation("a gate is asked for once", ((tracking, "close_wave", still_open),)),
    Mutation("the app's limit of a set does not count", ((Limits, "of_set", lambda _: lambda self, total: None),)),
    Mutation("nothing", (), harmless=True),
)


# How a promise is named that is broken by an error which nobody expected.
OWN_FAULT = "unexpected"


@dataclass(frozen=True, slots=True)
class Finding:
    name: str
    seeds: int
    how: str | None
    took: float


def find(number: int, *, most: int) -> Finding:
    """Seeds from 1 until one breaks a promise."""
    silence()
    mutation, started = MUTATIONS[number], time.monotonic()
    with mutated(mutation):
        for seed in range(1, most + 1):
            outcome = play_seed(seed)
            if outcome.broken:
                broken = sorted(map(str, outcome.broken), key=lambda each: each.startswith(OWN_FAULT))
                return Finding(mutation.name, seed, broken[0], time.monotonic() - started)
    return Finding(mutation.name, most, None, time.monotonic() - started)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.mutations", description=__doc__)
    parser.add_argument("--most", type=int, default=3000, help="seeds for each mutation")
    parser.add_argument("--jobs", type=int, default=2, help="processes at once")
    parser.add_argument("--only", default="", help="those whose names hold these words")
    options = parser.parse_args()
    chosen = [number for number, each in enumerate(MUTATIONS) if options.only in each.name]
    wrong = 0
    with multiprocessing.get_context("fork").Pool(options.jobs, maxtasksperchild=1) as pool:
        for finding in pool.imap_unordered(partial(find, most=options.most), chosen, chunksize=1):
            mutation = next(each for each in MUTATIONS if each.name == finding.name)
            harmless, hidden = mutation.harmless, mutation.hidden
            # A mutant that merely fails shows nothing: the product changed under it.
            failed = finding.how is not None and finding.how.startswith(OWN_FAULT)
            wrong += failed or (harmless == (finding.how is not None) and not hidden)
            found = f"seed {finding.seeds:5}" if finding.how else f"not in {finding.seeds:5}"
            why = finding.how or (f"hidden: {hidden}" if hidden else "harmless" if harmless else "NOT FOUND")
            why = f"THE MUTANT FAILS: {why}" if failed else why
            print(f"{finding.name:55} {found:14} {why[:110]}", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
