"""The receiving end of the operations queue: receive what is due, persist what follows, then settle."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from azure.servicebus import ServiceBusReceivedMessage
from azure.servicebus.aio import ServiceBusReceiver
from azure.servicebus.amqp import AmqpAnnotatedMessage, AmqpMessageProperties
from azure.servicebus.exceptions import MessageLockLostError

from maintenance.domain.errors import BusUnavailable
from maintenance.domain.messages import Record
from maintenance.servicebus.connection import CALL_TIMEOUT, SDK_ERRORS, close_quietly
from maintenance.servicebus.sender import Sender

logger = logging.getLogger(__name__)
SCHEDULED = b"x-opt-scheduled-enqueue-time"
# How long a receiver's lock on its socket lasts: settling waits for it.
SOCKET_TIMEOUT = 0.01
# Where one message is due, others that are due too arrive within this time.
MORE_WITHIN = 0.2


@dataclass(frozen=True, slots=True)
class Received:
    """A message of the operations queue, locked. `delivery_count` is 1 on the first delivery."""

    body: bytes
    delivery_count: int
    handle: ServiceBusReceivedMessage

    @property
    def message_id(self) -> str:
        return str(self.handle.message_id)


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
        except SDK_ERRORS as error:
            raise BusUnavailable(f"receiving failed: {type(error).__name__}") from None
        return [_received(message) for message in messages]

    async def persist(self, records: Sequence[Record]) -> None:
        """What comes of the received operations, each for when it is due. Raises BusUnavailable."""
        await self._sender.send([to_message(record) for record in records])

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
        except SDK_ERRORS as error:
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
        except SDK_ERRORS as error:
            raise BusUnavailable(f"dead-lettering failed: {type(error).__name__}") from None

    async def close(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(close_quietly(self._receiver))
            group.create_task(self._sender.close())


def to_message(record: Record) -> AmqpAnnotatedMessage:
    """The message that keeps an operation until it is due."""
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


def _received(message: ServiceBusReceivedMessage) -> Received:
    return Received(
        body=b"".join(message.body),
        delivery_count=int(message.delivery_count or 0) + 1,
        handle=message,
    )
