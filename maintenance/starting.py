"""Starting a wave: planning it, claiming the scale set for it, and asking for it to be posted. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from maintenance.confirmation import touched_since
from maintenance.errors import Problem
from maintenance.following import close_wave
from maintenance.instances import Instance, InstanceState, select
from maintenance.notices import Notice, cancellation, holder, own_rollout
from maintenance.observations import ErrorDetail
from maintenance.operation import Call, Operation, Outcome, Phase, Result, Status
from maintenance.planning import completed_before, plan
from maintenance.steps import (
    Claim,
    Post,
    Rules,
    Step,
    end,
    reject,
    started,
    try_later,
    wait,
)


def plan_waves(
    rules: Rules,
    operation: Operation,
    instances: Sequence[Instance],
    notices: Sequence[Notice],
    now: datetime,
    *,
    suspect: bool,
) -> Step:
    """The first look at the scale set: split the targets into waves and start the first, if nothing is in the way."""
    # A dry run posts nothing, so nothing can be its work.
    suspect = (suspect or operation.posted_at is not None) and not operation.dry_run
    operation = unplanned = replace(operation, claimed=own_rollout(notices, operation.request_id))
    if (cancel := cancellation(notices, operation.scale_set.key, operation.request_id)) and not suspect:
        return cancel_rollout(operation, cancel, now)
    if (other := holder(notices, operation.scale_set.key, operation.request_id, now)) is not None:
        return stand_back(rules, operation, other, now, suspect=suspect)
    planned = plan(operation, instances, suspect=suspect)
    operation = planned.operation
    if planned.problems and not (suspect and planned.under_way):
        return reject(operation, planned.problems, now)
    if operation.dry_run:
        waves = enumerate(operation.waves)
        would = {i: Outcome(Result.WOULD_MAINTAIN, wave=n) for n, wave in waves for i in wave}
        return end(operation.settle_instances(would), now, Status.NOTHING_TO_DO)
    if not operation.waves:
        return end(operation, now)
    operation = replace(operation, phase=Phase.POSTING)
    if len(operation.waves) > 1 and not operation.claimed:
        return Claim(operation, instances, unplanned)
    return start_wave(rules, operation, instances, notices, now, suspect=suspect)


def after_claim(rules: Rules, claim: Claim, notices: Sequence[Notice], now: datetime, *, suspect: bool) -> Step:
    """The request's notice is up; whose was up first has the scale set. The notice stays and keeps the place."""
    scale_set = claim.operation.scale_set
    if (other := holder(notices, scale_set.key, claim.operation.request_id, now)) is not None:
        return stand_back(rules, replace(claim.unplanned, claimed=True), other, now, suspect=suspect)
    claimed = replace(claim.operation, claimed=True)
    return start_wave(rules, claimed, claim.instances, notices, now, suspect=suspect)


def stand_back(rules: Rules, operation: Operation, other: Notice, now: datetime, *, suspect: bool) -> Step:
    """Another request rolls out on the scale set: wait for its end, or be rejected, as the app is set."""
    told = f"request {other.request_id} rolls out on this scale set until {other.until.isoformat()} at the latest"
    if rules.queue_rollouts or suspect:
        return try_later(rules, operation, ErrorDetail("RolloutRunning", f"Not started: {told}."), now)
    return reject(operation, [Problem("scale set", told, operation.scale_set.resource_id)], now)


def cancel_rollout(operation: Operation, cancel: Notice, now: datetime) -> Step:
    """The request was canceled before it, or its next wave, was started."""
    because = f" ({cancel.reason})" if cancel.reason else ""
    told = f"The request was canceled{because}. What Resource Manager had started before is not undone."
    untouched = replace(operation, posted_at=None, calls=(), error=ErrorDetail("Canceled", told), claimed=True)
    return end(untouched, now, Status.CANCELED)


