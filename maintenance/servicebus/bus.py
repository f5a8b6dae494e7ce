"""Service Bus over azure-servicebus: enqueue requests, persist records, publish events, open receivers.

Everything here takes and gives plain values; the order of calls (send the next message, then settle the old one) is
the callers'. The SDK's senders and receivers are not coroutine-safe, so each has one user at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from uuid import UUID

from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient

from maintenance.domain.errors import BusUnavailable
from maintenance.domain.messages import CONTENT_TYPE, MaintenanceEvent, Record
from maintenance.servicebus.connection import CALL_TIMEOUT, SDK_ERRORS, close_quietly
from maintenance.servicebus.operations_queue import SOCKET_TIMEOUT, DueOperations, to_message
from maintenance.servicebus.sender import Sender


class Bus:
    """One per process."""

    def __init__(
        self,
        client: ServiceBusClient,
        *,
        requests_queue: str,
        operations_queue: str,
        events_topic: str,
        call_timeout: float = CALL_TIMEOUT,
    ) -> None:
        self._call_timeout = call_timeout
        self._client = client
        self._operations_queue = operations_queue
        self._requests = Sender(lambda: self._client.get_queue_sender(requests_queue), call_timeout=call_timeout)
        self._operations = self._operations_sender()
        self._events = Sender(lambda: self._client.get_topic_sender(events_topic), call_timeout=call_timeout)
        self._idle: list[DueOperations] = []

    async def enqueue(
        self,
        body: bytes,
        *,
        message_id: str,
        due: datetime | None,
        correlation_id: str | None,
        properties: Mapping[str, str | int | bool],
    ) -> None:
        """A request, for `due` or at once."""
        message = ServiceBusMessage(
            body,
            message_id=message_id,
            content_type="application/json",
            correlation_id=correlation_id,
            application_properties=_properties(properties),
            scheduled_enqueue_time_utc=due,
        )
        await self._requests.send([message])

    async def persist(self, records: Sequence[Record]) -> None:
        """Operations, each for when it is due."""
        await self._operations.send([to_message(record) for record in records])

    async def publish(self, events: Sequence[MaintenanceEvent]) -> None:
        """Events to the topic, in order."""
        await self._events.send([_publication(event) for event in events])

    @asynccontextmanager
    async def due_operations(self) -> AsyncIterator[DueOperations]:
        """A receiver for the length of a block. It stays open for the next one, unless the block failed."""
        due = self._idle.pop() if self._idle else await self._open_due_operations()
        try:
            yield due
        except BaseException:
            await due.close()
            raise
        self._idle.append(due)

    async def _open_due_operations(self) -> DueOperations:
        receiver = self._client.get_queue_receiver(self._operations_queue, socket_timeout=SOCKET_TIMEOUT)
        try:
            async with asyncio.timeout(self._call_timeout):
                # Entered, so that the link opens here: inside receive_messages the opening counts against the wait.
                await receiver.__aenter__()
        except SDK_ERRORS as error:
            await close_quietly(receiver)
            raise BusUnavailable(f"opening a receiver failed: {type(error).__name__}") from None
        return DueOperations(receiver, self._operations_sender(), call_timeout=self._call_timeout)

    def _operations_sender(self) -> Sender:
        return Sender(lambda: self._client.get_queue_sender(self._operations_queue), call_timeout=self._call_timeout)

    async def close(self) -> None:
        # Each link takes a second to close, and they do not mind company.
        async with asyncio.TaskGroup() as group:
            for sender in (self._requests, self._operations, self._events):
                group.create_task(sender.close())
            while self._idle:
                group.create_task(self._idle.pop().close())


def _publication(event: MaintenanceEvent) -> ServiceBusMessage:
    return ServiceBusMessage(
        event.to_json(),
        message_id=event.event_id,
        content_type=CONTENT_TYPE,
        subject=event.type,
        correlation_id=event.correlation_id,
        application_properties=_properties({**event.properties, **event.trace}),
    )


def _properties(values: Mapping[str, str | int | bool]) -> dict[str | bytes, int | float | bytes | bool | str | UUID]:
    return dict(values.items())
