"""The state machine under one set of rules, with a method for each observation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from maintenance.domain.coordination import Entry
from maintenance.domain.instances import Instance
from maintenance.domain.observations import ErrorDetail, Reading
from maintenance.domain.operation import Call, Operation
from maintenance.domain.resources import Scope
from maintenance.lifecycle.actions import (
    Action,
    Denied,
    LeaseTaken,
    OperationRead,
    Posted,
    Resumed,
    Rules,
    Submitted,
    TakeLease,
    Unavailable,
    Untrusted,
    ViewsRead,
)
from maintenance.lifecycle.machine import next_action
from tests.support.samples import SUBSCRIPTION

EVERYWHERE = (Scope(SUBSCRIPTION),)


@dataclass(frozen=True, slots=True)
class Machine:
    rules: Rules = field(default_factory=lambda: Rules(allowed_scopes=EVERYWHERE))

    def resume(self, operation: Operation, now: datetime, *, may_have_started: bool = False) -> Action:
        return next_action(self.rules, operation, Resumed(), now, may_have_started=may_have_started)

    def views_read(
        self,
        operation: Operation,
        instances: Sequence[Instance],
        now: datetime,
        *,
        may_have_started: bool = False,
        entries: Sequence[Entry] = (),
    ) -> Action:
        read = ViewsRead(instances, entries, bool(operation.flexible), operation.views_read_at)
        return next_action(self.rules, operation, read, now, may_have_started=may_have_started)

    def lease_taken(
        self, action: TakeLease, entries: Sequence[Entry], now: datetime, *, may_have_started: bool = False
    ) -> Action:
        taken = LeaseTaken(action, entries)
        return next_action(self.rules, action.operation, taken, now, may_have_started=may_have_started)

    def unavailable(
        self, operation: Operation, error: ErrorDetail, now: datetime, *, retry_after: timedelta | None
    ) -> Action:
        return next_action(self.rules, operation, Unavailable(error, retry_after), now)

    def denied(self, operation: Operation, error: ErrorDetail, now: datetime) -> Action:
        return next_action(self.rules, operation, Denied(error), now)

    def polled(self, operation: Operation, readings: Sequence[tuple[Call, Reading]], now: datetime) -> Action:
        return next_action(self.rules, operation, OperationRead(readings), now)

    def submitted(self, operation: Operation, posted: Sequence[Posted], now: datetime) -> Action:
        return next_action(self.rules, operation, Submitted(posted), now)

    def untrusted(self, operation: Operation, error: ErrorDetail, now: datetime) -> Action:
        return next_action(self.rules, operation, Untrusted(error), now)
