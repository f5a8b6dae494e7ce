"""The phases POST and JUDGE: post a batch if nothing changed since it was planned, and judge whether ARM took it. Pure.

A Uniform scale set takes one call for a batch, a Flexible one takes one for each VM.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from maintenance.coordination.entries import cancellation, leases_of, own_leases, stale_views
from maintenance.domain.instances import InstanceState, select
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
from maintenance.domain.operation import Call, Operation, Outcome, Phase, Result
from maintenance.lifecycle.actions import Action, Continue, LeaveToJudge, Posted, Read, StateRead, Submit, Untrusted
from maintenance.lifecycle.deferring import calendar_of, deferral
from maintenance.lifecycle.ending import cancel, end, failed, proceed, retry, still_unauthorized, time_out, took, wait
from maintenance.lifecycle.rules import Rules
from maintenance.lifecycle.tracking import confirm
from maintenance.lifecycle.verdicts import is_changed
from maintenance.policies.waves import startable

UNKNOWN = ErrorDetail(
    "OutcomeUnknown", "performMaintenance was sent, its outcome is not known, and instance views are not read."
)
LEASE_LOST = ErrorDetail("LeaseLost", "The run's lease of the scale set is gone; nothing more is started.")


def deliver(rules: Rules, operation: Operation, now: datetime, *, redelivered: bool) -> Action:
    """A redelivered POST record never acts: its first delivery may have sent the next record, and nobody else has
    acted on it, or it would be gone."""
    if redelivered:
        return proceed(planning_again(operation), now)
    return Read(operation, views=rules.views, coordination=True)


def post(rules: Rules, operation: Operation, state_read: StateRead, now: datetime) -> Action:
    """What was read last before the POST: whatever changed since the batch was planned goes back to PLAN."""
    marker = cancellation(state_read.entries, operation.scale_set.key, operation.request_id, operation.requested_at)
    if marker is not None:
        return cancel(operation, marker, now)
    if now >= operation.deadline:
        return time_out(operation, now)
    leases = leases_of(state_read.entries, operation.scale_set.key)
    if not own_leases(leases, operation.run_id):
        return end(replace(operation, error=LEASE_LOST), now)
    if deferral(rules, operation, state_read.entries, now) is not None:
        return proceed(planning_again(operation), now)
    if leases[0].run_id != operation.run_id or (rules.views and not _as_planned(rules, operation, state_read)):
        return proceed(planning_again(operation), now)
    groups: tuple[tuple[str, ...] | None, ...] = (operation.batch or None,)
    if operation.flexible:
        groups = tuple((vm_name,) for vm_name in operation.batch)
    return _submit(rules, operation, now, groups, state_read_at=state_read.asked_at or now)


def withdraw(rules: Rules, operation: Operation, instead: Continue, now: datetime) -> Submit:
    """Nothing is posted, and `instead` follows: sent like the response to a POST, after the record was completed.

    Sent before it, it could live beside another delivery of the record that has the lock by now, was not counted, and
    posts: what follows would then not know of that.
    """
    # JUDGE has the number that it had.
    followed = replace(instead, operation=instead.operation.with_next_number())
    return _submit(rules, operation, now, (), state_read_at=now, instead=followed)


def _submit(
    rules: Rules,
    operation: Operation,
    now: datetime,
    groups: tuple[tuple[str, ...] | None, ...],
    *,
    state_read_at: datetime,
    instead: Continue | None = None,
) -> Submit:
    judge = replace(_began(operation, now), phase=Phase.JUDGE, posted_at=now).with_next_number()
    until = calendar_of(rules, operation).closes(now) if groups else None
    return Submit(operation, judge, now + rules.timing.settle, groups, state_read_at, instead, until)


def _as_planned(rules: Rules, operation: Operation, state_read: StateRead) -> bool:
    instances = state_read.instances or ()
    found, missing = select(instances, operation.batch)
    if missing or any(
        instance.state is not InstanceState.ELIGIBLE
        or is_changed(instance, operation.baseline.get(instance_id)) is not False
        for instance_id, instance in found.items()
    ):
        return False
    if stale_views(state_read.entries, operation.scale_set.key, operation.batch) is not None:
        return False
    leases = leases_of(state_read.entries, operation.scale_set.key)
    return startable(operation, instances, leases, operation.batch, rules.limits) == operation.batch


def after_submission(
    rules: Rules,
    operation: Operation,
    posted: Sequence[Posted],
    began_at: datetime,
    now: datetime,
    *,
    sent_at: datetime | None = None,
) -> Action:
    """performMaintenance got a response, or none, for each group of the batch. `operation` is the POST record; JUDGE
    has its next number."""
    submitted = replace(_began(operation, sent_at or began_at), number=operation.number + 1, posted_at=began_at)
    taken = [call for ids, submission in posted if (call := _taken(ids or (), submission)) is not None]
    doubtful = [ids or () for ids, submission in posted if isinstance(submission, Ambiguous)]
    if not taken and doubtful:
        return LeaveToJudge(operation)
    if not taken:
        return _not_started(rules, submitted, posted, now)
    calls = (*taken, *(Call(ids, ended="unknown") for ids in doubtful))
    submitted = _with_refusals(submitted, posted)
    tracked = replace(
        took(submitted, now),
        phase=Phase.TRACK,
        # What was refused or not sent stays in its wave and is planned again.
        batch=operation.batch if not operation.flexible else tuple(i for call in calls for i in call.instance_ids),
        calls=calls,
        failures=0,
        transient_error=None,
        final_at=now if all(call.ended for call in calls) else None,
    )
    dues = [
        rules.timing.next_poll(now, submission.retry_after)
        for _, submission in posted
        if isinstance(submission, Accepted)
    ]
    failures = [submission for _, submission in posted if isinstance(submission, Failed)]
    if failures:
        tracked = replace(tracked, error=failures[-1].error)
    if not dues or (not rules.views and all(call.ended for call in calls)):
        if not rules.views:
            return confirm(rules, tracked, now)
        return proceed(tracked, now)
    if tracked.owed:
        # Published at once; polled when ARM asks for it.
        return proceed(replace(tracked, resume_at=min(dues)), now)
    return wait(rules, tracked, now, min(dues))


def _began(operation: Operation, at: datetime) -> Operation:
    """The wave begins with its first POST that ARM takes; until it took one, with the last that was tried."""
    return operation if operation.wave_taken else replace(operation, wave_began_at=at)


def after_untrusted(operation: Operation, observation: Untrusted, now: datetime) -> Action:
    """ARM's response points somewhere that must not be followed: nothing it says can be relied on."""
    number = operation.number + (operation.phase is Phase.POST)
    doubtful = replace(took(operation, now), number=number, phase=Phase.TRACK, error=observation.error)
    if observation.in_flight:
        doubtful = replace(doubtful, calls=(Call(operation.batch, ended="unknown"),), posted_at=now)
    return end(doubtful, now)


