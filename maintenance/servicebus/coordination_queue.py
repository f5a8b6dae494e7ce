"""The coordination queue on Service Bus: put entries, read them all, cancel them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, cast

from azure.servicebus import ServiceBusMessage, ServiceBusMessageState, ServiceBusReceivedMessage
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver, ServiceBusSender
from azure.servicebus.aio._transport._pyamqp_transport_async import PyamqpTransportAsync

from maintenance.coordination.documents import read_entry, within, write_entry
from maintenance.coordination.entries import EntriesRead, Entry, Lease, kind_of
from maintenance.domain.errors import BusUnavailable
from maintenance.servicebus.connection import CALL_TIMEOUT, SOCKET_TIMEOUT, close_quietly, side_by_side
from maintenance.servicebus.link import CALLS_OF_A_LINK, Link, Together
from maintenance.servicebus.messages import body_of, up_to
from maintenance.servicebus.scheduler import cancel_all
from maintenance.servicebus.sender import PATIENCE, patiently

T = TypeVar("T")
MINUTE = timedelta(minutes=1)
PAGE = 250
# What one reading takes at the most: more entries than any honest use leaves. Then nothing is started.
MAX_PAGES = 400
# Above this a sequence number holds a partition, and the numbers are in no order.
PARTITIONED = 1 << 48


class Shown:
    """A message that Service Bus shows, and the entry in it, which is read once. `until` is None where it is not
    scheduled."""

    __slots__ = ("_body", "_entry", "_until", "sequence_number")

    def __init__(self, sequence_number: int, until: datetime | None, body: bytes) -> None:
        self.sequence_number = sequence_number
        self._until = until
        self._body = body
        self._entry: Entry | None = None

    def entry(self, now: datetime) -> Entry | None:
        if self._until is not None and (self._entry is None or not within(self._entry, now)):
            self._entry = read_entry(self._body, number=self.sequence_number, until=self._until, now=now)
        return self._entry


class ShownBefore:
    """What the last readings showed: the same bytes are not read again. That takes the SDK 0.06 ms for each, and each
    entry is shown whenever anything starts. Memory: as much as two readings showed."""

    def __init__(self) -> None:
        self._before: dict[bytes, Shown] = {}
        self._now: dict[bytes, Shown] = {}

    def begin(self) -> None:
        """A reading begins."""
        self._before, self._now = self._now, {}

    def page(self, message: Any, read: Callable[[Any], Sequence[ServiceBusReceivedMessage]]) -> list[Shown]:
        """What the response to a peek shows. `read` is the SDK's own way, for one that shows only what is new."""
        page = [each[b"message"] for each in message.value[b"messages"]] if message.value else []
        new = [each for each in page if each not in self._before]
        self._now.update((each, self._before[each]) for each in page if each in self._before)
        messages = read(message._replace(value={b"messages": [{b"message": each} for each in new]}))
        self._now.update(zip(new, map(_shown, messages), strict=True))
        return [self._now[each] for each in page]

    def transport(self) -> type[PyamqpTransportAsync]:
        """The SDK's transport for a receiver that peeks, whose `peek_messages` then returns what `page` does."""

        class Transport(PyamqpTransportAsync):
            @staticmethod
            async def mgmt_client_request_async(*arguments: Any, callback: Any, **options: Any) -> Any:
                # The SDK hands its own transport to what reads the response.
                def read(*response: Any, **_: Any) -> Any:
                    return callback(*response, amqp_transport=Transport)

                request = PyamqpTransportAsync.mgmt_client_request_async
                return await request(*arguments, callback=read, **options)

            @staticmethod
            def parse_received_message(message: Any, message_type: Any, **options: Any) -> Any:
                read = PyamqpTransportAsync.parse_received_message
                return self.page(message, lambda new: read(new, message_type, **options))

        return Transport


def _shown(message: ServiceBusReceivedMessage) -> Shown:
    until = message.scheduled_enqueue_time_utc
    if message.state is not ServiceBusMessageState.SCHEDULED or until is None:
        until = None
    elif not until.tzinfo:
        until = until.replace(tzinfo=UTC)
    return Shown(int(message.sequence_number or 0), until, body_of(message))


