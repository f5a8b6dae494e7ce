"""The state machine: (operation, observation, now) → the next action. Pure.

One table; what each phase decides stands in `planning.py`, `posting.py` and `tracking.py`.

`may_have_started` says that an earlier run of the same message may have called performMaintenance and died before it
could persist that. The views are then read, twice if need be, before anything is posted.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from maintenance.domain.observations import ErrorDetail
from maintenance.domain.operation import Operation, Phase
from maintenance.lifecycle import planning, posting, tracking
from maintenance.lifecycle.actions import (
    Action,
    Denied,
    End,
    LeaseTaken,
    Observation,
    OperationRead,
    PollOperation,
    Post,
    ReadViews,
    Resumed,
    Rules,
    Submitted,
    Unavailable,
    Untrusted,
    ViewsRead,
)
from maintenance.lifecycle.events import ended
from maintenance.lifecycle.transitions import end, retry, still_unauthorized, time_out


def next_action(
    rules: Rules, operation: Operation, observation: Observation, now: datetime, *, may_have_started: bool = False
) -> Action:
    """What the shell does next with `operation`, after it observed `observation`."""
    action = _transition(rules, operation, observation, now, may_have_started)
    if isinstance(action, Post) and not rules.allows(operation.scale_set):
        reason = f"{operation.scale_set.resource_id} is not within MAINTENANCE_ALLOWED_SCOPES"
        return end(replace(action.operation, error=ErrorDetail("ScopeNotAllowed", reason)), now)
    return action


def _transition(
    rules: Rules, operation: Operation, observation: Observation, now: datetime, may_have_started: bool
) -> Action:
    match operation.phase, observation:
        case _, Resumed():
            return _resume(rules, operation, now, may_have_started)
        case Phase.PLANNING, ViewsRead():
            operation = replace(operation, flexible=observation.flexible, views_read_at=observation.read_at)
            return planning.plan_waves(rules, operation, observation, now, may_have_started=may_have_started)
        case Phase.POSTING, ViewsRead():
            operation = replace(operation, flexible=observation.flexible, views_read_at=observation.read_at)
            return posting.start_wave(
                rules, operation, observation.instances, observation.entries, now, may_have_started=may_have_started
            )
        case _, ViewsRead():
            read = replace(
                operation,
                flexible=observation.flexible,
                views_read_at=observation.read_at,
                failures=0,
                transient_error=None,
            )
            return tracking.judge_wave(rules, read, observation.instances, now)
        case _, LeaseTaken(action=taken, entries=entries):
            return planning.after_lease(rules, taken, entries, now, may_have_started=may_have_started)
        case _, Submitted(posted=posted):
            return posting.after_submission(rules, operation, posted, now)
        case _, OperationRead(readings=readings):
            return tracking.after_poll(rules, operation, readings, now)
        case Phase.PLANNING | Phase.POSTING, Unavailable(error=error, status=401) if still_unauthorized(
            operation, error
        ):
            return end(replace(operation, error=error), now)
        case _, Unavailable(error=error, retry_after=retry_after):
            return retry(rules, operation, error, now, retry_after=retry_after)
        case _, Denied(error=error):
            return end(replace(operation, error=error), now)
        case _, Untrusted(error=error):
            return posting.after_untrusted(operation, error, now)
    raise AssertionError(f"no transition for {operation.phase} and {type(observation).__name__}")


def _resume(rules: Rules, operation: Operation, now: datetime, may_have_started: bool) -> Action:
    """The first action of a run."""
    late = now >= operation.deadline
    match operation.phase:
        case Phase.FINISHED:
            return End(operation, (ended(operation),))
        case Phase.TRACKING:
            running = tuple(call for call in operation.calls if call.ended is None)
            if not running:
                return tracking.confirm(rules, operation, now)
            # One last poll at the deadline, but none that a Retry-After forbade.
            return time_out(operation, now) if late and operation.failures else PollOperation(operation, running)
        case _ if late:
            return time_out(operation, now)
    if rules.views:
        return ReadViews(operation)
    return posting.post_without_views(rules, operation, now, may_have_started=may_have_started)
