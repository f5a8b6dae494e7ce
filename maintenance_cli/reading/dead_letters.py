"""Dead letters locked, copied and completed: send the copy first, then complete, so that a kill loses nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from azure.servicebus import ServiceBusMessage, ServiceBusReceivedMessage
from azure.servicebus.aio import ServiceBusReceiver

from maintenance.servicebus.connection import SDK_ERRORS, close_quietly
from maintenance_cli.picture.dead import DEAD_LETTER_PROPERTIES, Copy
from maintenance_cli.picture.messages import Entity, Peeked
from maintenance_cli.reading.azure import Azure
from maintenance_cli.reading.peeking import peeked, receiver_of

# At a time. The lock of a subscription lasts a minute, and all of them must be dealt with in it.
BATCH = 20
# Seconds. The first message of a receiver takes a moment; where none comes, none is left.
FIRST_WAIT, WAIT = 5.0, 2.0
# Seconds after which what was locked is no longer acted on: another may have it soon.
HELD_FOR = 30.0
# What is locked on the way to those that were chosen, and given back at the end.
MOST_OTHERS = 10_000


@dataclass
class Locked:
    """A batch of locked dead letters, each as it was received and as a plain value."""

    receiver: ServiceBusReceiver
    messages: list[tuple[ServiceBusReceivedMessage, Peeked]]
    monotonic: Callable[[], float] = time.monotonic
    since: float = field(default_factory=time.monotonic)

    @property
    def is_fresh(self) -> bool:
        """Whether the locks are safe from expiring while one of them is dealt with."""
        return self.monotonic() - self.since < HELD_FOR

    async def complete(self, message: ServiceBusReceivedMessage) -> None:
        """Raises SDK_ERRORS where Service Bus did not confirm it."""
        async with asyncio.timeout(HELD_FOR):
            await self.receiver.complete_message(message)


@asynccontextmanager
async def locked(azure: Azure, entity: Entity, numbers: Sequence[int]) -> AsyncIterator[AsyncIterator[Locked]]:
    """The dead letters of these numbers in batches, locked. Others that come on the way are given back at the end: that
    counts as a delivery, of which a dead letter may have any number. Raises SDK_ERRORS."""
    receiver = receiver_of(azure.bus, entity.dead_letters, socket_timeout=0.01)
    others: list[ServiceBusReceivedMessage] = []
    try:
        async with asyncio.timeout(HELD_FOR):
            await receiver.__aenter__()
        yield _batches(receiver, set(numbers), others)
    finally:
        for message in others:
            with suppress(*SDK_ERRORS):
                await receiver.abandon_message(message)
        azure.closing.append(asyncio.create_task(close_quietly(receiver)))


async def _batches(
    receiver: ServiceBusReceiver, wanted: set[int], others: list[ServiceBusReceivedMessage]
) -> AsyncIterator[Locked]:
    wait = FIRST_WAIT
    while wanted and len(others) < MOST_OTHERS:
        since = time.monotonic()
        received = await receiver.receive_messages(max_message_count=BATCH, max_wait_time=wait)
        wait = WAIT
        if not received:
            return
        found = [(message, peeked(message)) for message in received]
        batch = Locked(receiver, [pair for pair in found if pair[1].number in wanted], since=since)
        others += [message for message, plain in found if plain.number not in wanted]
        wanted -= {plain.number for _, plain in batch.messages}
        if batch.messages:
            try:
                yield batch
            finally:
                # Those that were not completed, and so are still locked.
                others += [message for message, _ in batch.messages if not message._settled]


def message_of(copy: Copy, original: ServiceBusReceivedMessage) -> ServiceBusMessage:
    """The copy as a message: what the dead letter had, but for its message id and why it died."""
    properties: dict[Any, Any] = {
        name: value
        for name, value in (original.application_properties or {}).items()
        if _text(name) not in DEAD_LETTER_PROPERTIES and _text(name) not in copy.properties
    }
    # Under bytes, as the SDK itself writes trace properties: a name under both kinds of key appears twice in the map.
    properties.update({name.encode(): value for name, value in copy.properties.items()})
    return ServiceBusMessage(
        copy.body,
        message_id=copy.message_id,
        content_type=original.content_type,
        subject=original.subject,
        correlation_id=str(original.correlation_id) if original.correlation_id else None,
        application_properties=properties,
    )


def _text(name: str | bytes) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else name
