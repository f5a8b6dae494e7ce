"""The client for asyncio, otherwise the same as `maintenance_client.MaintenanceClient`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import datetime
from types import TracebackType
from typing import Any

from azure.core.credentials_async import AsyncTokenCredential
from azure.servicebus.aio import ServiceBusClient

from maintenance_client.events import MaintenanceEvent, read_event
from maintenance_client.messages import PAGE, Messages
from maintenance_client.requests import MaintenanceRequest, ScaleSet


class MaintenanceClient(Messages[ServiceBusClient]):
    __doc__ = Messages.__doc__

    @classmethod
    def from_namespace(cls, namespace: str, credential: AsyncTokenCredential, **options: Any) -> MaintenanceClient:
        """`namespace` as `contoso.servicebus.windows.net`. `options` are those of the class."""
        return cls(ServiceBusClient(namespace, credential), owned=True, **options)

    @classmethod
    def from_connection_string(cls, connection_string: str, **options: Any) -> MaintenanceClient:
        return cls(ServiceBusClient.from_connection_string(connection_string), owned=True, **options)

    async def request(self, request: MaintenanceRequest) -> str:
        """Send a request and return its id. Sending the same request again while it is under way starts nothing."""
        message = self._request(request)
        async with self._client.get_queue_sender(self._queue) as sender:
            await sender.send_messages(message)
        return request.request_id

    async def cancel(self, request_id: str, scale_set: ScaleSet, *, reason: str | None = None) -> str:
        """Ask that a request starts nothing more; return the id of the cancellation, whose reply is `accepted`."""
        own_id, message = self._cancellation(request_id, scale_set, reason)
        async with self._client.get_queue_sender(self._queue) as sender:
            await sender.send_messages(message)
        return own_id

    async def proceed(self, event: MaintenanceEvent, *, reason: str | None = None) -> str:
        """Let the wave of an `awaiting` event start; return the id of the message, whose reply is `accepted`."""
        own_id, message = self._proceed(event, reason)
        async with self._client.get_queue_sender(self._queue) as sender:
            await sender.send_messages(message)
        return own_id

    async def events(self, subscription: str, *, max_wait: float | None = None) -> AsyncIterator[MaintenanceEvent]:
        """Receive events, each at least once. An event is settled when the next one is asked for: one whose handling
        raises is delivered again. Ends after `max_wait` seconds without an event; None waits for ever.

        The subscription should be the reader's own: an event that one reader settled, no other sees.
        """
        async with self._client.get_subscription_receiver(
            self._topic, subscription, max_wait_time=max_wait
        ) as receiver:
            async for message in receiver:
                try:
                    event = read_event(message)
                except ValueError as error:
                    await receiver.dead_letter_message(
                        message, reason="NoMaintenanceEvent", error_description=str(error)
                    )
                    continue
                yield event
                await receiver.complete_message(message)

    async def wait_for(
        self,
        request_id: str,
        subscription: str,
        *,
        timeout: float,  # noqa: ASYNC109 - with the same names as the client that blocks
        since: datetime | None = None,
        pause: float = 2.0,
    ) -> MaintenanceEvent:
        """Wait for the end of a request and return it. Raises TimeoutError after `timeout` seconds.

        Only peeks, so it takes no event from anybody; the subscription must be one whose events stay a while. `since`:
        pass over what is older; by default five minutes before this client sent the request. `pause` in seconds.
        """
        pages = self._pages(request_id, since)
        give_up = time.monotonic() + timeout
        async with self._client.get_subscription_receiver(self._topic, subscription) as receiver:
            while True:
                page = await receiver.peek_messages(PAGE, sequence_number=pages.number, timeout=30)
                if (found := pages.take(page)) is not None:
                    return found
                if page:
                    continue
                if time.monotonic() >= give_up:
                    raise TimeoutError(f"request {request_id} has not ended within {timeout:g} seconds")
                await asyncio.sleep(min(pause, max(give_up - time.monotonic(), 0)))

    async def close(self) -> None:
        if self._owned:
            await self._client.close()

    async def __aenter__(self) -> MaintenanceClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
