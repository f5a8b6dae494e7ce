"""Peeks at queues and subscriptions: nothing is locked, received or changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from azure.servicebus import ServiceBusMessageState, ServiceBusReceivedMessage, ServiceBusSubQueue
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver

from maintenance.servicebus.connection import SDK_ERRORS, close_quietly
from maintenance.servicebus.messages import body_of, section_of
from maintenance_cli.exits import Ended
from maintenance_cli.picture.messages import Entity, Peeked, Read, Unknown
from maintenance_cli.reading.failures import of_entity

# Service Bus gives no more on a page, and may give fewer: the end is where a page is empty.
PAGE = 250
# Seconds, of one call.
CALL_TIMEOUT = 30.0
# Of one entity: 25 million messages. A namespace that gives pages without end must not hold anybody up for ever.
MAX_PAGES = 100_000


class Peeker:
    """Receivers that only peek, one for each entity; for one task at a time for each. `pages`: how many pages were
    read."""

    def __init__(self, client: ServiceBusClient) -> None:
        self._client = client
        self._receivers: dict[Entity, ServiceBusReceiver] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self.pages = 0

    async def all(self, entity: Entity, start: int = 1) -> Read:
        """Every message from this sequence number on, in their order; or why they are not known."""
        found: list[Peeked] = []
        try:
            async for page in self._all_pages(entity, start):
                found += page
        except SDK_ERRORS as error:
            return of_entity(error, entity)
        return tuple(found)

    async def page(self, entity: Entity, start: int, most: int = PAGE) -> tuple[Peeked, ...]:
        """The first messages from this sequence number on; empty only where there are none. Raises SDK_ERRORS."""
        try:
            async with asyncio.timeout(CALL_TIMEOUT):
                messages = await self._receiver(entity).peek_messages(max_message_count=most, sequence_number=start)
        except SDK_ERRORS:
            # What is wrong with a link may not be so with the next one.
            self._discard(entity)
            raise
        self.pages += 1
        return tuple(map(peeked, messages))

    async def open(self, entities: Iterable[Entity]) -> None:
        """Open the links of entities, all at once. What is wrong with one shows when it is read."""

        async def once(entity: Entity) -> None:
            with suppress(*SDK_ERRORS):
                await self.page(entity, 1, 1)

        async with asyncio.TaskGroup() as group:
            for entity in entities:
                group.create_task(once(entity))

    async def _all_pages(self, entity: Entity, start: int) -> AsyncIterator[tuple[Peeked, ...]]:
        for _ in range(MAX_PAGES):
            page = await self.page(entity, start)
            if not page:
                return
            yield page
            start = max(start, *(message.number + 1 for message in page))

    def _receiver(self, entity: Entity) -> ServiceBusReceiver:
        receiver = self._receivers.get(entity)
        if receiver is None:
            receiver = receiver_of(self._client, entity)
            self._receivers[entity] = receiver
        return receiver

    def _discard(self, entity: Entity) -> None:
        receiver = self._receivers.pop(entity, None)
        if receiver is not None:
            task = asyncio.create_task(close_quietly(receiver))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        for entity in list(self._receivers):
            self._discard(entity)
        if self._closing:
            await asyncio.wait(list(self._closing))


def receiver_of(client: ServiceBusClient, entity: Entity, **options: Any) -> ServiceBusReceiver:
    """A receiver of an entity or its dead letters."""
    if entity.dead:
        options["sub_queue"] = ServiceBusSubQueue.DEAD_LETTER
    if entity.topic is None:
        return client.get_queue_receiver(entity.path, **options)
    return client.get_subscription_receiver(entity.topic, entity.path.partition("/")[2], **options)


def peeked(message: ServiceBusReceivedMessage) -> Peeked:
    """A message of the SDK's as a plain value."""
    properties = message.application_properties or {}
    scheduled = message.state is ServiceBusMessageState.SCHEDULED
    return Peeked(
        number=int(message.sequence_number or 0),
        message_id=str(message.message_id or ""),
        body=body_of(message),
        subject=str(message.subject or ""),
        correlation_id=str(message.correlation_id) if message.correlation_id else None,
        properties={_text(name): _text(value) for name, value in properties.items()},
        enqueued_at=_aware(message.enqueued_time_utc),
        due=_aware(message.scheduled_enqueue_time_utc) if scheduled else None,
        delivery_count=int(message.delivery_count or 0),
        section=section_of(message),
        content_type=message.content_type,
        dead_letter_reason=message.dead_letter_reason,
        dead_letter_description=message.dead_letter_error_description,
    )


def _aware(moment: datetime | None) -> datetime | None:
    return moment if moment is None or moment.tzinfo else moment.replace(tzinfo=UTC)


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def known(read: Read) -> tuple[Peeked, ...]:
    """The messages that were read. Raises Ended where they are not known."""
    if isinstance(read, Unknown):
        raise Ended(read.code, f"{read.why[:1].upper()}{read.why[1:]}.".replace("..", "."))
    return read
