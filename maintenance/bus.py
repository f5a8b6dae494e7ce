"""Service Bus over azure-servicebus: enqueue, track, publish, and receive what is due.

Everything here takes and gives plain values; the order of calls (send the next message, then settle the old one) is
the callers'. The SDK's senders and receivers are not coroutine-safe, so each has one user at a time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import AzureError
from azure.servicebus import ServiceBusMessage, ServiceBusReceivedMessage
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver, ServiceBusSender
from azure.servicebus.amqp import AmqpAnnotatedMessage, AmqpMessageProperties
from azure.servicebus.exceptions import MessageLockLostError, MessageSizeExceededError

from maintenance.cloud_event import CONTENT_TYPE, MaintenanceEvent
from maintenance.errors import MaintenanceError
from maintenance.records import Record
from maintenance.settings import ServiceBusConnection

logger = logging.getLogger(__name__)

Message = ServiceBusMessage | AmqpAnnotatedMessage
SCHEDULED = b"x-opt-scheduled-enqueue-time"
# Generous against a sender that must reconnect, short against a client that hangs.
CALL_TIMEOUT = 60.0
CLOSE_TIMEOUT = 5.0
# How long a receiver's lock on its socket lasts: settling waits for it.
SOCKET_TIMEOUT = 0.01
# Where one message is due, others that are due too arrive within this time.
MORE_WITHIN = 0.2
# What the SDK raises when a connection is gone or no token is to be had: not always errors of its own.
TROUBLE = (AzureError, TimeoutError, OSError, ValueError, AttributeError, RuntimeError)


class BusUnavailable(MaintenanceError):
    """Service Bus did not take or give a message."""


class MessageTooLarge(BusUnavailable):
    """Service Bus takes no message of that size, now or later."""


@dataclass(frozen=True, slots=True)
class Received:
    """A message of the operations queue, locked. `delivery_count` is 1 on the first delivery."""

    body: bytes
    message_id: str
    delivery_count: int
    handle: ServiceBusReceivedMessage


class Sender:
    """One entity's open sender. Calls that arrive while it is busy are sent together, in their order."""

    def __init__(self, open_sender: Callable[[], ServiceBusSender], *, call_timeout: float = CALL_TIMEOUT) -> None:
        self._open_sender = open_sender
        self._call_timeout = call_timeout
        self._sender: ServiceBusSender | None = None
        self._lock = asyncio.Lock()
        self._waiting: list[tuple[Sequence[Message], asyncio.Future[None]]] = []

    async def send(self, messages: Sequence[Message]) -> None:
        """Returns once Service Bus has all of them. Raises BusUnavailable; some may have been taken then."""
        if not messages:
            return
        sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((messages, sent))
        async with self._lock:
            if not sent.done():
                await self._send_waiting()
        await sent

    async def _send_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        failure: Exception = BusUnavailable("sending was cut off")
        try:
            async with asyncio.timeout(self._call_timeout):
                await self._send_all([message for messages, _ in waiting for message in messages])
        except MessageSizeExceededError:
            failure = MessageTooLarge("sending failed: a message is larger than Service Bus takes")
            await self._drop()
            if len(waiting) > 1:
                # Whose message it is, is not told, and the others' must go. What was sent already is a duplicate.
                for one in waiting:
                    self._waiting = [one]
                    await self._send_waiting()
        except TROUBLE as error:
            failure = BusUnavailable(f"sending failed: {type(error).__name__}")
            await self._drop()
        else:
            for _, sent in waiting:
                sent.set_result(None)
        finally:
            for _, sent in waiting:
                if not sent.done():
                    sent.set_exception(failure)
                    # Whoever was canceled while waiting will not look at it any more.
                    sent.exception()

    async def _send_all(self, messages: Sequence[Message]) -> None:
        if self._sender is None:
            self._sender = self._open_sender()
        if len(messages) == 1:
            await self._sender.send_messages(messages[0])
            return
        batch = await self._sender.create_message_batch()
        for message in messages:
            try:
                batch.add_message(message)
            except MessageSizeExceededError:
                if len(batch) == 0:
                    raise
                await self._sender.send_messages(batch)
                batch = await self._sender.create_message_batch()
                batch.add_message(message)
        await self._sender.send_messages(batch)

    async def _drop(self) -> None:
        """After trouble the next call starts with a new link."""
        sender, self._sender = self._sender, None
        if sender is not None:
            await close_quietly(sender)

    async def close(self) -> None:
        await self._drop()


