"""Schedules single records of the operations queue and cancels them, by sequence number."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient, ServiceBusSender
from azure.servicebus.exceptions import MessageNotFoundError

from maintenance.domain.errors import BusUnavailable
from maintenance.domain.messages import Record
from maintenance.servicebus.connection import CALL_TIMEOUT, SDK_ERRORS, close_quietly
from maintenance.servicebus.sender import PATIENCE, patiently

T = TypeVar("T")
# azure-servicebus 7.15 gives the link for management responses credit for 10,000, and never more: the call after those
# waits for a response that cannot come. So links are opened anew before.
CALLS_OF_A_LINK = 9_000


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
        self._call_timeout = call_timeout
        self._patience = patience
        self._sender: ServiceBusSender | None = None
        self._calls = 0
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

    async def cancel(self, number: int) -> None:
        async def once(sender: ServiceBusSender) -> None:
            try:
                await sender.cancel_scheduled_messages(number)
            except MessageNotFoundError:
                # It was delivered, or duplicate detection had dropped it.
                return

        await self._call("canceling a record", once)

    async def _call(self, doing: str, call: Callable[[ServiceBusSender], Awaitable[T]]) -> T:
        async with self._lock:
            if self._calls >= CALLS_OF_A_LINK:
                await self._drop()
            self._calls += 1
            if self._sender is None:
                self._sender = self._client.get_queue_sender(self._queue)
            try:
                async with asyncio.timeout(self._call_timeout):
                    return await call(self._sender)
            except SDK_ERRORS as error:
                await self._drop()
                raise BusUnavailable(f"{doing} failed: {type(error).__name__}") from None

    async def _drop(self) -> None:
        """After an error, and after many calls, the next one starts with a new link."""
        self._calls = 0
        sender, self._sender = self._sender, None
        if sender is not None:
            await close_quietly(sender)

    async def close(self) -> None:
        await self._drop()
