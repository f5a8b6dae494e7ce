"""A worker that ends while it still opens or uses its links, over the real SDK."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from maintenance.servicebus.bus import Bus
from maintenance.servicebus.connection import connect
from maintenance.servicebus.coordination_queue import CoordinationQueue
from sandbox.latency import Latency
from sandbox.servicebus import ServiceBus, Topology
from tests.support.connections import connections_to
from tests.support.entities import COORDINATION, OPERATIONS, REQUESTS, TOPIC, TOPOLOGY
from tests.support.limit import LIMIT
from tests.support.samples import NOW


@asynccontextmanager
async def bus_of(service: ServiceBus) -> AsyncIterator[Bus]:
    async with connect(connection_string=service.connection_string) as client:
        yield Bus(client, requests_queue=REQUESTS, operations_queue=OPERATIONS, events_topic=TOPIC)


async def test_bus_closed_while_its_links_open_leaves_no_connection() -> None:
    # So far away that the links are surely not open yet when their connections are.
    with ServiceBus(Topology.read(TOPOLOGY), latency=Latency(0.1)) as far:
        async with bus_of(far) as bus:
            bus.open_links()
            async with asyncio.timeout(LIMIT):
                while len(connections_to(far)) < 3:  # noqa: ASYNC110 - nothing tells of a connection
                    await asyncio.sleep(0)
            for _ in range(10):  # turns of the loop, after which the SDK has what was connected
                await asyncio.sleep(0)
            await bus.close()
            assert connections_to(far) == []


async def test_receiver_in_use_while_its_bus_is_closed_leaves_no_connection() -> None:
    with ServiceBus(Topology.read(TOPOLOGY)) as service:
        async with bus_of(service) as bus:
            async with bus.operations():
                await bus.close()
            assert connections_to(service) == []


async def test_receiver_cut_off_while_it_comes_to_rest_leaves_no_connection() -> None:
    # So far away that it surely still waits for the answer to its drain.
    with ServiceBus(Topology.read(TOPOLOGY), latency=Latency(0.1)) as far:
        async with bus_of(far) as bus:
            used = asyncio.Event()

            async def use() -> None:
                async with bus.operations() as deliveries:
                    assert await deliveries.receive(1, wait=0.01) == []
                    used.set()

            using = asyncio.create_task(use())
            await used.wait()
            await asyncio.sleep(0)
            using.cancel()
            await asyncio.wait([using])
            assert using.cancelled()
            await bus.close()
            assert connections_to(far) == []


async def test_reading_whose_asker_was_cut_off_leaves_no_connection() -> None:
    with ServiceBus(Topology.read(TOPOLOGY), latency=Latency(0.1)) as far:
        async with connect(connection_string=far.connection_string) as client:
            queue = CoordinationQueue(client, COORDINATION, now=lambda: NOW)
            asking = [asyncio.create_task(queue.read())]
            async with asyncio.timeout(LIMIT):
                while not connections_to(far):  # noqa: ASYNC110 - nothing tells of a connection
                    await asyncio.sleep(0)
            # Waits for its turn.
            asking.append(asyncio.create_task(queue.read()))
            await asyncio.sleep(0)
            for each in asking:
                each.cancel()
            await asyncio.wait(asking)
            await queue.close()
            assert connections_to(far) == []
