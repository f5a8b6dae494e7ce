"""The state machine: (operation, observation, now) → the next action. Pure.

One table; what each phase decides is in `planning.py`, `posting.py`, `tracking.py` and `ending.py`.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from maintenance.domain.observations import ErrorDetail
from maintenance.domain.operation import Operation, Phase
from maintenance.lifecycle import ending, planning, posting, tracking
from maintenance.lifecycle.actions import (
    Action,
    Continue,
    Delivered,
    Denied,
    LeaseReleased,
    LeaseTaken,
    LeaveToJudge,
    NotTheOne,
    Observation,
    OperationRead,
    StateRead,
    Submitted,
    Unavailable,
    Untrusted,
)
from maintenance.lifecycle.rules import Rules


def next_action(rules: Rules, operation: Operation, observation: Observation, now: datetime) -> Action:
    """What the shell does next with the record that is being delivered, after it observed `observation`."""
    action = _transition(rules, operation, observation, now)
    if isinstance(action, Continue) and action.operation.phase is Phase.END:
        action = ending.once_settled(rules, action)
    if operation.phase is Phase.POST and isinstance(action, Continue) and _may_act(observation):
        return posting.withdraw(rules, operation, action, now)
    return action


def _may_act(observation: Observation) -> bool:
    """Whether a delivery of a POST record that observed this may still have posted. One that is redelivered may not."""
    return isinstance(observation, StateRead | Unavailable | Denied) or observation == Delivered()


def _transition(  # noqa: PLR0912 - one table, to be read from top to bottom
    rules: Rules, operation: Operation, observation: Observation, now: datetime
) -> Action:
    if (
        isinstance(observation, Delivered)
        and operation.phase not in (Phase.END, Phase.REST)
        and not rules.allows(operation.scale_set)
    ):
        # Records are read back from a queue, so what they name is checked before the first call of any kind.
        reason = f"{operation.scale_set.resource_id} is not within MAINTENANCE_ALLOWED_SCOPES"
        return ending.end(replace(operation, error=ErrorDetail("ScopeNotAllowed", reason)), now)
    match operation.phase, observation:
        case Phase.PLAN, Delivered():
            return planning.deliver(rules, operation, now)
        case Phase.PLAN, StateRead():
            return planning.plan(rules, operation, observation, now)
        case Phase.PLAN, LeaseTaken(state_read=state_read):
            return planning.plan(rules, operation, state_read, now, lease_is_put=True)
        case Phase.POST, Delivered(redelivered=redelivered):
            return posting.deliver(rules, operation, now, redelivered=redelivered)
        case Phase.POST, StateRead():
            return posting.post(rules, operation, observation, now)
        case Phase.POST, Submitted(posted=posted, began_at=began_at, sent_at=sent_at):
            return posting.after_submission(rules, operation, posted, began_at, now, sent_at=sent_at)
        case Phase.POST, NotTheOne():
            return LeaveToJudge(operation)
        case Phase.POST, Unavailable(error=error, retry_after=retry_after):
            return ending.retry(rules, posting.planning_again(operation), error, now, retry_after=retry_after)
        case Phase.JUDGE, Delivered():
            return posting.deliver_judge(rules, operation, now)
        case Phase.JUDGE, StateRead():
            return posting.judge(rules, operation, observation, now)
        case Phase.TRACK, Delivered():
            return tracking.deliver(rules, operation, now)
        case Phase.TRACK, OperationRead(readings=readings):
            return tracking.after_poll(rules, operation, readings, now)
        case Phase.TRACK, StateRead():
            return tracking.judge_batch(rules, operation, observation, now)
        case Phase.END, Delivered():
            return ending.deliver_end(rules, operation, now)
        case Phase.REST, Delivered() if not rules.allows(operation.scale_set):
            return ending.deliver_rest(rules, replace(operation, at_work=False), now)
        case Phase.REST, Delivered():
            return ending.deliver_rest(rules, operation, now)
        case Phase.REST, StateRead():
            return ending.judge_rest(rules, operation, observation, now)
        case Phase.END | Phase.REST, LeaseReleased(found=found):
            return ending.after_release(rules, operation, found=found, now=now)
        case Phase.END | Phase.REST, Denied():
            return ending.rest_later(rules, operation, now, soon=False)
        case Phase.END | Phase.REST, _:
            return ending.rest_later(rules, operation, now)
        case Phase.PLAN, Unavailable(error=error, status=401) if ending.still_unauthorized(operation, error):
            return ending.end(replace(operation, error=error), now)
        case Phase.PLAN, Unavailable(error=error) if now >= operation.deadline:
            return ending.time_out(replace(operation, transient_error=error), now)
        case Phase.JUDGE | Phase.TRACK, Unavailable(error=error) if now >= operation.deadline:
            return ending.time_out(replace(operation, transient_error=error), now)
        case _, Unavailable(error=error, retry_after=retry_after):
            return ending.retry(rules, operation, error, now, retry_after=retry_after)
        case _, Denied(error=error):
            return ending.end(replace(operation, error=error), now)
        case _, Untrusted():
            return posting.after_untrusted(operation, observation, now)
    raise AssertionError(f"no transition for {operation.phase} and {type(observation).__name__}")