def start_wave(
    rules: Rules,
    operation: Operation,
    instances: Sequence[Instance],
    notices: Sequence[Notice],
    now: datetime,
    *,
    suspect: bool,
) -> Step:
    """Sort the wave's instances by what they show now, and post those that may be."""
    unsure = suspect or operation.posted_at is not None
    found, missing = select(instances, operation.current_wave)
    operation, eligible, running = _sort(operation, found, missing, unsure=unsure)
    running_call = Call(running, ended="unknown" if unsure else "foreign")
    if not eligible:
        # Trouble with the POST is behind us; until then it counts, or a POST that always fails would never slow down.
        operation = replace(operation, failures=0, trouble=None)
        return watch(rules, operation, [running_call], now) if running else close_wave(rules, operation, now)
    if unsure:
        asked = operation.posted_at or now
        operation = replace(operation, posted_at=asked)
        if running:
            return watch(rules, operation, [Call((*eligible, *running), ended="unknown")], now)
        # A run that died may have posted a moment ago, however long ago the one before it did.
        settled_at = (now if suspect else asked) + rules.timing.settle
        if now < settled_at:
            return wait(operation, now, settled_at)
    if (cancel := cancellation(notices, operation.scale_set.key, operation.request_id)) is not None:
        if not running:
            return cancel_rollout(operation, cancel, now)
        # What runs is waited for, so that the event can say how it ended; nothing more is started.
        return watch(rules, operation, [running_call, Call(eligible, ended="unsent")], now)
    stopped = tuple(i for i in (*eligible, *running) if found[i].power not in (None, "running"))
    operation = replace(operation, stopped_before=stopped, calls=(running_call,) if running else ())
    return Post(operation, eligible)


def _sort(
    operation: Operation, found: Mapping[str, Instance], missing: Sequence[str], *, unsure: bool
) -> tuple[Operation, tuple[str, ...], tuple[str, ...]]:
    """The operation with the outcomes of those that need nothing more, the eligible, and those to be followed: they
    are being updated or, where an earlier run may have posted, have been."""
    gone = Outcome(Result.NOT_FOUND, "the instance is no longer in the scale set", operation.wave)
    outcomes = {i: gone for i in missing if i not in operation.outcomes}
    eligible: list[str] = []
    running: list[str] = []
    for instance_id, instance in found.items():
        if instance_id in operation.outcomes:
            continue
        if unsure and touched_since(instance, operation.requested_at):
            running.append(instance_id)
            continue
        match instance.state:
            case InstanceState.ELIGIBLE:
                eligible.append(instance_id)
            case InstanceState.IN_PROGRESS:
                running.append(instance_id)
            case InstanceState.COMPLETED:
                outcomes[instance_id] = completed_before(instance)
            case _:
                outcomes[instance_id] = Outcome(Result.SKIPPED, instance.why, operation.wave)
    return operation.settle_instances(outcomes), tuple(eligible), tuple(running)


def watch(rules: Rules, operation: Operation, calls: Sequence[Call], now: datetime) -> Step:
    """Follow by the instance views alone."""
    watching = replace(
        operation, phase=Phase.FOLLOWING, calls=tuple(calls), confirming_since=now, failures=0, trouble=None
    )
    return wait(started(watching, now), now, rules.timing.next_look(now))


def post_unseen(rules: Rules, operation: Operation, now: datetime, *, suspect: bool) -> Step:
    if operation.dry_run:
        return end(operation, now, Status.NOTHING_TO_DO)
    operation = replace(operation, phase=Phase.POSTING, waves=operation.waves or (operation.targets or (),))
    if suspect or operation.posted_at is not None:
        error = ErrorDetail(
            "OutcomeUnknown",
            "performMaintenance was sent, its outcome is not known, and this app does not read instance views.",
            details=(operation.trouble,) if operation.trouble else (),
        )
        return end(replace(started(operation, now), error=error), now)
    return Post(operation, operation.targets)
