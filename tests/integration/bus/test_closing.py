"""A worker that ends while it still opens its links, over the real SDK."""

from __future__ import annotations

import asyncio

from maintenance.servicebus.bus import Bus
from maintenance.servicebus.connection import connect
from sandbox.latency import Latency
from sandbox.servicebus import ServiceBus, Topology
from tests.conformance.namespace import connections_to
from tests.support.entities import OPERATIONS, REQUESTS, TOPIC, TOPOLOGY
from tests.support.limit import LIMIT


async def test_bus_closed_while_its_links_open_leaves_no_connection() -> None:
    # So far away that the links are surely not open yet when their connections are.
    with ServiceBus(Topology.read(TOPOLOGY), latency=Latency(0.1)) as far:
        async with connect(connection_string=far.connection_string) as client:
            bus = Bus(client, requests_queue=REQUESTS, operations_queue=OPERATIONS, events_topic=TOPIC)
            bus.open_links()
            async with asyncio.timeout(LIMIT):
                while len(connections_to(far)) < 3:  # noqa: ASYNC110 - nothing tells of a connection
                    await asyncio.sleep(0)
            for _ in range(10):  # turns of the loop, after which the SDK has what was connected
                await asyncio.sleep(0)
            await bus.close()
            assert connections_to(far) == []
