"""Service Bus over azure-servicebus: send records, publish events, open receivers.

Everything here takes and gives plain values; the order of calls (send the next message, then settle the old one) is
the callers'. The SDK's senders and receivers are not coroutine-safe, so each has one user at a time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Any
from uuid import UUID

from azure.servicebus import ServiceBusMessage, ServiceBusReceivedMessage, ServiceBusSubQueue
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver
from azure.servicebus.exceptions import MessagingEntityNotFoundError

from maintenance.domain.errors import BusUnavailable, EntityMissing
from maintenance.domain.messages import CONTENT_TYPE, MaintenanceEvent, Record
from maintenance.servicebus.connection import CALL_TIMEOUT, SDK_ERRORS, SOCKET_TIMEOUT, close_quietly, side_by_side
from maintenance.servicebus.messages import Expected
from maintenance.servicebus.operations_queue import OperationsReceiver
from maintenance.servicebus.scheduler import Scheduler
from maintenance.servicebus.sender import PATIENCE, Sender


class Bus:
    """One per process. `patience` (seconds): how long a send is tried again before BusUnavailable is raised. `saw` is
    given when received messages were enqueued, by Service Bus's clock; `inspect` is given one of each batch that was
    received from the operations queue."""

    def __init__(
        self,
        client: ServiceBusClient,
        *,
        requests_queue: str,
        operations_queue: str,
        events_topic: str,
        call_timeout: float = CALL_TIMEOUT,
        patience: float = PATIENCE,
        saw: Callable[[datetime], None] | None = None,
        inspect: Callable[[ServiceBusReceivedMessage], None] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._monotonic = monotonic
        self._saw = saw
        self._inspect = inspect
        self._call_timeout = call_timeout
        self._patience = patience
        self._client = client
        self._requests_queue = requests_queue
        self._operations_queue = operations_queue
        self._operations = self._operations_sender()
        self._scheduler = Scheduler(client, operations_queue, call_timeout=call_timeout, patience=patience)
        self._events = Sender(
            events_topic,
            lambda: self._client.get_topic_sender(events_topic),
            call_timeout=call_timeout,
            patience=0,
        )
        self._expected = Expected()
        self._idle: list[OperationsReceiver] = []
        self._closed = False
        self._opening: asyncio.Task[OperationsReceiver] | None = None
        self._opening_links: tuple[asyncio.Task[None], ...] = ()

    async def send(self, records: Sequence[Record]) -> None:
        """Messages of the operations queue, each for when it is due. Raises BusUnavailable."""
        self.open_links()
        self._expected.sent(records)
        await self._operations.send(records)

    async def schedule(self, record: Record) -> int:
        """One record, for when it is due; returns the sequence number by which it can be canceled, even where
        duplicate detection dropped it. Raises BusUnavailable."""
        return await self._scheduler.schedule(record)

    async def cancel(self, number: int) -> None:
        """Cancel a scheduled record, if it is still there. Raises BusUnavailable."""
        await self._scheduler.cancel(number)

    async def publish(self, events: Sequence[MaintenanceEvent]) -> None:
        """Events to the topic, in order. Raises BusUnavailable."""
        await self._events.send([_publication(event) for event in events])

    @asynccontextmanager
    async def operations(self) -> AsyncIterator[OperationsReceiver]:
        """A receiver of the operations queue for the length of a block. It stays open for the next one, unless the
        block failed or the bus was closed meanwhile."""
        receiver = await self._idle_or_new()
        rests = False
        try:
            yield receiver
            rests = await receiver.rest()
        finally:
            if rests and not self._closed:
                self._idle.append(receiver)
            else:
                await receiver.close()

    @asynccontextmanager
    async def dead_requests(self) -> AsyncIterator[OperationsReceiver]:
        """A receiver of the requests queue's dead letters, for the length of a block."""
        async with self._dead_letters(self._requests_queue) as receiver:
            yield receiver

    @asynccontextmanager
    async def dead_operations(self) -> AsyncIterator[OperationsReceiver]:
        """A receiver of the operations queue's dead letters, for the length of a block."""
        async with self._dead_letters(self._operations_queue) as receiver:
            yield receiver

    @asynccontextmanager
    async def _dead_letters(self, queue: str) -> AsyncIterator[OperationsReceiver]:
        receiver = await self._open(queue, sub_queue=ServiceBusSubQueue.DEAD_LETTER)
        try:
            yield receiver
        finally:
            await receiver.close()

    def open_links(self, *others: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Begin to open the links that the first request of a process needs, and `others`, all at once: each takes half
        a second, and it should not wait for one after the other."""
        if not self._opening_links:
            self._opening = asyncio.create_task(self._open(self._operations_queue))
            opens = (self._operations.open, self._events.open, self._scheduler.open, *others)
            self._opening_links = tuple(asyncio.create_task(each()) for each in opens)

    async def _idle_or_new(self) -> OperationsReceiver:
        if self._opening is not None:
            opening, self._opening = self._opening, None
            return await opening
        closing = [asyncio.create_task(each.close()) for each in self._idle if not each.trusted]
        self._idle = [each for each in self._idle if each.trusted]
        try:
            return self._idle.pop() if self._idle else await self._open(self._operations_queue)
        finally:
            if closing:
                await asyncio.wait(closing)

    async def _open(self, queue: str, **options: Any) -> OperationsReceiver:
        of_operations = queue == self._operations_queue and not options
        receiver = self._client.get_queue_receiver(queue, socket_timeout=SOCKET_TIMEOUT, **options)
        sender = self._operations_sender()
        # Entered, so that the link opens here: inside receive_messages the opening counts against the wait. Nothing is
        # sent after most dead letters, so there the sender opens when it is needed.
        openings = (receiver.__aenter__(), sender.open()) if of_operations else (receiver.__aenter__(),)
        try:
            async with asyncio.timeout(self._call_timeout):
                await side_by_side(*openings)
        except MessagingEntityNotFoundError:
            await _close_both(receiver, sender)
            raise EntityMissing(f"opening a receiver failed: there is no queue {queue}") from None
        except SDK_ERRORS as error:
            await _close_both(receiver, sender)
            raise BusUnavailable(f"opening a receiver of {queue} failed: {type(error).__name__}") from None
        except asyncio.CancelledError:
            await _close_both(receiver, sender)
            raise
        return OperationsReceiver(
            queue,
            receiver,
            sender,
            expected=self._expected if of_operations else None,
            call_timeout=self._call_timeout,
            monotonic=self._monotonic,
            saw=self._saw,
            inspect=self._inspect if of_operations else None,
        )

    def _operations_sender(self) -> Sender:
        return Sender(
            self._operations_queue,
            lambda: self._client.get_queue_sender(self._operations_queue),
            call_timeout=self._call_timeout,
            patience=self._patience,
        )

    async def close(self) -> None:
        self._closed = True
        # Not canceled: the SDK forgets the connection of a link that is cut off while it opens.
        if self._opening_links:
            await asyncio.wait(self._opening_links)
        if self._opening is not None:
            with suppress(BusUnavailable):
                self._idle.append(await self._opening)
        # Each link takes a second to close, and they do not mind company.
        async with asyncio.TaskGroup() as group:
            for sender in (self._operations, self._events, self._scheduler):
                group.create_task(sender.close())
            while self._idle:
                group.create_task(self._idle.pop().close())


async def _close_both(receiver: ServiceBusReceiver, sender: Sender) -> None:
    await asyncio.gather(close_quietly(receiver), sender.close())


def _publication(event: MaintenanceEvent) -> ServiceBusMessage:
    return ServiceBusMessage(
        event.to_json(),
        message_id=event.event_id,
        content_type=CONTENT_TYPE,
        subject=event.type,
        correlation_id=event.correlation_id,
        application_properties=_properties({**event.properties, **event.trace}),
    )


def _properties(values: Mapping[str, str]) -> dict[str | bytes, int | float | bytes | bool | str | UUID]:
    # Under bytes, as the SDK itself writes trace properties: a name under both kinds of key appears twice in the map.
    return {name.encode(): value for name, value in values.items()}
