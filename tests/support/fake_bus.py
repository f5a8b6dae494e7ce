"""Service Bus as a small model in memory: queues with locks and duplicate detection, a topic."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from maintenance.coordination.entries import EntriesRead, Entry
from maintenance.domain.errors import BusUnavailable, EntityMissing
from maintenance.domain.messages import Delivery, Envelope, MaintenanceEvent, Record
from tests.support.contract import check_event
from tests.support.crash_point import CrashPoint, HandClock
from tests.support.samples import LONG_AGO, NOW


@dataclass
class Message:
    """A message in a queue. `number` and `enqueued_at` are the queue's."""

    body: bytes
    message_id: str
    due: datetime
    properties: Mapping[str, str | int | bool] = field(default_factory=dict)
    correlation_id: str | None = None
    subject: str = ""
    deliveries: int = 0
    locked_until: datetime = LONG_AGO
    number: int = 0
    enqueued_at: datetime = NOW
    scheduled: bool = False
    reason: str | None = None


class FakeQueue:
    """Scheduled delivery, locks, and duplicate detection within `window`, where there is any. A scheduled message gets
    a new number when it becomes active."""

    def __init__(self, clock: HandClock, *, window: timedelta | None = timedelta(days=1)) -> None:
        self._clock = clock
        self._window = window
        self._seen: dict[str, datetime] = {}
        self._number = 0
        self.lock = timedelta(minutes=5)
        self.most_deliveries = 30
        self.messages: list[Message] = []
        self.dropped: list[str] = []
        self.dead: list[Message] = []

    def send(self, message: Message) -> int:
        now = self._clock()
        self._number += 1
        message.number, message.enqueued_at = self._number, now
        message.scheduled = message.due > now
        seen = self._seen.get(message.message_id)
        if self._window is not None:
            if seen is not None and now - seen < self._window:
                self.dropped.append(message.message_id)
                return self._number
            self._seen[message.message_id] = now
        self.messages.append(message)
        return self._number

    def cancel(self, number: int) -> None:
        self.messages = [each for each in self.messages if not (each.scheduled and each.number == number)]

    def activate(self) -> None:
        for each in self.messages:
            if each.scheduled and each.due <= self._clock():
                self._number += 1
                each.scheduled, each.number, each.enqueued_at = False, self._number, each.due

    def take(self, most: int) -> list[Message]:
        self.activate()
        now = self._clock()
        taken = [each for each in self.messages if not each.scheduled and each.locked_until <= now][:most]
        for each in taken:
            if each.deliveries >= self.most_deliveries:
                self.messages.remove(each)
                each.reason = "MaxDeliveryCountExceeded"
                self.dead.append(each)
                continue
            each.deliveries += 1
            each.locked_until = now + self.lock
        return [each for each in taken if each in self.messages]

    def settle(self, message: Message) -> bool:
        """True where the message was there, and its lock not run out."""
        if message in self.dead:
            self.dead.remove(message)
            return True
        if message not in self.messages or message.locked_until <= self._clock():
            return False
        self.messages.remove(message)
        return True

    @property
    def next_at(self) -> datetime | None:
        return min((max(each.due, each.locked_until) for each in self.messages), default=None)


class FakeBus:
    """The requests queue, the operations queue and a topic. `down` names entities that take nothing: "operations",
    "events". `queue_missing`: there is no operations queue."""

    def __init__(self, clock: HandClock, crash_point: CrashPoint) -> None:
        self._clock = clock
        self._crash_point = crash_point
        self.requests = FakeQueue(clock, window=None)
        self.requests.most_deliveries = 10
        self.operations_queue = FakeQueue(clock)
        self.published: list[MaintenanceEvent] = []
        self.log: list[str] = []
        self.down: set[str] = set()
        self.queue_missing = False
        # Seconds that each call to receive was to wait at most.
        self.waits: list[float] = []

    @property
    def events(self) -> dict[str, MaintenanceEvent]:
        """What subscribers see: after duplicate detection, which keeps the first."""
        first: dict[str, MaintenanceEvent] = {}
        for event in self.published:
            first.setdefault(event.event_id, event)
        return first

    @property
    def ends(self) -> list[MaintenanceEvent]:
        return [event for event in self.events.values() if event.event_id.endswith(":ended")]

    async def send(self, records: Sequence[Record]) -> None:
        if not records:
            return
        self._check("operations", "send " + ", ".join(record.message_id for record in records))
        for record in records:
            self.operations_queue.send(self._message(record))
            self._crash_point.step("record is sent")

    async def schedule(self, record: Record) -> int:
        self._check("operations", f"schedule {record.message_id}")
        number = self.operations_queue.send(self._message(record))
        self._crash_point.step("JUDGE is scheduled")
        return number

    async def cancel(self, number: int) -> None:
        self._check("operations", "cancel")
        self.operations_queue.cancel(number)
        self._crash_point.step("JUDGE is canceled")

    def _message(self, record: Record) -> Message:
        return Message(
            record.body,
            record.message_id,
            record.due or self._clock(),
            record.properties,
            record.correlation_id,
            record.subject,
        )

    async def publish(self, events: Sequence[MaintenanceEvent]) -> None:
        if not events:
            return
        self._check("events", "publish " + ", ".join(event.event_id for event in events))
        for event in events:
            check_event(json.loads(event.to_json()))
            self.published.append(event)
            self._crash_point.step(f"{event.event_id} is published")

    @asynccontextmanager
    async def operations(self) -> AsyncIterator[FakeDeliveries]:
        if self.queue_missing:
            raise EntityMissing("there is no queue operations")
        yield FakeDeliveries(self, self.operations_queue, self._crash_point)

    @asynccontextmanager
    async def dead_requests(self) -> AsyncIterator[FakeDeliveries]:
        yield FakeDeliveries(self, self.requests, self._crash_point, dead=True)

    @asynccontextmanager
    async def dead_operations(self) -> AsyncIterator[FakeDeliveries]:
        yield FakeDeliveries(self, self.operations_queue, self._crash_point, dead=True)

    def _check(self, entity: str, doing: str) -> None:
        self._crash_point.step(doing.partition(" ")[0])
        if entity == "operations" and self.queue_missing:
            raise EntityMissing("there is no queue operations")
        if entity in self.down:
            raise BusUnavailable(f"sending failed: {entity} is down")
        self.log.append(doing)


