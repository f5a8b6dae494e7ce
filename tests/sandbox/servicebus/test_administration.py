"""The administration API, by the SDK's own client."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from azure.core.exceptions import ResourceNotFoundError
from azure.core.pipeline.transport import AioHttpTransport
from azure.servicebus.aio.management import ServiceBusAdministrationClient

from sandbox.servicebus import ServiceBus, Topology
from tests.support.entities import TOPOLOGY


class Plain(AioHttpTransport):  # type: ignore[misc] # azure-core exports it lazily
    """The client knows https alone."""

    async def send(self, request: Any, **options: Any) -> Any:
        request.url = request.url.replace("https://", "http://", 1)
        return await super().send(request, **options)


async def test_client_reads_what_the_topology_says_of_entities() -> None:
    with ServiceBus(Topology.read(TOPOLOGY)) as bus:
        connection = bus.connection_string
        async with ServiceBusAdministrationClient.from_connection_string(connection, transport=Plain()) as client:
            queue = await client.get_queue("Maintenance-Operations")
            assert (queue.lock_duration, queue.max_delivery_count) == (timedelta(minutes=5), 30)
            assert (queue.requires_duplicate_detection, queue.enable_partitioning) == (True, False)
            assert queue.duplicate_detection_history_time_window == timedelta(days=1)
            assert (await client.get_topic("maintenance-events")).default_message_time_to_live == timedelta(days=30)
            audit = await client.get_subscription("maintenance-events", "maintenance-audit")
            assert audit.default_message_time_to_live == timedelta(days=30)
            with pytest.raises(ResourceNotFoundError):
                await client.get_queue("none")