def planning_again(operation: Operation) -> Operation:
    return replace(operation, phase=Phase.PLAN, batch=(), baseline={}, calls=(), posted_at=None)


def _taken(ids: tuple[str, ...], submission: Submission | None) -> Call | None:
    """The call to follow, where ARM took it; None where it did not, or may not have."""
    match submission:
        case Accepted(url=url, kind=kind):
            return Call(ids, url, kind, ended=None if url else "unreported")
        case Succeeded():
            return Call(ids, ended="succeeded")
        case Failed(error=error, canceled=canceled):
            return Call(ids, ended="canceled" if canceled else "failed", error=error)
    return None


def _not_started(rules: Rules, operation: Operation, posted: Sequence[Posted], now: datetime) -> Action:
    """Nothing was done, for sure: read again, and post what may be posted then."""
    refused = [submission for _, submission in posted if isinstance(submission, Refused)]
    throttled = [submission for _, submission in posted if isinstance(submission, Throttled)]
    denied = next((each for each in refused if each.status in (401, 403)), None)
    again = planning_again(operation)
    if denied is not None and (denied.status == 403 or still_unauthorized(operation, denied.error)):
        return end(replace(again, error=denied.error), now)
    if refused and denied is None and not rules.views:
        # Nothing can be read again, so the refusal stands.
        outcomes = dict.fromkeys(operation.batch, failed(refused[0].error, operation.wave))
        return end(replace(again.with_outcomes(outcomes), error=refused[0].error), now)
    pauses = [each.retry_after for each in throttled if each.retry_after is not None]
    errors: list[ErrorDetail] = [*(each.error for each in throttled), *(each.error for each in refused)]
    error = errors[0] if errors else ErrorDetail("TooLate", "What was read before the POST was too old to act on.")
    if denied is None:
        again = planning_again(_with_refusals(operation, posted))
    return retry(rules, again, error, now, retry_after=max(pauses, default=None))


def _with_refusals(operation: Operation, posted: Sequence[Posted]) -> Operation:
    """Refused twice with the same batch: one instance at a time. Refused twice, and the last time alone: failed."""
    refusals = {
        instance_id: submission.error
        for ids, submission in posted
        if isinstance(submission, Refused) and submission.status not in (401, 403)
        for instance_id in ids or ()
    }
    again = set(refusals) & set(operation.refused)
    alone = operation.flexible or len(operation.batch) == 1
    if alone:
        operation = operation.with_outcomes({i: failed(refusals[i], operation.wave) for i in again})
    elif again == set(operation.batch):
        operation = replace(operation, one_by_one=True)
    kept = tuple(dict.fromkeys((*operation.refused, *refusals)))
    return replace(operation, refused=tuple(i for i in kept if i not in operation.outcomes))


# ------------------------------------------------------------------ the phase JUDGE


def deliver_judge(rules: Rules, operation: Operation, now: datetime) -> Action:
    """Nobody said what became of the POST."""
    if not rules.views:
        return end(replace(took(operation, now), error=UNKNOWN), now)
    return Read(operation, views=True, coordination=False, newer_than=operation.posted_at)


def judge(rules: Rules, operation: Operation, state_read: StateRead, now: datetime) -> Action:
    """A change since the baseline proves that the POST was taken, of one instance for all of its call; no change in any
    proves that it was not."""
    found, missing = select(state_read.instances or (), operation.batch)
    gone = Outcome(Result.NOT_FOUND, "the instance is no longer in the scale set", operation.wave)
    operation = operation.with_outcomes(dict.fromkeys(missing, gone))
    changes = {i: is_changed(found.get(i), operation.baseline.get(i)) for i in operation.batch}
    lost = ErrorDetail("PostLost", "The instance views show that performMaintenance was not carried out.")
    if all(changed is False for changed in changes.values()):
        again = replace(planning_again(operation), transient_error=operation.transient_error or lost)
        return proceed(replace(again, failures=operation.failures + 1), now)
    if not any(changes.values()):
        if now >= operation.deadline:
            return time_out(operation, now)
        return wait(rules, operation, now, rules.timing.next_read(now))
    taken = operation.batch
    if operation.flexible:
        # Each VM's call is judged for itself.
        taken = tuple(i for i in operation.batch if changes[i] is not False)
    tracked = replace(
        took(operation, now),
        phase=Phase.TRACK,
        batch=tuple(i for i in taken if i not in missing) or taken,
        calls=(Call(taken, ended="unknown"),),
        final_at=now,
        failures=0,
    )
    return proceed(tracked, now)
