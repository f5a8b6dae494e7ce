"""X"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from maintenance.domain.errors import Problem
from maintenance.domain.messages import MaintenanceEvent
from maintenance.domain.observations import ErrorDetail
from maintenance.domain.operation import Operation, Outcome, Phase, Result, Status
from maintenance.lifecycle.actions import Action, End, Rules, Wait
from maintenance.lifecycle.events import accepted, ended

UNAUTHORIZED_ATTEMPTS = 3


def wait(operation: Operation, now: datetime, due: datetime, events: tuple[MaintenanceEvent, ...] = ()) -> Action:
    """Keep the operation until `due`, at the latest until its deadline; announces it once it was started."""
    if operation.started_at is not None and not operation.accepted_published:
        events = (accepted(operation, now), *events)
        operation = replace(operation, accepted_published=True)
    due = max(now, min(due, operation.deadline))
    return Wait(operation.with_next_revision(), due, events)


def retry(
    rules: Rules,
    operation: Operation,
    transient_error: ErrorDetail,
    now: datetime,
    *,
    retry_after: timedelta | None = None,
) -> Action:
    """Trouble that passes: back off, and time out at the deadline."""
    failures = operation.failures + 1
    if now >= operation.deadline:
        return time_out(replace(operation, transient_error=transient_error), now)
    later = rules.timing.back_off(now, failures, operation.message_id, retry_after)
    return wait(replace(operation, transient_error=transient_error, failures=failures), now, later)


def time_out(operation: Operation, now: datetime, last: ErrorDetail | None = None) -> Action:
    """The deadline passed: tell the last that was known; `last`: what was seen just now."""
    last = operation.transient_error or operation.error or last
    error = ErrorDetail(
        "DeadlineExceeded",
        f"Not finished by the deadline, {operation.deadline.isoformat()}.",
        details=(last,) if last else (),
    )
    return end(replace(operation, error=error), now, Status.TIMED_OUT)


def end(operation: Operation, now: datetime, status: Status | None = None) -> Action:
    """The request ends; without `status`, as the outcomes of its instances say."""
    operation = operation.with_outcomes(_leftovers(operation))
    status = status or _conclude(operation)
    error = None if status in (Status.SUCCEEDED, Status.NOTHING_TO_DO) else _account(operation)
    announce = not operation.accepted_published and operation.started_at is not None
    finished = replace(
        operation,
        phase=Phase.FINISHED,
        status=status,
        error=error,
        ended_at=now,
        accepted_published=True,
        revision=operation.revision + 1,
    )
    commit = status is not Status.SUCCEEDED and not operation.dry_run
    return End(finished, (*([accepted(operation, now)] if announce else []), ended(finished)), commit)


def reject(operation: Operation, problems: Sequence[Problem], now: datetime) -> Action:
    """The request asks not to be carried out under these circumstances."""
    details = tuple(ErrorDetail(problem.field, problem.message, problem.value) for problem in problems)
    error = ErrorDetail(
        "Rejected", "Some targets cannot be maintained, and the request asks to be rejected then.", details=details
    )
    named = (*(operation.targets or ()), *(target for wave in operation.waves for target in wave))
    outcomes = {target: Outcome(Result.NOT_ATTEMPTED) for target in named if target not in operation.outcomes}
    finished = replace(
        operation.with_outcomes(outcomes),
        phase=Phase.FINISHED,
        status=Status.REJECTED,
        error=error,
        ended_at=now,
        revision=operation.revision + 1,
    )
    return End(finished, (ended(finished),), commit=True)


def still_unauthorized(operation: Operation, error: ErrorDetail) -> bool:
    """Whether a 401 is final: the tries before it ended so too. The first can be a token revoked a moment ago."""
    last = operation.transient_error.code if operation.transient_error else None
    return operation.failures + 1 >= UNAUTHORIZED_ATTEMPTS and last == error.code


def started(operation: Operation, now: datetime) -> Operation:
    return replace(operation, started_at=operation.started_at or now, posted_at=operation.posted_at or now)


def failed(error: ErrorDetail | None, wave: int) -> Outcome:
    return Outcome(Result.FAILED, f"{error.code}: {error.message}" if error else None, wave)


def _leftovers(operation: Operation) -> dict[str, Outcome]:
    """The outcome of every instance that none was found for: it was left running, or never tried."""
    left: dict[str, Outcome] = {}
    under_way = bool(operation.calls) or operation.posted_at is not None
    for number, wave in enumerate(operation.waves):
        for instance_id in wave:
            if instance_id in operation.outcomes:
                continue
            if number == operation.wave and under_way:
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
    """The error of a request that did not succeed: ARM's own where there is one."""
    told = (call.error for call in operation.calls if call.error)
    failed = operation.count(Result.FAILED, Result.UNKNOWN)
    fallback = ErrorDetail("MaintenanceFailed", f"{failed} of {len(operation.outcomes)} instances were not maintained.")
    return operation.error or next(told, None) or operation.transient_error or fallback
