"""X"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import AzureError
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver, ServiceBusSender

from maintenance.settings import ServiceBusConnection

# Generous against a sender that must reconnect, short against a client that hangs.
CALL_TIMEOUT = 60.0
CLOSE_TIMEOUT = 5.0
# What the SDK raises when a connection is gone or no token is to be had: not always errors of its own.
TROUBLE = (AzureError, TimeoutError, OSError, ValueError, AttributeError, RuntimeError)


async def close_quietly(resource: ServiceBusSender | ServiceBusReceiver | ServiceBusClient) -> None:
    """Closing is a courtesy to the broker, which also notices by itself; it must neither fail nor hang anything."""
    with suppress(*TROUBLE):
        async with asyncio.timeout(CLOSE_TIMEOUT):
            await resource.close()


def _connect(connection: ServiceBusConnection, credential: AsyncTokenCredential | None) -> ServiceBusClient:
    if connection.connection_string is not None:
        return ServiceBusClient.from_connection_string(
            connection.connection_string, retry_total=3, retry_backoff_factor=0.05, retry_backoff_max=5
        )
    if connection.namespace is None or credential is None:
        raise ValueError("a namespace and a credential, or a connection string")
    return ServiceBusClient(
        connection.namespace, credential, retry_total=3, retry_backoff_factor=0.05, retry_backoff_max=5
    )
