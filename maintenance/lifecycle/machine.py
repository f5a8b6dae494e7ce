"""X"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from maintenance.domain.coordination import Notice
from maintenance.domain.instances import Instance
from maintenance.domain.observations import ErrorDetail, Reading
from maintenance.domain.operation import Call, Operation, Phase
from maintenance.lifecycle import planning, posting, tracking
from maintenance.lifecycle.actions import Claim, End, Look, Poll, Rules, Step
from maintenance.lifecycle.events import ended
from maintenance.lifecycle.transitions import end, time_out, try_later


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """The decisions, under one set of rules."""

    rules: Rules = field(default_factory=Rules)

    def resume(self, operation: Operation, now: datetime, *, suspect: bool = False) -> Step:
        """The first step of a run."""
        late = now >= operation.deadline
        match operation.phase:
            case Phase.FINISHED:
                return End(operation, (ended(operation),))
            case Phase.FOLLOWING:
                running = tuple(call for call in operation.calls if call.ended is None)
                if not running:
                    return tracking.confirm(self.rules, operation, now)
                # One last poll at the deadline, but none that a Retry-After forbade.
                return time_out(operation, now) if late and operation.failures else Poll(operation, running)
            case _ if late:
                return time_out(operation, now)
        if self.rules.views:
            return Look(operation)
        return posting.post_unseen(self.rules, operation, now, suspect=suspect)

    def after_look(
        self,
        operation: Operation,
        instances: Sequence[Instance],
        now: datetime,
        *,
        suspect: bool = False,
        notices: Sequence[Notice] = (),
    ) -> Step:
        """The instance views were read, and before a wave is started the notices too."""
        match operation.phase:
            case Phase.PLANNING:
                return planning.plan_waves(self.rules, operation, instances, notices, now, suspect=suspect)
            case Phase.POSTING:
                return posting.start_wave(self.rules, operation, instances, notices, now, suspect=suspect)
            case _:
                seen = replace(operation, failures=0, trouble=None)
                return tracking.judge_wave(self.rules, seen, instances, now)

    def after_claim(self, claim: Claim, notices: Sequence[Notice], now: datetime, *, suspect: bool = False) -> Step:
        """The request's notice of a rollout was put up; `notices` were read after it."""
        return planning.after_claim(self.rules, claim, notices, now, suspect=suspect)

    def after_unseen(
        self, operation: Operation, trouble: ErrorDetail, now: datetime, *, retry_after: timedelta | None
    ) -> Step:
        """The instance views could not be read, for now."""
        return try_later(self.rules, operation, trouble, now, retry_after=retry_after)

    def after_denied(self, operation: Operation, error: ErrorDetail, now: datetime) -> Step:
        """The instance views will not be shown: nothing can be started or confirmed."""
        return end(replace(operation, error=error), now)

    def after_poll(self, operation: Operation, readings: Sequence[tuple[Call, Reading]], now: datetime) -> Step:
        """The operation URLs were read, each with its call."""
        return tracking.after_poll(self.rules, operation, readings, now)

    def after_posts(self, operation: Operation, posted: Sequence[posting.Posted], now: datetime) -> Step:
        """performMaintenance answered, or did not, for each call of the wave: a Flexible scale set takes several."""
        return posting.after_posts(self.rules, operation, posted, now)

    def after_untrusted(self, operation: Operation, error: ErrorDetail, now: datetime) -> Step:
        """ARM's answer points somewhere that must not be followed: nothing it says can be relied on."""
        return posting.after_untrusted(operation, error, now)
