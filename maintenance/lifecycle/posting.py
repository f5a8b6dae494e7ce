"""The posting phase: check a wave by the views, post it, and read what ARM answered. Pure.

A Uniform scale set takes one call for a wave, a Flexible one takes one for each VM; all calls of a wave are tracked in
one operation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from maintenance.domain.coordination import CancellationMarker, Entry, cancellation
from maintenance.domain.instances import Instance, InstanceState, select
from maintenance.domain.observations import (
    Accepted,
    Ambiguous,
    ErrorDetail,
    Failed,
    Refused,
    Submission,
    Succeeded,
    Throttled,
)
from maintenance.domain.operation import Call, Operation, Outcome, Phase, Result, Status
from maintenance.lifecycle.actions import Action, Post, Posted, ReadViews, Rules
from maintenance.lifecycle.tracking import close_wave, confirm
from maintenance.lifecycle.transitions import end, failed, retry, started, still_unauthorized, wait
from maintenance.lifecycle.verdicts import completed_before, touched_since


def cancel_rollout(operation: Operation, cancel: CancellationMarker, now: datetime) -> Action:
    """The request was canceled before it, or its next wave, was started."""
    because = f" ({cancel.reason})" if cancel.reason else ""
    told = f"The request was canceled{because}. What Resource Manager had started before is not undone."
    untouched = replace(operation, posted_at=None, calls=(), error=ErrorDetail("Canceled", told), holds_lease=True)
    return end(untouched, now, Status.CANCELED)


def start_wave(
    rules: Rules,
    operation: Operation,
    instances: Sequence[Instance],
    entries: Sequence[Entry],
    now: datetime,
    *,
    may_have_started: bool,
) -> Action:
    """Sort the wave's instances by what they show now, and post those that may be."""
    unsettled = may_have_started or operation.posted_at is not None
    found, missing = select(instances, operation.current_wave)
    operation, eligible, running = _classify(operation, found, missing, unsettled=unsettled)
    running_call = Call(running, ended="unknown" if unsettled else "foreign")
    if not eligible:
        # Trouble with the POST is behind us; until then it counts, or a POST that always fails would never slow down.
        operation = replace(operation, failures=0, transient_error=None)
        return watch(rules, operation, [running_call], now) if running else close_wave(rules, operation, now)
    if unsettled:
        asked = operation.posted_at or now
        operation = replace(operation, posted_at=asked)
        if running:
            return watch(rules, operation, [Call((*eligible, *running), ended="unknown")], now)
        # A run that died may have posted a moment ago, however long ago the one before it did.
        settled_at = (now if may_have_started else asked) + rules.timing.settle
        if now < settled_at:
            return wait(operation, now, settled_at)
    if (cancel := cancellation(entries, operation.scale_set.key, operation.request_id)) is not None:
        if not running:
            return cancel_rollout(operation, cancel, now)
        # What runs is waited for, so that the event can say how it ended; nothing more is started.
        return watch(rules, operation, [running_call, Call(eligible, ended="unsent")], now)
    stopped = tuple(i for i in (*eligible, *running) if found[i].power not in (None, "running"))
    operation = replace(operation, stopped_before=stopped, calls=(running_call,) if running else ())
    return Post(operation, eligible)


