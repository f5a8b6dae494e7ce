"""The namespace that the tests of the Service Bus use, and clients to it as impatient as tests want them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from azure.servicebus import ServiceBusClient
from azure.servicebus.aio import ServiceBusClient as AsyncServiceBusClient

from sandbox.servicebus import HandMovedClock, ServiceBus, Topology

WINDOW = {"RequiresDuplicateDetection": True, "DuplicateDetectionHistoryTimeWindow": "PT10M"}


def sql(name: str, expression: str) -> dict[str, object]:
    """A rule with a SQL filter."""
    return {"Name": name, "Properties": {"FilterType": "Sql", "SqlFilter": {"SqlExpression": expression}}}


TOPOLOGY = Topology.parse(
    {
        "UserConfig": {
            "Namespaces": [
                {
                    "Name": "test",
                    "Queues": [
                        {"Name": "q", "Properties": {"LockDuration": "PT5M", "MaxDeliveryCount": 3}},
                        {"Name": "many"},
                        {"Name": "quiet"},  # sent to only: a receiver that is open might take messages at once
                        {"Name": "unique", "Properties": WINDOW},
                        {"Name": "mortal", "Properties": {"DeadLetteringOnMessageExpiration": True}},
                        {"Name": "start", "Properties": {"ForwardTo": "q"}},
                        {"Name": "doomed", "Properties": {"ForwardDeadLetteredMessagesTo": "q"}},
                    ],
                    "Topics": [
                        {
                            "Name": "t",
                            "Properties": {},
                            "Subscriptions": [
                                {"Name": "all"},
                                {"Name": "red", "Rules": [sql("r", "color = 'red' AND sys.Label LIKE 'o%'")]},
                                {"Name": "listed", "Rules": [sql("r", "size IN (1, 2) OR size IS NULL")]},
                                {"Name": "not-red", "Rules": [sql("r", "NOT color = 'red' AND size <> 3")]},
                                {
                                    "Name": "correlated",
                                    "Rules": [
                                        {
                                            "Name": "r",
                                            "Properties": {
                                                "FilterType": "Correlation",
                                                "CorrelationFilter": {"Label": "order", "Properties": {"color": "red"}},
                                            },
                                        }
                                    ],
                                },
                            ],
                        }
                    ],
                }
            ]
        }
    }
)


def hand_moved_clock() -> HandMovedClock:
    """Begins now: the SDK compares lock expiry with the machine's time."""
    return HandMovedClock(datetime.now(UTC))


def service_bus(**options: Any) -> ServiceBus:
    """A namespace of this topology."""
    return ServiceBus(TOPOLOGY, **options)


# A receiver's socket timeout of 200 ms is what the SDK waits for in several places, closing among them.
QUICK: dict[str, Any] = {"socket_timeout": 0.02}


def async_client(bus: ServiceBus, **options: Any) -> AsyncServiceBusClient:
    """A client that does not retry, unless told to."""
    return AsyncServiceBusClient.from_connection_string(bus.connection_string, **{"retry_total": 0, **options})


def sync_client(bus: ServiceBus, **options: Any) -> ServiceBusClient:
    """A client that does not retry, unless told to."""
    return ServiceBusClient.from_connection_string(bus.connection_string, **{"retry_total": 0, **options})


def in_(**duration: float) -> datetime:
    """A time from now."""
    return datetime.now(UTC) + timedelta(**duration)


@asynccontextmanager
async def opened(*handlers: Any) -> AsyncIterator[None]:
    """Senders and receivers opened and closed side by side: each takes the SDK half a second of waiting."""
    await asyncio.gather(*(handler.__aenter__() for handler in handlers))
    try:
        yield
    finally:
        await asyncio.gather(*(handler.__aexit__() for handler in handlers))
