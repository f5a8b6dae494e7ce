"""ARM and Service Bus as small models in memory, with a clock moved by hand and a fate that can strike at any step."""

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

LOST = Ambiguous(ErrorDetail("ReadTimeout", "No answer from ARM."))


class Killed(BaseException):
    """The process dies here."""


class HandClock:
    """The time, as worker, ARM and Service Bus all see it."""

    def __init__(self) -> None:
        self.time = NOW

    def __call__(self) -> datetime:
        return self.time

    def seconds(self) -> float:
        return (self.time - NOW).total_seconds()


@dataclass
class Fate:
    """Counts the awaited steps, and strikes at one of them. `told` holds every step by name."""

    die_at: int | None = None
    then_at: int | None = None
    told: list[str] = field(default_factory=list)

    def step(self, name: str) -> None:
        self.told.append(name)
        if len(self.told) == self.die_at:
            self.die_at, self.then_at = self.then_at, None
            raise Killed(name)


class FakeArm:
    """One scale set. By default each POST is taken and done after `duration`; answers put into `post_answers`,
    `poll_answers` and `view_answers` are given first."""

    def __init__(self, clock: HandClock, fate: Fate, instances: Sequence[Instance], *, duration: float = 90) -> None:
        self._clock = clock
        self._fate = fate
        self._views = {instance.instance_id: instance for instance in instances}
        self.duration = timedelta(seconds=duration)
        self._busy: dict[str, datetime] = {}
        self._operations: dict[str, datetime] = {}
        self.post_answers: list[Submission | Exception] = []
        self.poll_answers: list[Reading | Exception] = []
        self.view_answers: list[ArmError | list[Instance]] = []
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
        self.looks = 0

    async def perform_maintenance(self, scale_set: ScaleSet, instance_ids: tuple[str, ...] | None) -> Submission:
        self._fate.step("POST is sent")
        self._mature()
        self.posted.append(instance_ids)
        self.posted_at.append(self._clock())
        answer = self.post_answers.pop(0) if self.post_answers else None
        if isinstance(answer, Exception):
            raise answer
        if answer is None or answer is LOST:
            url = self._begin(list(self._views) if instance_ids is None else list(instance_ids))
            answer = answer or (Succeeded() if self.at_once else Accepted(url))
            self._mature()
        self._fate.step("POST is answered")
        return answer

    async def perform_vm_maintenance(self, scale_set: ScaleSet, vm_name: str) -> Submission:
        return await self.perform_maintenance(scale_set, (vm_name,))

    async def is_flexible(self, scale_set: ScaleSet) -> bool:
        return self.flexible

    async def read_operation(self, scale_set: ScaleSet, call: Call) -> Reading:
        self._fate.step("poll")
        self.polls += 1
        self.polling += 1
        self.most_polls_at_once = max(self.most_polls_at_once, self.polling)
        if self.slow:
            # Whoever may poll at the same time does so now.
            await asyncio.sleep(0)
        self.polling -= 1
        answer = self.poll_answers.pop(0) if self.poll_answers else None
        if isinstance(answer, Exception):
            raise answer
        if answer is not None:
            return answer
        ends = self._operations.get(call.url or "")
        if ends is None:
            return Unreported(ErrorDetail("NotFound", "No such operation."))
        return Succeeded() if ends <= self._clock() else Running("inprogress")

    async def list_instances(self, scale_set: ScaleSet, *, flexible: bool = False) -> list[Instance]:
        self._fate.step("look")
        if self.flexible and not flexible:
            raise RefusedError("list", ErrorDetail("BadRequest", "Not for Flexible sets."), status=400)
        self.looks += 1
        if self.view_answers:
            answer = self.view_answers.pop(0)
            if isinstance(answer, ArmError):
                raise answer
            return answer
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
    """Two queues and a topic. `down` names entities that take nothing: "requests", "operations", "events"."""

    def __init__(self, clock: HandClock, fate: Fate) -> None:
        self._clock = clock
        self._fate = fate
        self.requests = FakeQueue(clock)
        self.operations = FakeQueue(clock)
        self.published: list[MaintenanceEvent] = []
        self.log: list[str] = []
        self.down: set[str] = set()

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
        self._fate.step("clone is sent")

    async def persist(self, records: Sequence[Record]) -> None:
        if not records:
            return
        self._check("operations", "track " + ", ".join(record.message_id for record in records))
        for record in records:
            self.operations.send(Message(record.body, record.message_id, record.due))
            self._fate.step("record is sent")

    async def publish(self, events: Sequence[MaintenanceEvent]) -> None:
        if not events:
            return
        self._check("events", "publish " + ", ".join(event.event_id for event in events))
        for event in events:
            self.published.append(event)
            self._fate.step("event is sent")

    @asynccontextmanager
    async def due_operations(self) -> AsyncIterator[FakeDue]:
        yield FakeDue(self, self._fate)

    def _check(self, entity: str, doing: str) -> None:
        self._fate.step(doing.partition(" ")[0])
        if entity in self.down:
            raise BusUnavailable(f"sending failed: {entity} is down")
        self.log.append(doing)


class FakeBoard:
    """Notices, numbered in the order in which they were put up."""

    def __init__(self, fate: Fate) -> None:
        self._fate = fate
        self._number = 0
        self.notices: list[Entry] = []

    async def read(self) -> list[Entry]:
        self._fate.step("notices are read")
        return list(self.notices)

    async def put(self, notice: Entry) -> None:
        self._number += 1
        self.notices.append(replace(notice, number=self._number))
        self._fate.step("notice is put up")

    async def release(self, request_ids: Sequence[str]) -> None:
        self._fate.step("notices are to be taken down")
        self.notices = [notice for notice in self.notices if notice.request_id not in request_ids]
        self._fate.step("notices are taken down")


class FakeDue:
    """A receiver of the operations queue."""

    def __init__(self, bus: FakeBus, fate: Fate) -> None:
        self._bus = bus
        self._fate = fate

    async def receive(self, most: int, *, wait: float) -> list[Received]:
        self._fate.step("receive")
        taken = self._bus.operations.take(most)
        return [Received(each.body, each.deliveries, cast(ServiceBusReceivedMessage, each)) for each in taken]

    async def persist(self, records: Sequence[Record]) -> None:
        await self._bus.persist(records)

    async def complete(self, received: Sequence[Received]) -> None:
        for one in received:
            self._fate.step("settle")
            self._bus.log.append(f"settle {one.message_id}")
            self._bus.operations.settle(cast(Message, one.handle))
            self._fate.step("settled")

    async def dead_letter(self, received: Received, reason: str, description: str) -> None:
        self._fate.step("dead-letter")
        self._bus.log.append(f"dead-letter {received.message_id}")
        self._bus.operations.dead.append((reason, description))
        self._bus.operations.settle(cast(Message, received.handle))


def envelope_of(message: Message) -> Envelope:
    """A queue's message as the trigger hands it over."""
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