def _classify(
    operation: Operation, found: Mapping[str, Instance], missing: Sequence[str], *, unsettled: bool
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
        if unsettled and touched_since(instance, operation.requested_at):
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
    return operation.with_outcomes(outcomes), tuple(eligible), tuple(running)


def watch(rules: Rules, operation: Operation, calls: Sequence[Call], now: datetime) -> Action:
    """Follow by the instance views alone."""
    watching = replace(
        operation, phase=Phase.TRACKING, calls=tuple(calls), confirming_since=now, failures=0, transient_error=None
    )
    return wait(started(watching, now), now, rules.timing.next_read(now))


def post_without_views(rules: Rules, operation: Operation, now: datetime, *, may_have_started: bool) -> Action:
    if operation.dry_run:
        return end(operation, now, Status.NOTHING_TO_DO)
    operation = replace(operation, phase=Phase.POSTING, waves=operation.waves or (operation.targets or (),))
    if may_have_started or operation.posted_at is not None:
        error = ErrorDetail(
            "OutcomeUnknown",
            "performMaintenance was sent, its outcome is not known, and this app does not read instance views.",
            details=(operation.transient_error,) if operation.transient_error else (),
        )
        return end(replace(started(operation, now), error=error), now)
    return Post(operation, operation.targets)


def after_submission(rules: Rules, operation: Operation, posted: Sequence[Posted], now: datetime) -> Action:
    """performMaintenance answered, or did not, for each call of the wave."""
    under_way = [call for ids, submission in posted if (call := _under_way(ids or (), submission)) is not None]
    if under_way:
        return _track(rules, operation, posted, under_way, now)
    ambiguous = [submission for _, submission in posted if isinstance(submission, Ambiguous)]
    if ambiguous:
        pauses = [submission.retry_after for submission in ambiguous if submission.retry_after is not None]
        asked = replace(operation, transient_error=ambiguous[0].error, posted_at=now, failures=operation.failures + 1)
        later = rules.timing.back_off(now, asked.failures, operation.message_id, max(pauses, default=None))
        return wait(asked, now, max(later, now + rules.timing.settle))
    return _not_started(rules, operation, posted, now)


def after_untrusted(operation: Operation, error: ErrorDetail, now: datetime) -> Action:
    """ARM's answer points somewhere that must not be followed: nothing it says can be relied on."""
    return end(replace(started(operation, now), error=error), now)


def _under_way(ids: tuple[str, ...], submission: Submission) -> Call | None:
    """The call to follow, where ARM took it; None where it did not, or may not have."""
    match submission:
        case Accepted(url=url, kind=kind):
            return Call(ids, url, kind, ended=None if url else "unreported")
        case Succeeded():
            return Call(ids, ended="succeeded")
        case Failed(error=error, canceled=canceled):
            return Call(ids, ended="canceled" if canceled else "failed", error=error)
    return None


def _track(
    rules: Rules, operation: Operation, posted: Sequence[Posted], under_way: Sequence[Call], now: datetime
) -> Action:
    calls = [*operation.calls, *under_way]
    dues = []
    error = operation.error
    for ids, submission in posted:
        match submission:
            case Accepted(retry_after=retry_after):
                dues.append(rules.timing.next_poll(now, retry_after))
            case Failed(error=why):
                error = why
            case Refused(error=why):
                calls.append(Call(ids or (), ended="refused", error=why))
            case Ambiguous(error=why):
                calls.append(Call(ids or (), ended="unknown", error=why))
            case Throttled():
                calls.append(Call(ids or (), ended="unsent"))
    following = replace(
        operation,
        phase=Phase.TRACKING,
        calls=tuple(calls),
        posted_at=None,
        confirming_since=now,
        failures=0,
        transient_error=None,
        error=error,
    )
    begun = started(following, now)
    if not dues or (not rules.views and all(call.ended for call in calls)):
        return confirm(rules, begun, now)
    return wait(begun, now, min(dues))


def _not_started(rules: Rules, operation: Operation, posted: Sequence[Posted], now: datetime) -> Action:
    refused = [(ids or (), answer) for ids, answer in posted if isinstance(answer, Refused)]
    throttled = [answer for _, answer in posted if isinstance(answer, Throttled)]
    unauthorized = [answer for _, answer in refused if answer.status == 401]
    # A 401 can be a token that was revoked a moment ago, a 403 is a missing role: only the first may pass.
    if unauthorized and not still_unauthorized(operation, unauthorized[0].error):
        return retry(rules, operation, unauthorized[0].error, now)
    if throttled:
        for ids, answer in refused:
            outcomes = dict.fromkeys(ids, failed(answer.error, operation.wave))
            operation = operation.with_outcomes(outcomes)
        pauses = [answer.retry_after for answer in throttled if answer.retry_after is not None]
        return retry(rules, operation, throttled[0].error, now, retry_after=max(pauses, default=None))
    calls = tuple(Call(ids, ended="refused", error=answer.error) for ids, answer in refused)
    closing = replace(
        operation,
        phase=Phase.TRACKING,
        calls=(*operation.calls, *calls),
        posted_at=None,
        confirming_since=now,
        failures=0,
        transient_error=None,
    )
    if rules.views and any(answer.status == 409 for _, answer in refused):
        # A conflict can mean that the maintenance runs already: the views tell.
        return ReadViews(closing)
    for ids, answer in refused:
        closing = closing.with_outcomes(dict.fromkeys(ids, failed(answer.error, operation.wave)))
    return close_wave(rules, closing, now)
