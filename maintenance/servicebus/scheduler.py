"""Schedules records of the operations queue and cancels them, by sequence number."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeVar

from azure.servicebus.aio import ServiceBusClient, ServiceBusSender
from azure.servicebus.exceptions import MessageNotFoundError

from maintenance.domain.messages import Record
from maintenance.servicebus.connection import CALL_TIMEOUT, close_quietly
from maintenance.servicebus.link import Link, Together
from maintenance.servicebus.messages import to_message, up_to
from maintenance.servicebus.sender import PATIENCE, patiently

T = TypeVar("T")
SECOND = timedelta(seconds=1)


class Scheduler:
    """One per process. Its link makes one call at a time, for all that wait for it: the SDK's senders are not
    coroutine-safe."""

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
        self._schedules = Together(
            self._schedule, self._lock, kind=lambda each: each[1], size=lambda each: len(each[0].body)
        )
        self._cancels = Together(self._cancel, self._lock)

    async def schedule(self, record: Record) -> int:
        """The number by which it can be canceled. It is scheduled for its time, or less than a second later."""
        if record.due is None:
            raise ValueError("a record without due time is sent, not scheduled")
        due = up_to(record.due, SECOND)
        timed = (replace(record, due=due), due)
        return await patiently(lambda: self._schedules.add(timed), self._patience)

    async def cancel(self, number: int) -> None:
        """Cancel it, unless it was delivered, or duplicate detection had dropped it."""
        await self._cancels.add(number)

    async def open(self) -> None:
        """Open the link before the first call. What is wrong with it shows then."""
        async with self._lock:
            await self._link.open(self._open_link)

    async def _open_link(self) -> None:
        await self._open_sender().__aenter__()

    def _open_sender(self) -> ServiceBusSender:
        if self._sender is None:
            self._sender = self._client.get_queue_sender(self._queue)
        return self._sender

    async def _schedule(self, timed: Sequence[tuple[Record, datetime]]) -> Sequence[int]:
        async def once(sender: ServiceBusSender) -> Sequence[int]:
            return await sender.schedule_messages([to_message(record) for record, _ in timed], timed[0][1])

        return await self._call("scheduling records", once)

    async def _cancel(self, numbers: Sequence[int]) -> Sequence[None]:
        async def once(sender: ServiceBusSender) -> None:
            await cancel_all(sender, numbers)

        await self._call("canceling records", once)
        return [None] * len(numbers)

    async def _call(self, doing: str, call: Callable[[ServiceBusSender], Awaitable[T]]) -> T:
        async def once() -> T:
            await self._link.count()
            return await call(self._open_sender())

        return await self._link.call(doing, once)

    async def _close_sender(self) -> None:
        sender, self._sender = self._sender, None
        if sender is not None:
            await close_quietly(sender)

    async def close(self) -> None:
        await self._link.drop()


async def cancel_all(sender: ServiceBusSender, numbers: Sequence[int]) -> None:
    """Cancel scheduled messages. None is missed that was delivered, that another has canceled, or that duplicate
    detection had dropped."""
    try:
        await sender.cancel_scheduled_messages(list(numbers))
    except MessageNotFoundError:
        # Where one is not found, Service Bus does not say what became of the others.
        for number in numbers if len(numbers) > 1 else ():
            with suppress(MessageNotFoundError):
                await sender.cancel_scheduled_messages([number])
