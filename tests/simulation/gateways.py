"""What a simulated process has in place of its connections to Service Bus; each call may go wrong, or be its last.

The coordination queue is read and written by the product's own `CoordinationQueue`, over `CoordinationClient`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, TypeVar

from azure.servicebus import ServiceBusMessage
from azure.servicebus.exceptions import MessageNotFoundError, ServiceBusConnectionError

from maintenance.domain.errors import BusUnavailable
from maintenance.domain.messages import Delivery, MaintenanceEvent, Record
from maintenance.servicebus.coordination_queue import Shown
from maintenance.servicebus.sender import PATIENCE, patiently
from tests.simulation.clock import moment_of, seconds_of
from tests.simulation.faults import Fault
from tests.simulation.process import Process
from tests.simulation.service_bus import Message, Queue

T = TypeVar("T")
PEEK_TIME_TO_LIVE = 3600.0


def unavailable() -> Exception:
    return BusUnavailable("simulated")


def no_connection() -> Exception:
    return ServiceBusConnectionError(message="simulated")


class Bus:
    """In place of `servicebus.bus.Bus`, for one process."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._simulation = process.simulation

    async def send(self, records: Sequence[Record]) -> None:
        if records:
            await patiently(lambda: self._send(records), PATIENCE)

    async def _send(self, records: Sequence[Record]) -> None:
        put = self._simulation.put_record

        def effect() -> None:
            for record in records:
                put(record)

        def half() -> None:
            for record in records[: len(records) // 2]:
                put(record)

        await self._process.call("send", "operations", effect, unavailable, half=half)

    async def schedule(self, record: Record) -> int:
        def once() -> Any:
            effect: Callable[[], int] = lambda: self._simulation.put_record(record)  # noqa: E731
            return self._process.call("schedule", "operations", effect, unavailable)

        number: int = await patiently(once, PATIENCE)
        return number

    async def cancel(self, number: int) -> None:
        queue = self._simulation.operations
        await self._process.call("cancel record", "operations", lambda: queue.cancel(number), unavailable)

    async def publish(self, events: Sequence[MaintenanceEvent]) -> None:
        def effect() -> None:
            for event in events:
                self._simulation.publish(event)

        def half() -> None:
            for event in events[: len(events) // 2]:
                self._simulation.publish(event)

        await self._process.call("publish", "topic", effect, unavailable, half=half)

    def operations(self) -> Receiver:
        return Receiver(self._process, self, self._simulation.operations, "")

    def dead_requests(self) -> Receiver:
        return Receiver(self._process, self, self._simulation.dead_requests, "dead ")

    def dead_operations(self) -> Receiver:
        return Receiver(self._process, self, self._simulation.dead_operations, "dead ")


class Receiver:
    """In place of `servicebus.operations_queue.OperationsReceiver`."""

    def __init__(self, process: Process, bus: Bus, queue: Queue, kind: str) -> None:
        self._process = process
        self._simulation = process.simulation
        self._bus = bus
        self._queue = queue
        self._kind = kind

    async def __aenter__(self) -> Receiver:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    async def receive(self, most: int, *, wait: float) -> list[Delivery]:
        available = self._queue.next_available()
        if available is None or available > self._simulation.loop.time():
            await asyncio.sleep(wait)
            available = self._queue.next_available()
            if available is None or available > self._simulation.loop.time():
                return []

        def effect(fault: Fault | None) -> list[Message]:
            taken = self._queue.take(min(most, self._simulation.batch()))
            self._simulation.mishap(self._queue, taken, fault, self._process)
            posts = [message for message in taken if message.subject == "post"]
            if posts:
                self._simulation.mishap(self._queue, posts, self._simulation.faults.meet("receive post"), self._process)
            return taken

        taken: list[Message] = await self._process.call_with_fault(
            f"{self._kind}receive", self._queue.name, effect, unavailable
        )
        return [self._delivery(message) for message in taken]

    async def send(self, records: Sequence[Record]) -> None:
        await self._bus.send(records)

    async def complete(self, delivery: Delivery) -> bool:
        try:
            return await self._complete(delivery)
        except BusUnavailable:
            self._simulation.note("complete not confirmed")
            return False

    async def complete_all(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            await self._complete(delivery)

    async def _complete(self, delivery: Delivery) -> bool:
        message, token, locked_until = delivery.handle

        def effect() -> bool:
            # As the SDK does: a lock that is over by this process's clock is not even tried.
            if self._process.seconds() >= locked_until:
                self._simulation.note("lock over by the process's clock")
                return False
            return self._queue.complete(message, token)

        completed = await self._process.call(f"{self._kind}complete", self._queue.name, effect, unavailable)
        if not completed:
            self._simulation.note("complete not confirmed")
        return completed

    def _delivery(self, message: Message) -> Delivery:
        if message.deliveries > 1:
            self._simulation.note("redelivered record")
        return Delivery(
            body=message.body,
            message_id=message.message_id or "",
            subject=message.subject,
            delivery_count=message.deliveries,
            sequence_number=message.number,
            enqueued_at=moment_of(message.enqueued_at),
            correlation_id=message.correlation_id,
            properties={name: str(value) for name, value in message.properties.items()},
            dead_letter_reason=message.dead_reason,
            handle=(message, message.token, message.locked_until),
        )


class CoordinationClient:
    """In place of the SDK's client, its receiver and its sender, as far as `CoordinationQueue` uses them."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._simulation = process.simulation
        self._queue = self._simulation.coordination
        self._began = 0.0
        self._shown: dict[tuple[int, datetime | None], Shown] = {}

    def get_queue_receiver(self, _queue: str, **_options: object) -> CoordinationClient:
        return self

    def get_queue_sender(self, _queue: str, **_options: object) -> CoordinationClient:
        return self

    async def close(self) -> None:
        return None

    async def peek_messages(self, *, max_message_count: int, sequence_number: int) -> list[Shown]:
        def effect() -> list[Shown]:
            self._queue.forget_active(PEEK_TIME_TO_LIVE)
            page = self._queue.peek(sequence_number, min(max_message_count, self._simulation.page()))
            return [self._peeked(message) for message in page]

        if sequence_number == 1:
            self._began = self._simulation.loop.time()
        page: list[Shown] = await self._process.call("peek", "coordination", effect, no_connection)
        if not page:
            self._process.entries_asked_at = self._began
        return page

    def _peeked(self, message: Message) -> Shown:
        due = moment_of(message.due) if message.due is not None else None
        until = due if message.number in self._queue.scheduled else None
        # What was shown before is the same object, as over the SDK.
        return self._shown.setdefault((message.number, until), Shown(message.number, until, message.body))

    async def schedule_messages(self, messages: Sequence[ServiceBusMessage], due: datetime) -> list[int]:
        # Numbered now, each shown a little later; who has sent them hears of it only then.
        commits = [self._simulation.commit_time() for _ in messages]
        self._several(messages)

        def effect() -> list[int]:
            return [self._put(message, due, commit) for message, commit in zip(messages, commits, strict=True)]

        numbers: list[int] = await self._process.call("put entry", "coordination", effect, no_connection)
        if any(commits):
            await asyncio.sleep(max(commits))
        return numbers

    def _put(self, message: ServiceBusMessage, due: datetime, commit: float) -> int:
        number, kept = self._queue.send(
            b"".join(message.body),
            message.message_id,
            due=seconds_of(due),
            visible_at=self._simulation.loop.time() + commit,
        )
        if kept is None:
            self._simulation.note("dropped duplicate: entry")
        return number

    async def cancel_scheduled_messages(self, numbers: Sequence[int]) -> None:
        self._several(numbers)

        def effect() -> bool:
            # Nobody says what becomes of the others where one is not found.
            there = [self._queue.cancel(number) for number in numbers[:-1]]
            return all(there) and self._queue.cancel(numbers[-1])

        if not await self._process.call("cancel entry", "coordination", effect, no_connection):
            raise MessageNotFoundError(message="simulated")

    def _several(self, those: Sequence[object]) -> None:
        if len(those) > 1:
            self._simulation.note("entries put or canceled together")

    async def send_messages(self, message: ServiceBusMessage) -> None:
        def effect() -> None:
            self._simulation.note("lease id used up")
            self._queue.send(b"", message.message_id)

        await self._process.call("use up", "coordination", effect, no_connection)
