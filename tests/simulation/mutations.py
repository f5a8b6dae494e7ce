"""Breaks each rule of the protocol once, and counts the seeds until the simulation finds it.

`python -m tests.simulation.mutations [--most N] [--only WORDS]`. The product is patched here and nowhere else, and only
as long as a mutated run lasts.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any

from maintenance.domain import message_ids
from maintenance.domain.instances import Baseline, Instance
from maintenance.domain.messages import Envelope
from maintenance.domain.operation import Operation
from maintenance.lifecycle import ending, planning, posting, tracking, verdicts, waves
from maintenance.lifecycle.actions import Done
from maintenance.operations.dead_letters import DeadLetterReader
from maintenance.operations.instance_views import InstanceViews
from maintenance.operations.poller import Poller
from maintenance.operations.runner import Runner
from maintenance.requests import handler
from maintenance.servicebus.coordination_queue import CoordinationQueue
from tests.simulation import worker
from tests.simulation.gateways import Bus, CoordinationClient
from tests.simulation.story import play_seed, silence

Original = Any
# What is patched: an object, the name in it, and what makes the new value of the original.
Patch = tuple[object, str, Callable[[Original], Any]]
FAR = float("inf")


@dataclass(frozen=True, slots=True)
class Mutation:
    """A rule that is broken. `harmless`: nothing may break, as a control."""

    name: str
    patches: tuple[Patch, ...]
    harmless: bool = False


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


def _timing(**changes: Any) -> Patch:
    def change(settings: Original) -> Any:
        return replace(settings, timing=replace(settings.timing, **changes))

    return worker, "SETTINGS", change


def _always(value: Any) -> Callable[[Original], Any]:
    return lambda original: lambda *args, **kwargs: value


def _nothing(original: Original) -> Any:
    async def nothing(*args: Any, **kwargs: Any) -> int:
        return 0

    return nothing


def _without_confirmation(original: Original) -> Any:
    async def submit(self: Runner, action: Any, settle: Any, views: Any) -> Any:
        async def sure() -> bool:
            await settle()
            return True

        return await original(self, action, sure, views)

    return submit


def _act_then_complete(original: Original) -> Any:
    async def submit(self: Runner, action: Any, settle: Any, views: Any) -> Any:
        async def later() -> bool:
            return True

        concluded = await original(self, action, later, views)
        await settle()
        return concluded

    return submit


def _without_intent(original: Original) -> Any:
    async def submit(self: Runner, action: Any, settle: Any, views: Any) -> Any:
        schedule = self._bus.schedule

        async def unscheduled(record: Any) -> int:
            return 0

        self._bus.schedule = unscheduled  # type: ignore[method-assign]
        try:
            return await original(self, action, settle, views)
        finally:
            self._bus.schedule = schedule  # type: ignore[method-assign]

    return submit


def _complete_then_send(original: Original) -> Any:
    async def settle(self: Poller, deliveries: Any, units: Any, tick: Any) -> None:
        for unit in units:
            await deliveries.complete(unit.delivery)
        await original(self, deliveries, units, tick)

    return settle


def _answer_before_marker(original: Original) -> Any:
    async def handle(self: handler.RequestHandler, envelope: Envelope) -> None:
        coordination, put = self._coordination, []

        class Later:
            async def put(self, entry: Any) -> None:
                put.append(entry)

        self._coordination = Later()
        try:
            await original(self, envelope)
        finally:
            self._coordination = coordination
        for entry in put:
            await coordination.put(entry)

    return handle


def _only_one_page(original: Original) -> Any:
    async def peek(self: CoordinationClient, *, max_message_count: int, sequence_number: int) -> Any:
        page = await original(self, max_message_count=max_message_count, sequence_number=sequence_number)
        self._process.entries_asked_at = self._began
        return page if sequence_number == 1 else []

    return peek


class _Anything:
    """The lease of whoever looks."""

    run_id = type("", (), {"__ne__": lambda *_: False, "__eq__": lambda *_: True, "__hash__": lambda _: 0})()


def _run_of_request(original: Original) -> Any:
    def run_id(self: Envelope) -> str:
        try:
            own = json.loads(self.body).get("requestId", "")
        except (ValueError, AttributeError):
            own = ""
        return message_ids.short_hash(str(own or self.message_id), length=32)

    return property(run_id)


def _by_phase(original: Original) -> Any:
    return property(lambda self: f"{message_ids.record(self.run_id, self.number)}:{self.phase}:{len(self.owed)}")


def _no_longer_planned(original: Original) -> Any:
    def plan(rules: Any, operation: Operation, looked: Any, now: Any, **kwargs: Any) -> Any:
        if looked.instances is not None and operation.planned:
            operation = replace(operation, planned=False, wave=0, waves=())
        return original(rules, operation, looked, now, **kwargs)

    return plan


def _with(number: int, value: Any) -> Callable[[Original], Any]:
    """The same, with another value for one of its arguments."""
    return lambda original: lambda *args, **kwargs: original(*args[:number], value, *args[number + 1 :], **kwargs)


def _keyword(**values: Any) -> Callable[[Original], Any]:
    return lambda original: lambda *args, **kwargs: original(*args, **{**kwargs, **values})


def _fewest(most: int | None, eligible: Any, instances: Any) -> Any:
    return tuple(eligible)[:most]


def _without(field: str, number: int, value: Any) -> Callable[[Original], Any]:
    def change(original: Original) -> Any:
        def changed(*args: Any, **kwargs: Any) -> Any:
            args = (*args[:number], replace(args[number], **{field: value}), *args[number + 1 :])
            return original(*args, **kwargs)

        return changed

    return change


def _of_any_set(original: Original) -> Any:
    def cancellation(entries: Any, scale_set: str, request_id: str, enqueued_at: Any) -> Any:
        renamed = [replace(each, scale_set=scale_set) for each in entries]
        return original(renamed, scale_set, request_id, enqueued_at)

    return cancellation


def _of_any_content(original: Original) -> Any:
    def leases_of(entries: Any, scale_set: str) -> Any:
        return [replace(each, content="") for each in original(entries, scale_set)]

    return leases_of


def _up(original: Original) -> Any:
    return property(lambda self: self.reported and original.fget(self))


def _eligible_if_unreported(original: Original) -> Any:
    return property(lambda self: original.fget(replace(self, reported=True)))


def _no_age(original: Original) -> Any:
    async def of(self: InstanceViews, scale_set: Any, *, flexible: Any = None, newer_than: Any = None) -> Any:
        self._max_age = FAR
        return await original(self, scale_set, flexible=flexible)

    return of


def _shared_for_ever(original: Original) -> Any:
    def views(self: Runner) -> Any:
        if not hasattr(self, "shared"):
            self.shared = original(self)  # type: ignore[attr-defined]
        return self.shared

    return views


def _post_late(original: Original) -> Any:
    return lambda self, operation, ids, until: original(self, operation, ids, FAR)


NO_LOOK: tuple[Patch, ...] = (
    (posting, "own_leases", _always([_Anything])),
    (posting, "leases_of", _always([_Anything])),
)
MUTATIONS = (
    Mutation("nothing", (), harmless=True),
    Mutation("JUDGE is not canceled", ((Bus, "cancel", _nothing),), harmless=True),
    Mutation("the POST comes without a confirmed completion", ((Runner, "_submit", _without_confirmation),)),
    Mutation("the POST comes before the completion", ((Runner, "_submit", _act_then_complete),)),
    Mutation("a redelivered POST acts", ((posting, "deliver", _keyword(redelivered=False)),)),
    Mutation("no JUDGE is sent before the POST", ((Runner, "_submit", _without_intent),)),
    Mutation("JUDGE plans again without looking", ((posting, "is_changed", _always(False)),)),
    Mutation("JUDGE looks after a minute", (_timing(settle=timedelta(minutes=1)),)),
    Mutation("ids of records depend on the decision", ((Operation, "message_id", _by_phase),)),
    Mutation("a record is completed before its successor is sent", ((Poller, "_settle", _complete_then_send),)),
    Mutation("the run id follows from the requestId", ((Envelope, "run_id", _run_of_request),)),
    Mutation("the POST does not look at the leases", NO_LOOK),
    Mutation("nobody looks at the leases of others", (*NO_LOOK, (planning, "_lease", _always(None)))),
    Mutation("the first in line does not wait", (_timing(lease_wait=timedelta(0)),)),
    Mutation("the last in line is first", ((planning, "leases_of", lambda o: lambda *a: o(*a)[::-1]),)),
    Mutation("a short page ends the peek", ((CoordinationClient, "peek_messages", _only_one_page),)),
    Mutation("the marker lasts a day", ((handler, "MARKER_LASTS", lambda _: timedelta(days=1)),)),
    Mutation("the marker lasts five minutes", ((handler, "MARKER_LASTS", lambda _: timedelta(minutes=5)),)),
    Mutation("the answer comes before the marker", ((handler.RequestHandler, "handle", _answer_before_marker),)),
    Mutation("the POST does not look at markers", ((posting, "cancellation", _always(None)),)),
    Mutation("PLAN does not look at markers", ((planning, "cancellation", _always(None)),)),
    Mutation("a marker holds for any scale set", ((planning, "cancellation", _of_any_set),)),
    Mutation(
        "a duplicate is one of any content",
        ((planning, "leases_of", _of_any_content), (planning, "plan", _without("content", 1, ""))),
    ),
    Mutation("END releases while a wave is at work", ((ending, "deliver_end", _without("at_work", 1, value=False)),)),
    Mutation("the lease's id is not used up", ((CoordinationQueue, "use_up", _nothing),)),
    Mutation("REST does not look again", ((ending, "after_release", lambda _: lambda r, o, **k: Done(o)),)),
    Mutation(
        "what is down is not counted", ((planning, "within", lambda _: _fewest), (posting, "within", lambda _: _fewest))
    ),
    Mutation("what is down is not counted by the POST", ((posting, "within", lambda _: lambda m, e, i: tuple(e)),)),
    Mutation("waves are split anew", ((planning, "plan", _no_longer_planned),)),
    Mutation("the stopwatch is ignored", ((Runner, "_post", _post_late),)),
    Mutation("the lag of views is ignored", (_timing(view_lag=timedelta(0)),)),
    Mutation("views are shared at any age", ((InstanceViews, "of", _no_age), (Runner, "views", _shared_for_ever))),
    Mutation("the baseline is ignored", ((verdicts, "is_completed", _with(1, Baseline())),)),
    Mutation(
        "ARM's word is enough", ((verdicts, "is_completed", lambda o: lambda *a, **k: k["succeeded"] or o(*a, **k)),)
    ),
    Mutation(
        "an absent status is completed",
        ((verdicts, "is_completed", lambda o: lambda *a, **k: a[0].maintenance is None or o(*a, **k)),),
    ),
    Mutation("an unreported view counts as up", ((Instance, "is_down", _up),)),
    Mutation(
        "an unreported view counts as eligible",
        ((Instance, "state", _eligible_if_unreported), (Instance, "is_down", _up)),
    ),
    Mutation("health is not waited for", ((tracking, "has_recovered", _always(value=True)),)),
    Mutation(
        "update domains are mixed",
        (
            (waves, "split", lambda o: o),
            (planning, "split", lambda o: lambda i, r, **k: o(i, replace(r, by_update_domain=False), **k)),
        ),
    ),
    Mutation("dead letters are ignored", ((DeadLetterReader, "read", _nothing),)),
)


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
                return Finding(mutation.name, seed, str(outcome.broken[0]), time.monotonic() - started)
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
        for finding in pool.imap(partial(find, most=options.most), chosen, chunksize=1):
            harmless = next(each.harmless for each in MUTATIONS if each.name == finding.name)
            wrong += harmless and finding.how is not None
            found = f"seed {finding.seeds:5}" if finding.how else f"not in {finding.seeds:5}"
            print(f"{finding.name:55} {found:14} {(finding.how or '')[:110]}", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
