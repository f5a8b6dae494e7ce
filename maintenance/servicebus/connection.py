"""Connection to a Service Bus namespace, and the exceptions that the SDK raises if it is lost."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable
from contextlib import suppress
from functools import cache
from typing import Any

import certifi
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import AzureError
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver, ServiceBusSender

# Seconds. Long enough for a sender to reconnect, short enough to notice a client that hangs.
CALL_TIMEOUT = 60.0
CLOSE_TIMEOUT = 5.0
# How long a receiver's lock on its socket lasts: settling waits for it.
SOCKET_TIMEOUT = 0.01
# The SDK raises these if a connection is lost or no token is issued; not all of them are its own exceptions.
SDK_ERRORS = (AzureError, TimeoutError, OSError, ValueError, AttributeError, RuntimeError)


async def take_back_credit(receiver: ServiceBusReceiver, within: float) -> bool:
    """Take back the credit that an idle receiver leaves with Service Bus, and release what came for it: otherwise the
    next message due is locked for a receiver that nobody looks at, for as long as a lock lasts. False where Service Bus
    did not confirm it within so many seconds. Raises SDK_ERRORS.

    What was on its way comes before the confirmation. azure-servicebus 7.15 does the same when a receiver is closed,
    but listens for no more than twice its socket's time-out, and passes over the confirmation.
    """
    try:
        async with asyncio.timeout(within):
            await _drain(receiver._handler)
            # Without credit it only releases.
            await receiver._amqp_transport.drain_and_release_messages_async(receiver._handler)  # type: ignore[no-untyped-call] # the SDK's own
    except TimeoutError:
        return False
    return True


async def _drain(handler: Any) -> None:
    link = getattr(handler, "_link", None)
    if link is None or link._is_closed or link.current_link_credit <= 0:
        return
    confirmed = asyncio.Event()

    async def flow(frame: object) -> None:
        confirmed.set()

    # What the SDK has there does nothing. Service Bus sends a flow only in response to one.
    link._incoming_flow = flow
    try:
        await link.flow(link_credit=0, drain=True)
        while not confirmed.is_set():
            await handler._connection.listen(wait=SOCKET_TIMEOUT, batch=1)
    finally:
        del link._incoming_flow


async def side_by_side(*openings: Awaitable[object]) -> None:
    """Open links at once: each takes half a second. Raises the first error, once all have ended, since the SDK forgets
    the connection of a link that is cut off while it opens."""
    for outcome in await asyncio.gather(*openings, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome


async def close_quietly(resource: ServiceBusSender | ServiceBusReceiver | ServiceBusClient) -> None:
    """Close a link or client, ignoring errors and limiting the time: the broker also notices by itself."""
    with suppress(*SDK_ERRORS):
        async with asyncio.timeout(CLOSE_TIMEOUT):
            await resource.close()


@cache
def trusted() -> ssl.SSLContext:
    """The certificate authorities that the SDK trusts. Each of its connections would read their file again: 10 to 30 ms
    on the loop, and a worker opens seven."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(certifi.where())
    return context


def connect(
    *,
    connection_string: str | None = None,
    namespace: str | None = None,
    credential: AsyncTokenCredential | None = None,
    **options: Any,
) -> ServiceBusClient:
    """Create the client of the process, by connection string, or by namespace (its host name) and credential. `options`
    are the SDK's own, for example `custom_endpoint_address` and `ssl_context`."""
    options = {
        "retry_total": 3,
        "retry_backoff_factor": 0.05,
        "retry_backoff_max": 5,
        "ssl_context": trusted(),
        **options,
    }
    if connection_string is not None:
        return ServiceBusClient.from_connection_string(connection_string, **options)
    if namespace is None or credential is None:
        raise ValueError("needs a connection string, or a namespace and a credential")
    return ServiceBusClient(namespace, credential, **options)
