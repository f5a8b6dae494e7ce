"""The connection to a Service Bus namespace, and what the SDK raises when it is gone."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import AzureError
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver, ServiceBusSender

# Generous against a sender that must reconnect, short against a client that hangs.
CALL_TIMEOUT = 60.0
CLOSE_TIMEOUT = 5.0
# What the SDK raises when a connection is gone or no token is to be had: not always errors of its own.
SDK_ERRORS = (AzureError, TimeoutError, OSError, ValueError, AttributeError, RuntimeError)


async def close_quietly(resource: ServiceBusSender | ServiceBusReceiver | ServiceBusClient) -> None:
    """Closing is a courtesy to the broker, which also notices by itself; it must neither fail nor hang anything."""
    with suppress(*SDK_ERRORS):
        async with asyncio.timeout(CLOSE_TIMEOUT):
            await resource.close()


def connect(
    *,
    connection_string: str | None = None,
    namespace: str | None = None,
    credential: AsyncTokenCredential | None = None,
) -> ServiceBusClient:
    """The process's one client, by connection string, or by namespace (its host name) and credential."""
    if connection_string is not None:
        return ServiceBusClient.from_connection_string(
            connection_string, retry_total=3, retry_backoff_factor=0.05, retry_backoff_max=5
        )
    if namespace is None or credential is None:
        raise ValueError("a namespace and a credential, or a connection string")
    return ServiceBusClient(namespace, credential, retry_total=3, retry_backoff_factor=0.05, retry_backoff_max=5)
