"""Schedules single records of the operations queue and cancels them, by sequence number."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient, ServiceBusSender
from azure.servicebus.exceptions import MessageNotFoundError

from maintenance.domain.errors import BusUnavailable
from maintenance.domain.messages import Record
from maintenance.servicebus.connection import CALL_TIMEOUT, close_quietly
from maintenance.servicebus.link import Link
from maintenance.servicebus.sender import PATIENCE, patiently

T = TypeVar("T")


class Scheduler:
    """One per process, for one call at a time: the SDK's senders are not coroutine-safe."""

    def __init__(
        self,
        client: ServiceBusClient,
        queue: str,
        *,
        call_timeout: float = CALL_TIMEOUT,
        patience: float = PATIENCE,
    ) -> None:
        self._client = client
        self._queue = queue
        self._patience = patience
        self._sender: ServiceBusSender | None = None
        self._link = Link(queue, self._close_sender, call_timeout=call_timeout)
        self._lock = asyncio.Lock()

    async def schedule(self, record: Record) -> int:
        if record.due is None:
            raise ValueError("a record without due time is sent, not scheduled")
        due = record.due
        properties: dict[str | bytes, int | float | bytes | bool | str] = {
            name.encode(): value for name, value in record.properties.items()
        }
        message = ServiceBusMessage(
            record.body,
            message_id=record.message_id,
            subject=record.subject,
            content_type="application/json",
            correlation_id=record.correlation_id,
            application_properties=dict(properties),
        )

        async def once(sender: ServiceBusSender) -> int:
            return (await sender.schedule_messages(message, due))[0]

        return await patiently(lambda: self._call("scheduling a record", once), self._patience)

    async def open(self) -> None:
        """Open the link before the first call. What is wrong with it shows then."""

        async def once(sender: ServiceBusSender) -> None:
            await sender.__aenter__()

        with suppress(BusUnavailable):
            await self._call("opening", once)

    async def cancel(self, number: int) -> None:
        async def once(sender: ServiceBusSender) -> None:
            try:
                await sender.cancel_scheduled_messages(number)
            except MessageNotFoundError:
                # It was delivered, or duplicate detection had dropped it.
                return

        await self._call("canceling a record", once)

    async def _call(self, doing: str, call: Callable[[ServiceBusSender], Awaitable[T]]) -> T:
        async def once() -> T:
            await self._link.count()
            if self._sender is None:
                self._sender = self._client.get_queue_sender(self._queue)
            return await call(self._sender)

        async with self._lock:
            return await self._link.call(doing, once)

    async def _close_sender(self) -> None:
        sender, self._sender = self._sender, None
        if sender is not None:
            await close_quietly(sender)

    async def close(self) -> None:
        await self._link.drop()