class CoordinationQueue:
    """One per process. All methods raise BusUnavailable where Service Bus does not respond, or not for sure."""

    def __init__(
        self,
        client: ServiceBusClient,
        queue: str,
        *,
        now: Callable[[], datetime],
        call_timeout: float = CALL_TIMEOUT,
        patience: float = PATIENCE,
        calls_of_a_link: int = CALLS_OF_A_LINK,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._queue = queue
        self._now = now
        self._patience = patience
        self._link = Link(
            queue,
            self._close_links,
            call_timeout=call_timeout,
            calls_of_a_link=calls_of_a_link,
            monotonic=monotonic,
        )
        self._receiver: ServiceBusReceiver | None = None
        self._sender: ServiceBusSender | None = None
        self._lock = asyncio.Lock()
        self._puts = Together(self._put, self._lock, kind=lambda each: each[1])
        self._cancels = Together(self._cancel, self._lock)
        self._next_reading: asyncio.Task[EntriesRead] | None = None
        self._readings: set[asyncio.Task[EntriesRead]] = set()
        self._shown = ShownBefore()

    async def open(self) -> None:
        """Open both links before the first call. What is wrong with them shows then."""
        async with self._lock:
            await self._link.open(self._open_links)

    async def _open_links(self) -> None:
        # In this order: counting the call may close both.
        sender, receiver = await self._open_sender(), self._open_receiver()
        await side_by_side(sender.__aenter__(), receiver.__aenter__())

    async def read(self) -> EntriesRead:
        """Every entry that Service Bus shows as scheduled, in the order of their numbers.

        Whoever asks while a reading is under way gets the next one, together with all others who ask meanwhile, or in
        the same moment: it then shows all that was put before they asked.
        """
        if self._next_reading is None:
            self._next_reading = asyncio.create_task(self._read_in_turn())
            self._readings.add(self._next_reading)
            self._next_reading.add_done_callback(self._readings.discard)
        return await asyncio.shield(self._next_reading)

    async def put(self, entry: Entry) -> None:
        """Schedule an entry for its `until`; returns once all who read after this see it."""
        message = ServiceBusMessage(
            write_entry(entry), message_id=entry.message_id, subject=kind_of(entry), content_type="application/json"
        )
        # Those of requests that come together end together; it is given up hours before.
        until = up_to(entry.until, MINUTE) if isinstance(entry, Lease) else entry.until
        await patiently(lambda: self._puts.add((message, until)), self._patience)

    async def cancel(self, number: int) -> None:
        """Cancel an entry; none is missed that another has canceled."""
        await self._cancels.add(number)

    async def use_up(self, message_id: str) -> None:
        """Send a message of this id that is no entry: duplicate detection drops an entry that comes later."""
        message = ServiceBusMessage(b"", message_id=message_id, subject="used")

        async def once() -> None:
            await (await self._open_sender()).send_messages(message)

        await patiently(lambda: self._call("using up an id", once), self._patience)

    async def _put(self, entries: Sequence[tuple[ServiceBusMessage, datetime]]) -> Sequence[None]:
        async def once() -> None:
            sender = await self._open_sender()
            await sender.schedule_messages([message for message, _ in entries], entries[0][1])

        await self._link.call("scheduling entries", once)
        return [None] * len(entries)

    async def _cancel(self, numbers: Sequence[int]) -> Sequence[None]:
        async def once() -> None:
            await cancel_all(await self._open_sender(), numbers)

        await self._link.call("canceling entries", once)
        return [None] * len(numbers)

    async def _call(self, doing: str, call: Callable[[], Awaitable[T]]) -> T:
        async with self._lock:
            return await self._link.call(doing, call)

    async def _read_in_turn(self) -> EntriesRead:
        async def once() -> EntriesRead:
            # From here on it is too late to join: an entry may be put that this reading does not show.
            self._next_reading = None
            return await self._read_all()

        return await self._call("reading the coordination queue", once)

    async def _read_all(self) -> EntriesRead:
        """Peek until a page is empty: Service Bus promises no least number of messages in a page."""
        entries: list[Entry] = []
        start, now = 1, self._now()
        self._shown.begin()
        for _ in range(MAX_PAGES):
            await self._link.count()
            page: Any = await self._open_receiver().peek_messages(max_message_count=PAGE, sequence_number=start)
            if not page:
                return EntriesRead(entries)
            for shown in cast(Sequence[Shown], page):
                if shown.sequence_number >= PARTITIONED:
                    raise BusUnavailable(f"{self._queue} is partitioned: the order of leases cannot be read")
                start = max(start, shown.sequence_number + 1)
                if entry := shown.entry(now):
                    entries.append(entry)
        raise BusUnavailable(f"{self._queue} has more than {MAX_PAGES} pages of entries: it cannot be read whole")

    def _open_receiver(self) -> ServiceBusReceiver:
        if self._receiver is None:
            receiver: Any = self._client.get_queue_receiver(self._queue, socket_timeout=SOCKET_TIMEOUT)
            receiver._amqp_transport = self._shown.transport()
            self._receiver = receiver
        return self._receiver

    async def _open_sender(self) -> ServiceBusSender:
        await self._link.count()
        if self._sender is None:
            self._sender = self._client.get_queue_sender(self._queue)
        return self._sender

    async def _close_links(self) -> None:
        resources = [resource for resource in (self._receiver, self._sender) if resource is not None]
        self._receiver = self._sender = None
        async with asyncio.TaskGroup() as group:
            for resource in resources:
                group.create_task(close_quietly(resource))

    async def close(self) -> None:
        # Those whose askers were cut off go on: they would open the links again.
        if self._readings:
            await asyncio.wait(self._readings)
        await self._link.drop()
