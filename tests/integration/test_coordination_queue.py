"""Coordination queue over the real SDK, for longer than one link lasts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from azure.servicebus.aio import ServiceBusClient

from maintenance.domain.coordination import Lease
from maintenance.servicebus.coordination_queue import CoordinationQueue
from sandbox.servicebus import ServiceBus, Topology
from tests.support.environment import LIMIT

QUEUE = "maintenance-coordination"
TOPOLOGY = Topology.read(Path(__file__).parent.parent.parent / "infra" / "topology.json")
# Responses that the SDK gives a management link credit for.
CREDIT = 10_000


@asynccontextmanager
async def client() -> AsyncIterator[ServiceBusClient]:
    with ServiceBus(TOPOLOGY) as bus:
        async with ServiceBusClient.from_connection_string(bus.connection_string) as client:
            yield client


def lease(request_id: str) -> Lease:
    return Lease(request_id, "a/scale/set", datetime.now(UTC) + timedelta(hours=1))


@pytest.mark.timeout(600)
async def test_entries_are_read_more_often_than_link_has_credit() -> None:
    async with client() as sdk_client:
        queue = CoordinationQueue(sdk_client, QUEUE, call_timeout=LIMIT)
        await queue.put(lease("r1"))
        for _ in range(CREDIT + 50):
            assert [each.request_id for each in await queue.read()] == ["r1"]
        await queue.close()


async def test_new_links_read_the_same_entries() -> None:
    async with client() as sdk_client:
        queue = CoordinationQueue(sdk_client, QUEUE, calls_of_a_link=2)
        for number in range(5):
            await queue.put(lease(f"r{number}"))
        await queue.release(["r1", "r3"])
        assert [each.request_id for each in await queue.read()] == ["r0", "r2", "r4"]
        await queue.close()
