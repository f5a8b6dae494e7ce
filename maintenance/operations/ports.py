"""What the runner and the poller use of others, as narrow protocols: their fakes in tests need no more."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from datetime import datetime, timedelta
from typing import Protocol

from maintenance.coordination.entries import EntriesRead, Entry
from maintenance.domain.errors import UntrustedUrl
from maintenance.domain.instances import Instance, Tags
from maintenance.domain.messages import Delivery, MaintenanceEvent, Record
from maintenance.domain.observations import Reading, Submission
from maintenance.domain.operation import Call, Operation
from maintenance.domain.resources import ScaleSet
from maintenance.lifecycle.actions import Continue, Done, LeaveToJudge


class Arm(Protocol):
    """What is used of `arm.throttling.ThrottlingGateway`."""

    async def perform_maintenance(self, scale_set: ScaleSet, instance_ids: Sequence[str] | None) -> Submission: ...

    async def perform_vm_maintenance(self, scale_set: ScaleSet, vm_name: str) -> Submission: ...

    async def is_flexible(self, scale_set: ScaleSet) -> bool: ...

    async def read_tags(self, scale_set: ScaleSet) -> Tags: ...

    async def read_operation(self, scale_set: ScaleSet, call: Call) -> Reading: ...

    async def list_instances(self, scale_set: ScaleSet, *, flexible: bool = False) -> list[Instance]: ...


class Coordination(Protocol):
    """What is used of `servicebus.coordination_queue.CoordinationQueue`. All raise BusUnavailable."""

    async def read(self) -> EntriesRead: ...

    async def put(self, entry: Entry) -> None: ...

    async def cancel(self, number: int) -> None: ...

    async def use_up(self, message_id: str) -> None: ...


class RecordSender(Protocol):
    """What is used of `servicebus.bus.Bus`. All raise BusUnavailable."""

    async def send(self, records: Sequence[Record]) -> None: ...

    async def schedule(self, record: Record) -> int: ...

    async def cancel(self, number: int) -> None: ...


# Completes the message that is being delivered: true only where Service Bus confirmed it.
Settle = Callable[[], Awaitable[bool]]


class Deliveries(Protocol):
    """What is used of `servicebus.operations_queue.OperationsReceiver`. All raise BusUnavailable."""

    async def receive(self, most: int, *, wait: float) -> list[Delivery]: ...

    async def send(self, records: Sequence[Record]) -> None: ...

    async def complete(self, delivery: Delivery) -> bool: ...

    async def complete_all(self, deliveries: Sequence[Delivery]) -> None: ...


class OperationsBus(Protocol):
    """What is used of `servicebus.bus.Bus`."""

    def operations(self) -> AbstractAsyncContextManager[Deliveries]: ...

    async def publish(self, events: Sequence[MaintenanceEvent]) -> None: ...


class Watched(Protocol):
    """A delivery as telemetry sees it: `units.Unit`."""

    @property
    def delivery(self) -> Delivery: ...

    @property
    def content(self) -> object: ...


class TickWatch(Protocol):
    """Is told what one tick does."""

    def received(self, units: Sequence[Watched], now: datetime) -> None: ...

    def ended(self, counts: Mapping[str, int]) -> None: ...


class RunWatch(Protocol):
    """Is told what becomes of runs: what telemetry is made of. It raises nothing, and holds nothing up for longer than
    a second."""

    def tick(self) -> TickWatch:
        """A tick begins."""
        ...

    async def ending(self, units: Sequence[Watched]) -> None:
        """Events of these records are published next, and then they are gone."""
        ...

    def published(self, operation: Operation) -> None:
        """The events that a record owed were published."""
        ...

    def posted(
        self,
        operation: Operation,
        ids: Sequence[str] | None,
        submission: Submission | UntrustedUrl,
        began_at: datetime,
        ended_at: datetime,
    ) -> None:
        """performMaintenance was called; in the task that called it."""
        ...

    async def flush(self) -> None:
        """What was told is worth waiting for."""
        ...

    def decided(self, before: Operation, decision: Continue | Done | LeaveToJudge) -> None:
        """What a delivery of a record ended with."""
        ...

    def dead_lettered(self, queue: str, reason: str | None) -> None: ...

    def within(self, operation: Operation) -> AbstractContextManager[None]:
        """Log records of the block belong to the run's trace."""
        ...


class Unwatched:
    """No telemetry: a `RunWatch` and `TickWatch` that does nothing, and makes no objects."""

    _NOTHING = nullcontext()

    def tick(self) -> Unwatched:
        return self

    def received(self, units: Sequence[Watched], now: datetime) -> None:
        pass

    def ended(self, counts: Mapping[str, int]) -> None:
        pass

    async def ending(self, units: Sequence[Watched]) -> None:
        pass

    def published(self, operation: Operation) -> None:
        pass

    def posted(
        self,
        operation: Operation,
        ids: Sequence[str] | None,
        submission: Submission | UntrustedUrl,
        began_at: datetime,
        ended_at: datetime,
    ) -> None:
        pass

    async def flush(self) -> None:
        pass

    def decided(self, before: Operation, decision: Continue | Done | LeaveToJudge) -> None:
        pass

    def dead_lettered(self, queue: str, reason: str | None) -> None:
        pass

    def within(self, operation: Operation) -> AbstractContextManager[None]:
        return self._NOTHING


UNWATCHED = Unwatched()


class TickLimits(Protocol):
    """What is used of `settings.Settings`."""

    @property
    def tick_budget(self) -> timedelta: ...

    @property
    def poll_concurrency(self) -> int: ...

    @property
    def poll_receivers(self) -> int: ...

    @property
    def receive_wait(self) -> timedelta: ...


# Deals with a message of the operations queue that is no record, by its subject. Raises BusUnavailable.
Intake = Callable[[Delivery], Awaitable[None]]