class DueOperations:
    """One receiver of the operations queue with a sender of its own, for one coroutine at a time."""

    def __init__(self, receiver: ServiceBusReceiver, sender: Sender, *, call_timeout: float = CALL_TIMEOUT) -> None:
        self._receiver = receiver
        self._sender = sender
        self._call_timeout = call_timeout

    async def receive(self, most: int, *, wait: float) -> list[Received]:
        """What is due, up to `most`, after at most `wait` seconds. Raises BusUnavailable.

        One is asked for first: the credit for what does not come stays with Service Bus, which then locks that many
        messages for a receiver that is idle until the next tick.
        """
        try:
            async with asyncio.timeout(self._call_timeout + wait):
                messages = await self._receiver.receive_messages(max_message_count=1, max_wait_time=wait)
                if messages and most > 1:
                    messages += await self._receiver.receive_messages(
                        max_message_count=most - 1, max_wait_time=MORE_WITHIN
                    )
        except TROUBLE as error:
            raise BusUnavailable(f"receiving failed: {type(error).__name__}") from None
        return [_received(message) for message in messages]

    async def track(self, records: Sequence[Record]) -> None:
        """What comes of the received operations, each for when it is due. Raises BusUnavailable."""
        await self._sender.send([_tracking(record) for record in records])

    async def complete(self, received: Sequence[Received]) -> None:
        """Settle messages whose successors were sent. Raises BusUnavailable, with some of them settled.

        A lost lock is harmless: its redelivery does the same again.
        """
        try:
            async with asyncio.timeout(self._call_timeout):
                for one in received:
                    try:
                        await self._receiver.complete_message(one.handle)
                    except MessageLockLostError:
                        logger.warning("The lock of %s was lost before it could be completed", one.message_id)
        except TROUBLE as error:
            raise BusUnavailable(f"completing failed: {type(error).__name__}") from None

    async def dead_letter(self, received: Received, reason: str, description: str) -> None:
        """Put a message that cannot be read aside, with the reason a person will look for."""
        try:
            async with asyncio.timeout(self._call_timeout):
                await self._receiver.dead_letter_message(
                    received.handle, reason=reason, error_description=description[:1000]
                )
        except MessageLockLostError:
            logger.warning("The lock of %s was lost before it could be dead-lettered", received.message_id)
        except TROUBLE as error:
            raise BusUnavailable(f"dead-lettering failed: {type(error).__name__}") from None

    async def close(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(close_quietly(self._receiver))
            group.create_task(self._sender.close())


class Bus:
    """One per process."""

    def __init__(
        self,
        connection: ServiceBusConnection,
        credential: AsyncTokenCredential | None,
        *,
        requests_queue: str,
        operations_queue: str,
        events_topic: str,
        call_timeout: float = CALL_TIMEOUT,
    ) -> None:
        self._call_timeout = call_timeout
        self._client = _connect(connection, credential)
        self._operations_queue = operations_queue
        self._requests = Sender(lambda: self._client.get_queue_sender(requests_queue), call_timeout=call_timeout)
        self._operations = self._operations_sender()
        self._events = Sender(lambda: self._client.get_topic_sender(events_topic), call_timeout=call_timeout)
        self._idle: list[DueOperations] = []

    @property
    def client(self) -> ServiceBusClient:
        """The process's one client, for those who talk to Service Bus beside this class."""
        return self._client

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

    async def track(self, records: Sequence[Record]) -> None:
        """Operations, each for when it is due."""
        await self._operations.send([_tracking(record) for record in records])

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
        except TROUBLE as error:
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
        await close_quietly(self._client)


def _connect(connection: ServiceBusConnection, credential: AsyncTokenCredential | None) -> ServiceBusClient:
    if connection.connection_string is not None:
        return ServiceBusClient.from_connection_string(
            connection.connection_string, retry_total=3, retry_backoff_factor=0.05, retry_backoff_max=5
        )
    if connection.namespace is None or credential is None:
        raise ValueError("a namespace and a credential, or a connection string")
    return ServiceBusClient(
        connection.namespace, credential, retry_total=3, retry_backoff_factor=0.05, retry_backoff_max=5
    )


def _tracking(record: Record) -> AmqpAnnotatedMessage:
    # What the SDK makes of a ServiceBusMessage, in a fifth of the time: each poll of each operation sends one.
    message = AmqpAnnotatedMessage(
        data_body=record.body,
        annotations={SCHEDULED: record.due},  # type: ignore[dict-item] # the SDK itself has bytes there
    )
    message.properties = AmqpMessageProperties(
        message_id=record.message_id,
        content_type="application/json",
        subject=record.phase,
        correlation_id=record.correlation_id,
    )
    return message


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


def _received(message: ServiceBusReceivedMessage) -> Received:
    return Received(
        body=b"".join(message.body),
        message_id=str(message.message_id),
        delivery_count=int(message.delivery_count or 0) + 1,
        handle=message,
    )


async def close_quietly(resource: ServiceBusSender | ServiceBusReceiver | ServiceBusClient) -> None:
    """Closing is a courtesy to the broker, which also notices by itself; it must neither fail nor hang anything."""
    with suppress(*TROUBLE):
        async with asyncio.timeout(CLOSE_TIMEOUT):
            await resource.close()
