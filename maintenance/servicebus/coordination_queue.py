"""The coordination queue on Service Bus: put entries, read them all, release them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver, ServiceBusSender
from azure.servicebus.exceptions import MessageNotFoundError

from maintenance.domain.coordination import Entry, kind_of, read_entry, write_entry
from maintenance.domain.errors import BusUnavailable
from maintenance.servicebus.connection import CALL_TIMEOUT, SDK_ERRORS, close_quietly
from maintenance.servicebus.operations_queue import SOCKET_TIMEOUT

PAGE = 250
MAX_PAGES = 40
# azure-servicebus 7.15 gives the link for management answers credit for 10,000, and never more: the call after those
# waits for an answer that cannot come. So links are opened anew before.
CALLS_OF_A_LINK = 9_000


class CoordinationQueue:
    """One per process. All methods raise BusUnavailable where Service Bus does not answer."""

    def __init__(
        self,
        client: ServiceBusClient,
        queue: str,
        *,
        call_timeout: float = CALL_TIMEOUT,
        calls_of_a_link: int = CALLS_OF_A_LINK,
    ) -> None:
        self._client = client
        self._call_timeout = call_timeout
        self._calls_of_a_link = calls_of_a_link
        self._calls = 0
        self._queue = queue
        self._receiver: ServiceBusReceiver | None = None
        self._sender: ServiceBusSender | None = None
        self._lock = asyncio.Lock()
        self._next_reading: asyncio.Task[list[Entry]] | None = None

    async def read(self) -> list[Entry]:
        """Every entry, in the order of their numbers.

        Whoever asks while a reading is under way gets the next one, together with all others who ask meanwhile: it
        then shows all that was scheduled before they asked.
        """
        if self._next_reading is None and not self._lock.locked():
            return await self._read_in_turn()
        if self._next_reading is None:
            self._next_reading = asyncio.create_task(self._read_in_turn())
        return await asyncio.shield(self._next_reading)

    async def put(self, entry: Entry) -> None:
        """Schedule an entry; returns once all who read after this see it."""
        message = ServiceBusMessage(write_entry(entry), subject=kind_of(entry), content_type="application/json")
        async with self._lock:
            try:
                async with asyncio.timeout(self._call_timeout):
                    await (await self._open_sender()).schedule_messages(message, entry.until)
            except SDK_ERRORS as error:
                await self._drop()
                raise BusUnavailable(f"scheduling an entry failed: {type(error).__name__}") from None

    async def release(self, request_ids: Sequence[str]) -> None:
        """Cancel every entry of these requests. None is left out because another run canceled one too."""
        numbers = [entry.number for entry in await self.read() if entry.request_id in request_ids]
        for number in numbers:
            await self._cancel(number)

    async def _cancel(self, number: int) -> None:
        async with self._lock:
            try:
                async with asyncio.timeout(self._call_timeout):
                    await (await self._open_sender()).cancel_scheduled_messages(number)
            except MessageNotFoundError:
                return
            except SDK_ERRORS as error:
                await self._drop()
                raise BusUnavailable(f"canceling an entry failed: {type(error).__name__}") from None

    async def _read_in_turn(self) -> list[Entry]:
        async with self._lock:
            # From here on it is too late to join: an entry may be scheduled that this reading does not show.
            self._next_reading = None
            try:
                async with asyncio.timeout(self._call_timeout):
                    return await self._read_all()
            except SDK_ERRORS as error:
                await self._drop()
                raise BusUnavailable(f"reading the coordination queue failed: {type(error).__name__}") from None

    async def _read_all(self) -> list[Entry]:
        entries: list[Entry] = []
        start = 1
        for _ in range(MAX_PAGES):
            await self._count_call()
            if self._receiver is None:
                self._receiver = self._client.get_queue_receiver(self._queue, socket_timeout=SOCKET_TIMEOUT)
            page = await self._receiver.peek_messages(max_message_count=PAGE, sequence_number=start)
            for message in page:
                number = int(message.sequence_number or 0)
                start = max(start, number + 1)
                if (entry := read_entry(b"".join(message.body), number)) is not None:
                    entries.append(entry)
            if len(page) < PAGE:
                break
        return entries

    async def _open_sender(self) -> ServiceBusSender:
        await self._count_call()
        if self._sender is None:
            self._sender = self._client.get_queue_sender(self._queue)
        return self._sender

    async def _count_call(self) -> None:
        if self._calls >= self._calls_of_a_link:
            await self._drop()
        self._calls += 1

    async def _drop(self) -> None:
        """After an error, and after many calls, the next one starts with new links."""
        self._calls = 0
        resources = [resource for resource in (self._receiver, self._sender) if resource is not None]
        self._receiver = self._sender = None
        for resource in resources:
            await close_quietly(resource)

    async def close(self) -> None:
        await self._drop()
