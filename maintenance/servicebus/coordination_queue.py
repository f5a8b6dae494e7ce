"""X"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver, ServiceBusSender
from azure.servicebus.exceptions import MessageNotFoundError

from maintenance.domain.coordination import Notice, read_notice, write_notice
from maintenance.domain.errors import BusUnavailable
from maintenance.servicebus.connection import CALL_TIMEOUT, TROUBLE, close_quietly
from maintenance.servicebus.operations_queue import SOCKET_TIMEOUT

PAGE = 250
MAX_PAGES = 40
# azure-servicebus 7.15 gives the link for management answers credit for 10,000, and never more: the call after those
# waits for an answer that cannot come. So links are opened anew before.
CALLS_OF_A_LINK = 9_000


class NoticeBoard:
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
        self._next_reading: asyncio.Task[list[Notice]] | None = None

    async def read(self) -> list[Notice]:
        """Every notice that is up, in the order of their numbers.

        Whoever asks while a reading is under way gets the next one, together with all others who ask meanwhile: it
        then shows all that was put up before they asked.
        """
        if self._next_reading is None and not self._lock.locked():
            return await self._read_in_turn()
        if self._next_reading is None:
            self._next_reading = asyncio.create_task(self._read_in_turn())
        return await asyncio.shield(self._next_reading)

    async def put_up(self, notice: Notice) -> None:
        """Put a notice up; returns once all who read after this see it."""
        message = ServiceBusMessage(write_notice(notice), subject=notice.kind.value, content_type="application/json")
        async with self._lock:
            try:
                async with asyncio.timeout(self._call_timeout):
                    await (await self._open_sender()).schedule_messages(message, notice.until)
            except TROUBLE as error:
                await self._drop()
                raise BusUnavailable(f"putting up a notice failed: {type(error).__name__}") from None

    async def take_down(self, request_ids: Sequence[str]) -> None:
        """Take down every notice about these requests. None is left out because another run took one down too."""
        numbers = [notice.number for notice in await self.read() if notice.request_id in request_ids]
        for number in numbers:
            await self._cancel(number)

    async def _cancel(self, number: int) -> None:
        async with self._lock:
            try:
                async with asyncio.timeout(self._call_timeout):
                    await (await self._open_sender()).cancel_scheduled_messages(number)
            except MessageNotFoundError:
                return
            except TROUBLE as error:
                await self._drop()
                raise BusUnavailable(f"taking down a notice failed: {type(error).__name__}") from None

    async def _read_in_turn(self) -> list[Notice]:
        async with self._lock:
            # From here on it is too late to join: a notice may be put up that this reading does not show.
            self._next_reading = None
            try:
                async with asyncio.timeout(self._call_timeout):
                    return await self._read_all()
            except TROUBLE as error:
                await self._drop()
                raise BusUnavailable(f"reading the notices failed: {type(error).__name__}") from None

    async def _read_all(self) -> list[Notice]:
        notices: list[Notice] = []
        start = 1
        for _ in range(MAX_PAGES):
            await self._count_call()
            if self._receiver is None:
                self._receiver = self._client.get_queue_receiver(self._queue, socket_timeout=SOCKET_TIMEOUT)
            page = await self._receiver.peek_messages(max_message_count=PAGE, sequence_number=start)
            for message in page:
                number = int(message.sequence_number or 0)
                start = max(start, number + 1)
                if (notice := read_notice(b"".join(message.body), number)) is not None:
                    notices.append(notice)
            if len(page) < PAGE:
                break
        return notices

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
        """After trouble, and after many calls, the next one starts with new links."""
        self._calls = 0
        resources = [resource for resource in (self._receiver, self._sender) if resource is not None]
        self._receiver = self._sender = None
        for resource in resources:
            await close_quietly(resource)

    async def close(self) -> None:
        await self._drop()
