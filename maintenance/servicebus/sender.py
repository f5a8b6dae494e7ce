"""Sends messages to one entity, batching concurrent calls."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from azure.servicebus import ServiceBusMessage, ServiceBusMessageBatch
from azure.servicebus.aio import ServiceBusSender
from azure.servicebus.exceptions import MessageSizeExceededError

from maintenance.domain.errors import BusUnavailable, EntityMissing, MessageTooLarge
from maintenance.domain.messages import Record
from maintenance.servicebus.connection import CALL_TIMEOUT, close_quietly
from maintenance.servicebus.link import Link, Together
from maintenance.servicebus.messages import encoded, to_message

Message = ServiceBusMessage | Record

# Seconds. A lock lasts 5 minutes, and a message that is left to it costs a delivery and as long a wait.
PATIENCE = 120.0
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 15.0
# Of a message in a batch, as the SDK counts them: bytes beside its own, fewer where it is small.
SMALL, SMALL_OVERHEAD, OVERHEAD = 256, 5, 8
# Where the SDK has the data of a message.
DATA = 5
T = TypeVar("T")


async def patiently(call: Callable[[], Awaitable[T]], patience: float) -> T:
    """The same call again, with backoff, until it succeeds or `patience` seconds are over: what is sent twice has the
    same id, and Service Bus drops the second. Raises BusUnavailable; MessageTooLarge and EntityMissing at once."""
    loop = asyncio.get_running_loop()
    give_up, pause = loop.time() + patience, FIRST_PAUSE
    while True:
        try:
            return await call()
        except (MessageTooLarge, EntityMissing):
            raise
        except BusUnavailable:
            if loop.time() + pause >= give_up:
                raise
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


class Sender:
    """One entity's open sender. Calls that arrive while it is busy are sent together, in their order. `patience`: see
    `patiently`."""

    def __init__(
        self,
        entity: str,
        open_sender: Callable[[], ServiceBusSender],
        *,
        call_timeout: float = CALL_TIMEOUT,
        patience: float = PATIENCE,
    ) -> None:
        self._patience = patience
        self._open_sender = open_sender
        self._link = Link(entity, self._close_sender, call_timeout=call_timeout)
        self._sender: ServiceBusSender | None = None
        self._lock = asyncio.Lock()
        # However many: what does not fit into one batch goes in several.
        self._sends = Together(self._send, self._lock, most=sys.maxsize)

    async def send(self, messages: Sequence[Message]) -> None:
        """Returns once Service Bus has all of them. Raises BusUnavailable; some may have been taken then."""
        if not messages:
            return
        await patiently(lambda: self._sends.add(messages), self._patience)

    async def open(self) -> None:
        """Open the link before the first send. What is wrong with it shows then."""
        async with self._lock:
            if self._sender is None:
                await self._link.open(self._open_link)

    async def _open_link(self) -> None:
        self._sender = self._open_sender()
        await self._sender.__aenter__()

    async def _send(self, lists: Sequence[Sequence[Message]]) -> Sequence[None]:
        messages = [message for each in lists for message in each]
        await self._link.call("sending", lambda: self._send_all(messages))
        return [None] * len(lists)

    async def _send_all(self, messages: Sequence[Message]) -> None:
        if self._sender is None:
            self._sender = self._open_sender()
        if len(messages) == 1:
            (message,) = messages
            await self._sender.send_messages(to_message(message) if isinstance(message, Record) else message)
            return
        batch = await self._sender.create_message_batch()
        for message in messages:
            try:
                add(batch, message)
            except MessageSizeExceededError:
                if len(batch) == 0:
                    raise
                await self._sender.send_messages(batch)
                batch = await self._sender.create_message_batch()
                add(batch, message)
        await self._sender.send_messages(batch)

    async def _close_sender(self) -> None:
        sender, self._sender = self._sender, None
        if sender is not None:
            await close_quietly(sender)

    async def close(self) -> None:
        await self._link.drop()


def add(batch: ServiceBusMessageBatch, message: Message) -> None:
    """Raises MessageSizeExceededError where it is full."""
    if not isinstance(message, Record):
        batch.add_message(message)
    elif not len(batch):
        # With the first comes what the batch says of itself.
        batch.add_message(to_message(message))
    else:
        content = encoded(message)
        size = batch._size + len(content) + (SMALL_OVERHEAD if len(content) < SMALL else OVERHEAD)
        if size > batch.max_size_in_bytes:
            raise MessageSizeExceededError(message=f"A batch holds {batch.max_size_in_bytes:,} bytes.")
        sections: Any = batch._message
        sections[DATA].append(content)
        batch._size = size
        batch._count += 1
