"""The board of notices over the real SDK, for longer than its links last."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from azure.servicebus.aio import ServiceBusClient

from maintenance.domain.coordination import Lease
from maintenance.servicebus.coordination_queue import CoordinationQueue
from sandbox.servicebus import ServiceBus, Topology

QUEUE = "maintenance-coordination"
TOPOLOGY = Topology.read(Path(__file__).parent.parent.parent / "infra" / "topology.json")
# What the SDK gives a link of management answers.
CREDIT = 10_000


@asynccontextmanager
async def client() -> AsyncIterator[ServiceBusClient]:
    with ServiceBus(TOPOLOGY) as bus:
        async with ServiceBusClient.from_connection_string(bus.connection_string) as made:
            yield made


def notice(request_id: str) -> Lease:
    return Lease(request_id, "a/scale/set", datetime.now(UTC) + timedelta(hours=1))


async def test_a_board_is_read_more_often_than_the_sdk_gives_a_link_credit_for() -> None:
    async with client() as made:
        board = CoordinationQueue(made, QUEUE, call_timeout=20)
        await board.put(notice("r1"))
        for _ in range(CREDIT + 50):
            assert [each.request_id for each in await board.read()] == ["r1"]
        await board.close()


async def test_new_links_show_the_same_board() -> None:
    async with client() as made:
        board = CoordinationQueue(made, QUEUE, calls_of_a_link=2)
        for number in range(5):
            await board.put(notice(f"r{number}"))
        await board.release(["r1", "r3"])
        assert [each.request_id for each in await board.read()] == ["r0", "r2", "r4"]
        await board.close()