class FakeCoordinationQueue:
    """Scheduled entries, numbered in the order in which they were put, with duplicate detection."""

    def __init__(self, clock: HandClock, crash_point: CrashPoint) -> None:
        self._clock = clock
        self._crash_point = crash_point
        self._number = 0
        self._seen: set[str] = set()
        self._entries: list[Entry] = []
        self.down = False

    @property
    def entries(self) -> list[Entry]:
        return [each for each in self._entries if each.until > self._clock()]

    async def read(self) -> EntriesRead:
        self._crash_point.step("coordination queue is read")
        if self.down:
            raise BusUnavailable("reading the coordination queue failed")
        return EntriesRead(self.entries)

    async def put(self, entry: Entry) -> None:
        self._crash_point.step("entry is to be put")
        if self.down:
            raise BusUnavailable("scheduling an entry failed")
        self._number += 1
        if entry.message_id not in self._seen:
            self._entries.append(replace(entry, number=self._number))
        self._seen.add(entry.message_id)
        self._crash_point.step("entry is put")

    async def cancel(self, number: int) -> None:
        self._crash_point.step("entry is to be canceled")
        self._entries = [each for each in self._entries if each.number != number]
        self._crash_point.step("entry is canceled")

    async def use_up(self, message_id: str) -> None:
        self._crash_point.step("id is to be used up")
        self._seen.add(message_id)
        self._crash_point.step("id is used up")


class FakeDeliveries:
    """A receiver of a queue, or of its dead letters."""

    def __init__(self, bus: FakeBus, queue: FakeQueue, crash_point: CrashPoint, *, dead: bool = False) -> None:
        self._bus = bus
        self._queue = queue
        self._crash_point = crash_point
        self._dead = dead

    async def receive(self, most: int, *, wait: float) -> list[Delivery]:
        self._crash_point.step("receive")
        self._bus.waits.append(wait)
        taken = list(self._queue.dead[:most]) if self._dead else self._queue.take(most)
        return [delivery_of(each) for each in taken]

    async def send(self, records: Sequence[Record]) -> None:
        await self._bus.send(records)

    async def complete(self, delivery: Delivery) -> bool:
        self._crash_point.step("complete")
        self._bus.log.append(f"complete {delivery.message_id}")
        completed = self._queue.settle(delivery.handle)
        self._crash_point.step("completed")
        return completed

    async def complete_all(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            await self.complete(delivery)


def delivery_of(message: Message) -> Delivery:
    """A queue's message as the app receives it."""
    return Delivery(
        body=message.body,
        message_id=message.message_id,
        subject=message.subject,
        delivery_count=message.deliveries,
        sequence_number=message.number,
        enqueued_at=message.enqueued_at,
        correlation_id=message.correlation_id,
        properties={name: str(value) for name, value in message.properties.items()},
        dead_letter_reason=message.reason,
        handle=message,
    )


def envelope_of(message: Message) -> Envelope:
    """A queue's message as the trigger hands it over."""
    return Envelope(
        body=message.body,
        message_id=message.message_id,
        sequence_number=message.number,
        delivery_count=message.deliveries,
        enqueued_at=message.enqueued_at,
        correlation_id=message.correlation_id,
        properties=dict(message.properties),
    )
