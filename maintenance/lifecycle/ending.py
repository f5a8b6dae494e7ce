"""How a delivery goes on or ends a run: waiting, retrying, ending; and the phases END and REST. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from maintenance.coordination.entries import LEASE_OUTLASTS_DEADLINE, CancellationMarker, StaleViews
from maintenance.domain.errors import Problem
from maintenance.domain.instances import select
from maintenance.domain.observations import ErrorDetail
from maintenance.domain.operation import Operation, Outcome, Owed, Phase, Result, Status
from maintenance.lifecycle.actions import Action, Continue, Done, Read, ReleaseLease, StateRead
from maintenance.lifecycle.rules import Rules
from maintenance.lifecycle.verdicts import has_recovered, is_changed

UNAUTHORIZED_ATTEMPTS = 3
MAX_STRIKES = 3


def proceed(operation: Operation, now: datetime, due: datetime | None = None) -> Continue:
    """The next record of the run, due at once or then."""
    return Continue(operation.with_next_number(), max(now, due) if due else now)


def wait(rules: Rules, operation: Operation, now: datetime, due: datetime) -> Continue:
    """The next record, due then, at the deadline or after one slice: what waits is never woken, so it looks again, and
    does nothing else before `due`."""
    if due > now + rules.timing.slice:
        operation = replace(operation, resume_at=due)
    return proceed(operation, now, min(due, now + rules.timing.slice, max(operation.deadline, now)))


def retry(
    rules: Rules,
    operation: Operation,
    error: ErrorDetail,
    now: datetime,
    *,
    retry_after: timedelta | None = None,
) -> Action:
    """A transient error: the same again, with backoff."""
    failures = operation.failures + 1
    due = rules.timing.back_off(now, failures, operation.message_id, retry_after)
    return wait(rules, replace(operation, transient_error=error, failures=failures), now, due)


def time_out(operation: Operation, now: datetime, last: ErrorDetail | None = None) -> Continue:
    """The deadline passed: say the last that was known; `last`: what was observed just now."""
    last = operation.transient_error or operation.error or last
    error = ErrorDetail(
        "DeadlineExceeded",
        f"Not finished by the deadline, {operation.deadline.isoformat()}.",
        details=(last,) if last else (),
    )
    return end(replace(operation, error=error), now, Status.TIMED_OUT)


def cancel(operation: Operation, marker: CancellationMarker, now: datetime) -> Continue:
    """The run was canceled before it, or its next wave, was started."""
    because = f" ({marker.reason})" if marker.reason else ""
    message = f"The request was canceled{because}. What Resource Manager had started before is not undone."
    return end(replace(operation, error=ErrorDetail("Canceled", message)), now, Status.CANCELED)


def end(operation: Operation, now: datetime, status: Status | None = None) -> Continue:
    """The run ends; without `status`, as the outcomes of its instances say."""
    in_doubt = _in_doubt(operation)
    operation = operation.with_outcomes(_leftovers(operation, in_doubt))
    status = status or _conclude(operation)
    error = None if status in (Status.SUCCEEDED, Status.NOTHING_TO_DO) else _account(operation)
    ended = replace(
        operation,
        phase=Phase.END,
        status=status,
        error=error,
        ended_at=now,
        at_work=bool(in_doubt)
        or in_doubt_by_outcome(operation)
        or _whole_set_in_doubt(operation)
        or (operation.phase is Phase.TRACK and operation.recovering_since is not None),
        failures=0,
    )
    return proceed(ended, now)


def once_settled(rules: Rules, ending: Continue) -> Continue:
    """The end, not before a POST that got no response can no longer arrive: after an end nothing is started."""
    operation = ending.operation
    if operation.posted_at is None or not any(call.ended == "unknown" for call in operation.calls):
        return ending
    return replace(ending, due=max(ending.due, operation.posted_at + rules.timing.settle))


def reject(operation: Operation, problems: Sequence[Problem], now: datetime) -> Continue:
    """The request asks not to be carried out under these circumstances, or cannot be carried out in time."""
    details = tuple(ErrorDetail(problem.field, problem.message, problem.value) for problem in problems)
    error = ErrorDetail("Rejected", "Nothing was started: see the problems.", details=details)
    named = (*(operation.targets or ()), *(target for wave in operation.waves for target in wave))
    outcomes = {target: Outcome(Result.NOT_ATTEMPTED) for target in named if target not in operation.outcomes}
    rejected = replace(
        operation.with_outcomes(outcomes), phase=Phase.END, status=Status.REJECTED, error=error, ended_at=now
    )
    return proceed(rejected, now)


def duplicate(operation: Operation, other: str, now: datetime) -> Continue:
    """Another run with the same requestId and the same content holds the scale set."""
    error = ErrorDetail("Duplicate", f"Run {other} of the same request is under way; nothing was started for this one.")
    return proceed(
        replace(operation, phase=Phase.END, status=Status.DUPLICATE, error=error, ended_at=now, duplicate_of=other), now
    )


def strike(operation: Operation, reason: str, now: datetime) -> Continue:
    """The record was dead-lettered: one more delivery, of its successor. After three, the run ends with what is known;
    an END, and what follows it, goes on."""
    error = ErrorDetail("DeadLettered", f"Service Bus gave up delivering a record of this run: {reason}")
    struck = replace(operation, strikes=operation.strikes + 1, transient_error=error)
    if operation.phase in (Phase.END, Phase.REST):
        return proceed(replace(operation, strikes=operation.strikes + 1), now)
    if struck.strikes >= MAX_STRIKES:
        return end(replace(struck, error=error), now, Status.FAILED)
    if operation.phase is Phase.POST:
        return proceed(replace(struck, phase=Phase.PLAN, batch=(), baseline={}), now)
    return proceed(struck, now)


def still_unauthorized(operation: Operation, error: ErrorDetail) -> bool:
    """Whether a 401 is final: the tries before it ended so too. The first can be a token revoked a moment ago."""
    last = operation.transient_error.code if operation.transient_error else None
    return operation.failures + 1 >= UNAUTHORIZED_ATTEMPTS and last == error.code


def took(operation: Operation, now: datetime) -> Operation:
    """ARM took something of this run; `accepted` is owed once."""
    operation = replace(operation, wave_taken=True, wave_began_at=operation.wave_began_at or now)
    if operation.started_at is not None:
        return operation
    return replace(operation, started_at=now, owed=(*operation.owed, Owed("accepted", now)))


def failed(error: ErrorDetail | None, wave: int) -> Outcome:
    return Outcome(Result.FAILED, f"{error.code}: {error.message}" if error else None, wave)


# ------------------------------------------------------------------ the phases END and REST


def deliver_end(rules: Rules, operation: Operation, now: datetime) -> Action:
    """The end is published. Its lease is released, unless a wave may still be at work."""
    if operation.dry_run:
        return Done(operation)
    if operation.at_work:
        soon = operation.recovering_since is not None
        return _rest(rules, operation, now, rules.timing.next_read(now) if soon else now + rules.timing.slice)
    return _release(rules, operation, now)


def deliver_rest(rules: Rules, operation: Operation, now: datetime) -> Action:
    """Release the lease once nothing is at work, at the latest when it runs out."""
    if not operation.at_work or now >= operation.deadline + LEASE_OUTLASTS_DEADLINE:
        return _release(rules, operation, now)
    if not rules.views:
        return _rest(rules, operation, now, now + rules.timing.slice)
    return Read(operation, views=True, coordination=False)


def judge_rest(rules: Rules, operation: Operation, state_read: StateRead, now: datetime) -> Action:
    """Whether the views show that nothing of the batch can be at work any more, or down because of it."""
    found, missing = select(state_read.instances or (), operation.batch)
    patient = operation.recovering_since is None or now < operation.recovering_since + operation.rollout.health_timeout

    def rests(instance_id: str) -> bool:
        if instance_id in missing:
            return True
        instance, baseline = found[instance_id], operation.baseline.get(instance_id)
        if not instance.reported or instance.provisioning == "updating":
            return False
        outcome = operation.outcomes.get(instance_id)
        if outcome is not None and outcome.result not in (Result.COMPLETED, Result.UNKNOWN):
            return True
        if is_changed(instance, baseline) is False:
            return False
        return not patient or has_recovered(instance, baseline)

    if operation.batch and all(rests(instance_id) for instance_id in operation.batch):
        return _release(rules, operation, now)
    return _rest(
        rules,
        operation,
        now,
        rules.timing.next_read(now) if operation.recovering_since is not None else now + rules.timing.slice,
    )


def _release(rules: Rules, operation: Operation, now: datetime) -> ReleaseLease:
    """The next run may share views that were read a moment ago (`state_age`), and a view may lag."""
    outcomes = operation.outcomes.items()
    done = tuple(instance_id for instance_id, outcome in outcomes if outcome.result is Result.COMPLETED)
    in_part = operation.count(Result.FAILED, Result.UNKNOWN) > 0
    if operation.started_at is None or not rules.views or not (done or in_part):
        return ReleaseLease(operation)
    note = StaleViews(
        run_id=operation.run_id,
        request_id=operation.request_id,
        scale_set=operation.scale_set.key,
        until=now + rules.timing.view_lag + rules.timing.state_age,
        instances=None if in_part else done,
    )
    return ReleaseLease(operation, note)


def after_release(rules: Rules, operation: Operation, *, found: bool, now: datetime) -> Action:
    """A planner of this run may be late with its lease: where none was read, read once more."""
    if found or (operation.phase is Phase.REST and not operation.at_work):
        return Done(operation)
    return _rest(rules, replace(operation, at_work=False), now, now + rules.timing.release_read)


def rest_later(rules: Rules, operation: Operation, now: datetime, *, soon: bool = True) -> Continue:
    """What the release takes could not be read or done, for now; or not at all."""
    return _rest(rules, operation, now, rules.timing.next_read(now) if soon else now + rules.timing.slice)


def _rest(rules: Rules, operation: Operation, now: datetime, due: datetime) -> Continue:
    return proceed(replace(operation, phase=Phase.REST, owed=()), now, min(due, now + rules.timing.slice))


# ------------------------------------------------------------------ what an end says


def _in_doubt(operation: Operation) -> tuple[str, ...]:
    """Those of the batch that ARM may be at work on: they were posted, and how that ended is not known."""
    if operation.phase not in (Phase.JUDGE, Phase.TRACK):
        return ()
    return tuple(instance_id for instance_id in operation.batch if instance_id not in operation.outcomes)


def in_doubt_by_outcome(operation: Operation) -> bool:
    """Whether an instance is called unknown, and ARM never said that its operation ended: it may come to it still."""
    if operation.phase not in (Phase.JUDGE, Phase.TRACK):
        return False
    doubtful = [call for call in operation.calls if call.ended in (None, "unknown", "unreported")]
    return any(
        outcome.result is Result.UNKNOWN and any(call.covers(instance_id) for call in doubtful)
        for instance_id in operation.batch
        if (outcome := operation.outcomes.get(instance_id)) is not None
    )


def _whole_set_in_doubt(operation: Operation) -> bool:
    posted = operation.phase in (Phase.JUDGE, Phase.TRACK) and not operation.batch
    return posted and (
        not operation.calls or any(call.ended in (None, "unknown", "unreported") for call in operation.calls)
    )


def _leftovers(operation: Operation, in_doubt: tuple[str, ...]) -> dict[str, Outcome]:
    """The outcome of every instance that none was found for: it may be at work, or was never tried."""
    left: dict[str, Outcome] = {}
    for number, wave in enumerate(operation.waves):
        for instance_id in wave:
            if instance_id in operation.outcomes:
                continue
            if instance_id in in_doubt:
                left[instance_id] = Outcome(Result.UNKNOWN, "maintenance was asked for; its end was not seen", number)
            else:
                left[instance_id] = Outcome(Result.NOT_ATTEMPTED, None, number)
    if not operation.waves:
        planned = {target: Outcome(Result.NOT_ATTEMPTED) for target in operation.targets or ()}
        left.update({target: outcome for target, outcome in planned.items() if target not in operation.outcomes})
    return left


def _conclude(operation: Operation) -> Status:
    done = operation.count(Result.COMPLETED)
    whole = [call for call in operation.calls if not call.instance_ids]
    bad = operation.count(Result.FAILED, Result.UNKNOWN, Result.NOT_ATTEMPTED)
    if bad or operation.error or any(call.ended != "succeeded" for call in whole):
        return Status.PARTIALLY_SUCCEEDED if done else Status.FAILED
    return Status.SUCCEEDED if done or whole else Status.NOTHING_TO_DO


def _account(operation: Operation) -> ErrorDetail:
    """The error of a run that did not succeed: ARM's own where there is one."""
    reported = (call.error for call in operation.calls if call.error)
    failed_count = operation.count(Result.FAILED, Result.UNKNOWN, Result.NOT_ATTEMPTED)
    fallback = ErrorDetail(
        "MaintenanceFailed", f"{failed_count} of {len(operation.outcomes)} instances were not maintained."
    )
    return operation.error or next(reported, None) or operation.transient_error or fallback
