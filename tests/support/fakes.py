"""In-memory models of ARM and Service Bus, with a clock moved by hand and a crash point after every awaited call."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import cast

from azure.servicebus import ServiceBusReceivedMessage

from maintenance.domain.coordination import Entry
from maintenance.domain.errors import ArmError, BusUnavailable, RefusedError
from maintenance.domain.instances import Instance
from maintenance.domain.messages import Envelope, MaintenanceEvent, Record
from maintenance.domain.observations import (
    Accepted,
    Ambiguous,
    ErrorDetail,
    Reading,
    Running,
    Submission,
    Succeeded,
    Unreported,
)
from maintenance.domain.operation import Call
from maintenance.domain.resources import ScaleSet
from maintenance.servicebus.operations_queue import Received
from tests.support.samples import ENDPOINT, LONG_AGO, NOW, SUBSCRIPTION, completed, eligible, in_progress

# The POST was received and its response lost.
LOST = Ambiguous(ErrorDetail("ReadTimeout", "No response from ARM."))


class Killed(BaseException):
    """The process crashes here."""


class HandClock:
    """The time, as worker, ARM and Service Bus all see it."""

    def __init__(self) -> None:
        self.time = NOW

    def __call__(self) -> datetime:
        return self.time

    def seconds(self) -> float:
        return (self.time - NOW).total_seconds()


@dataclass
class CrashPoint:
    """Counts the points at which a process can crash, and crashes it at number `die_at`. `reached`: their names."""

    die_at: int | None = None
    then_at: int | None = None
    reached: list[str] = field(default_factory=list)

    def reach(self, name: str) -> None:
        self.reached.append(name)
        if len(self.reached) == self.die_at:
            self.die_at, self.then_at = self.then_at, None
            raise Killed(name)


class FakeArm:
    """ARM with one scale set. By default each POST is accepted, and done after `duration`; what is put into
    `post_responses`, `poll_responses` and `view_responses` is returned or raised first."""

    def __init__(
        self, clock: HandClock, crash_point: CrashPoint, instances: Sequence[Instance], *, duration: float = 90
    ) -> None:
        self._clock = clock
        self._crash_point = crash_point
        self._views = {instance.instance_id: instance for instance in instances}
        self.duration = timedelta(seconds=duration)
        self._busy: dict[str, datetime] = {}
        self._operations: dict[str, datetime] = {}
        self.post_responses: list[Submission | Exception] = []
        self.poll_responses: list[Reading | Exception] = []
        self.view_responses: list[ArmError | list[Instance]] = []
        self.flexible = False
        self.at_once = False
        self.posted: list[tuple[str, ...] | None] = []
        self.posted_at: list[datetime] = []
        self.maintained: Counter[str] = Counter()
        self.wrongly_posted: list[str] = []
        self.most_down = 0
        self.polls = 0
        self.slow = False
        self.polling = 0
        self.most_polls_at_once = 0
        self.view_reads = 0

    async def perform_maintenance(self, scale_set: ScaleSet, instance_ids: tuple[str, ...] | None) -> Submission:
        self._crash_point.reach("POST is sent")
        self._mature()
        self.posted.append(instance_ids)
        self.posted_at.append(self._clock())
        response = self.post_responses.pop(0) if self.post_responses else None
        if isinstance(response, Exception):
            raise response
        if response is None or response is LOST:
            url = self._begin(list(self._views) if instance_ids is None else list(instance_ids))
            response = response or (Succeeded() if self.at_once else Accepted(url))
            self._mature()
        self._crash_point.reach("response to POST is received")
        return response

    async def perform_vm_maintenance(self, scale_set: ScaleSet, vm_name: str) -> Submission:
        return await self.perform_maintenance(scale_set, (vm_name,))

    async def is_flexible(self, scale_set: ScaleSet) -> bool:
        return self.flexible

    async def read_operation(self, scale_set: ScaleSet, call: Call) -> Reading:
        self._crash_point.reach("poll")
        self.polls += 1
        self.polling += 1
        self.most_polls_at_once = max(self.most_polls_at_once, self.polling)
        if self.slow:
            # Lets the other polls that may run concurrently run.
            await asyncio.sleep(0)
        self.polling -= 1
        response = self.poll_responses.pop(0) if self.poll_responses else None
        if isinstance(response, Exception):
            raise response
        if response is not None:
            return response
        ends = self._operations.get(call.url or "")
        if ends is None:
            return Unreported(ErrorDetail("NotFound", "No such operation."))
        return Succeeded() if ends <= self._clock() else Running("inprogress")

    async def list_instances(self, scale_set: ScaleSet, *, flexible: bool = False) -> list[Instance]:
        self._crash_point.reach("read views")
        if self.flexible and not flexible:
            raise RefusedError("list", ErrorDetail("BadRequest", "Not for Flexible sets."), status=400)
        self.view_reads += 1
        if self.view_responses:
            response = self.view_responses.pop(0)
            if isinstance(response, ArmError):
                raise response
            return response
        self._mature()
        return list(self._views.values())

    def _begin(self, ids: list[str]) -> str:
        now = self._clock()
        for instance_id in ids:
            if not self._views[instance_id].maintenance_allowed:
                self.wrongly_posted.append(instance_id)
            self.maintained[instance_id] += 1
            self._views[instance_id] = in_progress(instance_id, now)
            self._busy[instance_id] = now + self.duration
        self.most_down = max(self.most_down, len(self._busy))
        number = len(self._operations) + 1
        url = f"{ENDPOINT}/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Compute/operations/{number}?s=secret"
        self._operations[url] = now + self.duration
        return url

    def _mature(self) -> None:
        now = self._clock()
        for instance_id, ends in list(self._busy.items()):
            if ends <= now:
                self._views[instance_id] = completed(instance_id, ends)
                del self._busy[instance_id]


@dataclass
class Message:
    """A message in a queue."""

    body: bytes
    message_id: str
    due: datetime
    properties: Mapping[str, str | int | bool] = field(default_factory=dict)
    correlation_id: str | None = None
    deliveries: int = 0
    locked_until: datetime = LONG_AGO


class FakeQueue:
    """Scheduled delivery, locks of a minute, and duplicate detection that forgets nothing."""

    def __init__(self, clock: HandClock) -> None:
        self._clock = clock
        self._seen: set[str] = set()
        self.messages: list[Message] = []
        self.dropped: list[str] = []
        self.dead: list[tuple[str, str]] = []

    def send(self, message: Message) -> None:
        if message.message_id in self._seen:
            self.dropped.append(message.message_id)
            return
        self._seen.add(message.message_id)
        self.messages.append(message)

    def take(self, most: int) -> list[Message]:
        now = self._clock()
        taken = [each for each in self.messages if max(each.due, each.locked_until) <= now][:most]
        for each in taken:
            each.deliveries += 1
            each.locked_until = now + timedelta(minutes=1)
        return taken

    def settle(self, message: Message) -> None:
        if message in self.messages:
            self.messages.remove(message)

    @property
    def next_at(self) -> datetime | None:
        return min((max(each.due, each.locked_until) for each in self.messages), default=None)


class FakeBus:
    """Two queues and a topic. `down` names entities that refuse every message: "requests", "operations", "events"."""

    def __init__(self, clock: HandClock, crash_point: CrashPoint) -> None:
        self._clock = clock
        self._crash_point = crash_point
        self.requests = FakeQueue(clock)
        self.operations = FakeQueue(clock)
        self.published: list[MaintenanceEvent] = []
        self.log: list[str] = []
        self.down: set[str] = set()

    @property
    def events(self) -> dict[str, MaintenanceEvent]:
        """What subscribers receive after duplicate detection: the first event of each id."""
        first: dict[str, MaintenanceEvent] = {}
        for event in self.published:
            first.setdefault(event.event_id, event)
        return first

    @property
    def ends(self) -> list[MaintenanceEvent]:
        return [event for event in self.events.values() if event.event_id.endswith(":ended")]

    async def enqueue(
        self,
        body: bytes,
        *,
        message_id: str,
        due: datetime | None,
        correlation_id: str | None,
        properties: Mapping[str, str | int | bool],
    ) -> None:
        self._check("requests", f"enqueue {message_id}")
        self.requests.send(Message(body, message_id, due or self._clock(), properties, correlation_id))
        self._crash_point.reach("retry is sent")

    async def persist(self, records: Sequence[Record]) -> None:
        if not records:
            return
        self._check("operations", "persist " + ", ".join(record.message_id for record in records))
        for record in records:
            self.operations.send(Message(record.body, record.message_id, record.due))
            self._crash_point.reach("record is sent")

    async def publish(self, events: Sequence[MaintenanceEvent]) -> None:
        if not events:
            return
        self._check("events", "publish " + ", ".join(event.event_id for event in events))
        for event in events:
            self.published.append(event)
            self._crash_point.reach("event is sent")

    @asynccontextmanager
    async def due_operations(self) -> AsyncIterator[FakeDueMessages]:
        yield FakeDueMessages(self, self._crash_point)

    def _check(self, entity: str, doing: str) -> None:
        self._crash_point.reach(doing.partition(" ")[0])
        if entity in self.down:
            raise BusUnavailable(f"sending failed: {entity} is down")
        self.log.append(doing)


class FakeCoordinationQueue:
    """Leases and cancellation markers, numbered in the order in which they were sent."""

    def __init__(self, crash_point: CrashPoint) -> None:
        self._crash_point = crash_point
        self._number = 0
        self.entries: list[Entry] = []

    async def read(self) -> list[Entry]:
        self._crash_point.reach("entries are read")
        return list(self.entries)

    async def put(self, entry: Entry) -> None:
        self._number += 1
        self.entries.append(replace(entry, number=self._number))
        self._crash_point.reach("entry is sent")

    async def release(self, request_ids: Sequence[str]) -> None:
        self._crash_point.reach("release")
        self.entries = [entry for entry in self.entries if entry.request_id not in request_ids]
        self._crash_point.reach("entries are released")


class FakeDueMessages:
    """A receiver of the operations queue."""

    def __init__(self, bus: FakeBus, crash_point: CrashPoint) -> None:
        self._bus = bus
        self._crash_point = crash_point

    async def receive(self, most: int, *, wait: float) -> list[Received]:
        self._crash_point.reach("receive")
        taken = self._bus.operations.take(most)
        return [Received(each.body, each.deliveries, cast(ServiceBusReceivedMessage, each)) for each in taken]

    async def persist(self, records: Sequence[Record]) -> None:
        await self._bus.persist(records)

    async def complete(self, received: Sequence[Received]) -> None:
        for one in received:
            self._crash_point.reach("settle")
            self._bus.log.append(f"settle {one.message_id}")
            self._bus.operations.settle(cast(Message, one.handle))
            self._crash_point.reach("settled")

    async def dead_letter(self, received: Received, reason: str, description: str) -> None:
        self._crash_point.reach("dead-letter")
        self._bus.log.append(f"dead-letter {received.message_id}")
        self._bus.operations.dead.append((reason, description))
        self._bus.operations.settle(cast(Message, received.handle))


def envelope_of(message: Message) -> Envelope:
    """A queue's message as the trigger passes it on."""
    return Envelope(
        body=message.body,
        message_id=message.message_id,
        sequence_number=1,
        delivery_count=message.deliveries,
        enqueued_at=message.due,
        correlation_id=message.correlation_id,
        properties=message.properties,
    )


def all_eligible(count: int) -> list[Instance]:
    return [eligible(str(n), update_domain=n % 2) for n in range(count)]
