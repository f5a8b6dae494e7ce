"""Starting a wave: planning it, posting it, and reading what ARM answers to that. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from maintenance.following import close_wave, confirm
from maintenance.instances import Instance, InstanceState, select
from maintenance.observations import Accepted, Ambiguous, ErrorDetail, Failed, Refused, Submission, Succeeded, Throttled
from maintenance.operation import Call, Ended, Operation, Outcome, Phase, Result, Status
from maintenance.planning import completed_before, plan
from maintenance.steps import Look, Post, Rules, Step, end, failed, reject, started, try_later, wait

# A 401 can be a token that was revoked a moment ago, a 403 is a missing role: only the first is worth trying again.
UNAUTHORIZED_ATTEMPTS = 3


def plan_waves(
    rules: Rules, operation: Operation, instances: Sequence[Instance], now: datetime, *, suspect: bool
) -> Step:
    suspect = suspect or operation.posted_at is not None
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
    return start_wave(rules, operation, instances, now, suspect=suspect)


def start_wave(
    rules: Rules, operation: Operation, instances: Sequence[Instance], now: datetime, *, suspect: bool
) -> Step:
    found, missing = select(instances, operation.current_wave)
    unsure = suspect or operation.posted_at is not None
    gone = Outcome(Result.NOT_FOUND, "the instance is no longer in the scale set", operation.wave)
    outcomes = {i: gone for i in missing if i not in operation.outcomes}
    eligible: list[str] = []
    running: list[str] = []
    for instance_id, instance in found.items():
        if instance_id in operation.outcomes:
            continue
        match instance.state:
            case InstanceState.ELIGIBLE:
                eligible.append(instance_id)
            case InstanceState.IN_PROGRESS:
                running.append(instance_id)
            case InstanceState.COMPLETED:
                outcomes[instance_id] = completed_before(operation, instance, suspect=unsure)
            case _:
                outcomes[instance_id] = Outcome(Result.SKIPPED, instance.why, operation.wave)
    # What an earlier look watched is sorted anew: a call left over would speak for instances that are posted now.
    operation = replace(operation.settle_instances(outcomes), calls=())
    if eligible and unsure:
        asked = operation.posted_at or now
        operation = replace(operation, posted_at=asked)
        if running:
            return watch(rules, operation, (*eligible, *running), "unknown", now)
        if now < asked + rules.timing.settle:
            return wait(operation, now, asked + rules.timing.settle)
    if eligible:
        if not running:
            return Post(operation, tuple(eligible))
        watched = Call(tuple(running), ended="foreign")
        return Post(replace(operation, calls=(watched,)), tuple(eligible))
    if running:
        return watch(rules, operation, tuple(running), "unknown" if unsure else "foreign", now)
    return close_wave(rules, replace(operation, failures=0, trouble=None), now)


def watch(rules: Rules, operation: Operation, instance_ids: tuple[str, ...], ended: Ended, now: datetime) -> Step:
    call = Call(instance_ids, ended=ended)
    watching = replace(operation, phase=Phase.FOLLOWING, calls=(call,), confirming_since=now, failures=0, trouble=None)
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


def after_post(
    rules: Rules,
    operation: Operation,
    submission: Submission,
    instance_ids: tuple[str, ...] | None,
    now: datetime,
) -> Step:
    """performMaintenance answered, or did not."""
    ids = instance_ids or ()
    following = replace(
        operation, phase=Phase.FOLLOWING, posted_at=None, confirming_since=now, failures=0, trouble=None
    )
    match submission:
        case Accepted(url=url, kind=kind, retry_after=retry_after):
            call = Call(ids, url, kind, ended=None if url else "unknown")
            begun = started(replace(following, calls=(*operation.calls, call)), now)
            if not url and not rules.views:
                return confirm(rules, begun, now)
            return wait(begun, now, rules.timing.next_poll(now, retry_after))
        case Succeeded():
            call = Call(ids, ended="succeeded")
            return confirm(rules, started(replace(following, calls=(*operation.calls, call)), now), now)
        case Failed(error=error, canceled=canceled):
            call = Call(ids, ended="canceled" if canceled else "failed", error=error)
            begun = started(replace(following, calls=(*operation.calls, call), error=error), now)
            return confirm(rules, begun, now)
        case Throttled(error=error, retry_after=retry_after):
            return try_later(rules, operation, error, now, retry_after=retry_after)
        case Refused(error=error, status=401) if operation.failures + 1 < UNAUTHORIZED_ATTEMPTS:
            return try_later(rules, operation, error, now)
        case Refused(error=error, status=status):
            call = Call(ids, ended="refused", error=error)
            refused = replace(following, calls=(*operation.calls, call))
            if status == 409 and rules.views:
                return Look(refused)
            return close_wave(rules, refused.settle_instances(dict.fromkeys(ids, failed(error, operation.wave))), now)
        case Ambiguous(error=error, retry_after=retry_after):
            unsure = replace(operation, trouble=error, posted_at=now, failures=operation.failures + 1)
            pause = max(rules.timing.settle, retry_after or rules.timing.settle)
            return wait(unsure, now, now + pause)


def after_untrusted(operation: Operation, error: ErrorDetail, now: datetime) -> Step:
    """ARM's answer points somewhere that must not be followed: nothing it says can be relied on."""
    return end(replace(started(operation, now), error=error), now)
