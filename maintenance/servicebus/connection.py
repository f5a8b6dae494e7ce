"""Connection to a Service Bus namespace, and the exceptions that the SDK raises if it is lost."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import AzureError
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver, ServiceBusSender

# Seconds. Long enough for a sender to reconnect, short enough to notice a client that hangs.
CALL_TIMEOUT = 60.0
CLOSE_TIMEOUT = 5.0
# The SDK raises these if a connection is lost or no token is issued; not all of them are its own exceptions.
SDK_ERRORS = (AzureError, TimeoutError, OSError, ValueError, AttributeError, RuntimeError)


async def close_quietly(resource: ServiceBusSender | ServiceBusReceiver | ServiceBusClient) -> None:
    """Close a link or client, ignoring errors and limiting the time: the broker also notices by itself."""
    with suppress(*SDK_ERRORS):
        async with asyncio.timeout(CLOSE_TIMEOUT):
            await resource.close()


def connect(
    *,
    connection_string: str | None = None,
    namespace: str | None = None,
    credential: AsyncTokenCredential | None = None,
    **options: Any,
) -> ServiceBusClient:
    """Create the client of the process, by connection string, or by namespace (its host name) and credential. `options`
    are the SDK's own, for example `custom_endpoint_address` and `ssl_context`."""
    options = {"retry_total": 3, "retry_backoff_factor": 0.05, "retry_backoff_max": 5, **options}
    if connection_string is not None:
        return ServiceBusClient.from_connection_string(connection_string, **options)
    if namespace is None or credential is None:
        raise ValueError("needs a connection string, or a namespace and a credential")
    return ServiceBusClient(namespace, credential, **options)
