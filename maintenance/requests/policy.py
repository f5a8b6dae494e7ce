"""What this app allows of a request that is well formed. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Protocol

from maintenance.coordination.pauses import covers
from maintenance.domain.errors import PolicyViolation, Problem
from maintenance.domain.formats import FURTHEST_AHEAD, LONGEST_RUN
from maintenance.domain.resources import ScaleSet, Scope
from maintenance.lifecycle.deferring import no_start
from maintenance.policies.calendar import Calendar
from maintenance.requests.control_schema import PauseRequest, scope_key
from maintenance.requests.schema import MaintenanceRequest


class Policy(Protocol):
    """What is used of `settings.Settings`."""

    @property
    def allow_whole_scale_set(self) -> bool: ...

    @property
    def read_instance_views(self) -> bool: ...

    @property
    def default_deadline(self) -> timedelta: ...

    @property
    def dry_run(self) -> bool: ...

    @property
    def requests_queue(self) -> str: ...

    @property
    def calendar(self) -> Calendar: ...

    @property
    def allowed_scopes(self) -> tuple[Scope, ...]: ...

    def allows(self, scale_set: ScaleSet) -> bool: ...


def check_request(request: MaintenanceRequest, policy: Policy, now: datetime) -> None:
    """Raises PolicyViolation with everything this app does not allow about the request."""
    problems = []
    if not policy.allows(request.scale_set):
        problems.append(_not_allowed(request.scale_set))
    if request.instance_ids is None and not policy.allow_whole_scale_set:
        problems.append(Problem("instanceIds", "is missing, and this app does not maintain whole scale sets"))
    rollout = request.rollout
    if not policy.read_instance_views and (rollout.max_instances_per_wave or rollout.by_update_domain):
        problems.append(Problem("rollout", "needs instance views, and this app does not read them"))
    if request.deadline is not None and request.deadline <= now:
        problems.append(Problem("deadline", "has passed", request.deadline.isoformat()))
    for name, moment in (("notBefore", request.not_before), ("deadline", request.deadline)):
        if moment is not None and moment > now + FURTHEST_AHEAD:
            problems.append(Problem(name, "must be within 35 days", moment.isoformat()))
    deadline = deadline_of(request, policy, now)
    calendar, starts_at = _calendar(request, policy), max(now, request.not_before or now)
    start = calendar.next_start(starts_at)
    if not (request.dry_run or policy.dry_run) and (start is None or start >= deadline > starts_at):
        problems.append(no_start(calendar, starts_at, deadline))
    longest = deadline - starts_at
    if rollout.pause_between_waves >= longest and rollout.limited:
        pause = str(rollout.pause_between_waves)
        problems.append(Problem("rollout.pauseBetweenWaves", "must be shorter than the time to the deadline", pause))
    if problems:
        raise PolicyViolation(tuple(problems), request.scale_set, request.reason)


def deadline_of(request: MaintenanceRequest, policy: Policy, requested_at: datetime) -> datetime:
    """The request's own, else the default after its begin, or the opening of a window after that; never further ahead
    than a request may ask for."""
    starts_at = max(request.not_before or requested_at, requested_at)
    if request.deadline is None:
        starts_at = _calendar(request, policy).next_start(starts_at) or starts_at
    deadline = request.deadline or starts_at + policy.default_deadline
    return min(deadline, requested_at + FURTHEST_AHEAD + policy.default_deadline, requested_at + LONGEST_RUN)


def _calendar(request: MaintenanceRequest, policy: Policy) -> Calendar:
    return policy.calendar.narrowed(request.windows).narrowed(request.tag_windows)


def check_scale_set(scale_set: ScaleSet, policy: Policy, reason: str | None) -> None:
    """Raises PolicyViolation where a scale set is not this app's."""
    if not policy.allows(scale_set):
        raise PolicyViolation((_not_allowed(scale_set),), scale_set, reason)


def check_pause(pause: PauseRequest, policy: Policy, now: datetime) -> None:
    """Raises PolicyViolation with everything this app does not allow about a pause."""
    problems = _scope_problems(pause.scope, policy)
    if pause.until is not None and pause.until <= now:
        problems.append(Problem("pause.until", "has passed", pause.until.isoformat()))
    if pause.until is not None and pause.until > now + FURTHEST_AHEAD:
        advice = "must be within 35 days; leave it out for a pause until it is resumed"
        problems.append(Problem("pause.until", advice, pause.until.isoformat()))
    if problems:
        raise PolicyViolation(tuple(problems), None, pause.reason)


def check_scope(scope: Scope, policy: Policy, reason: str | None) -> None:
    """Raises PolicyViolation where a scope is not this app's."""
    if problems := _scope_problems(scope, policy):
        raise PolicyViolation(tuple(problems), None, reason)


def _scope_problems(scope: Scope, policy: Policy) -> list[Problem]:
    key = scope_key(scope)
    if any(covers(scope_key(allowed), key) for allowed in policy.allowed_scopes):
        return []
    return [Problem("scope", "is not within MAINTENANCE_ALLOWED_SCOPES of this app", str(scope))]


def _not_allowed(scale_set: ScaleSet) -> Problem:
    return Problem("scale set", "is not within MAINTENANCE_ALLOWED_SCOPES of this app", scale_set.resource_id)
