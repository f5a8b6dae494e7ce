"""Links that die while they are idle, over the real SDK: nothing is closed, and nothing comes any more."""

from __future__ import annotations

import asyncio
import logging
import ssl
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from maintenance.coordination.entries import Lease
from maintenance.servicebus.bus import Bus
from maintenance.servicebus.connection import connect, trusted
from maintenance.servicebus.coordination_queue import CoordinationQueue
from maintenance.servicebus.operations_queue import TRUSTED_FOR, OperationsReceiver
from maintenance.servicebus.sender import Sender
from sandbox.latency import Latency
from sandbox.servicebus import NOT_FOUND, ServiceBus, Topology
from tests.support.connections import connections_to
from tests.support.entities import COORDINATION, OPERATIONS, TOPIC, TOPOLOGY
from tests.support.limit import LIMIT
from tests.support.open_bus import opened, record

# The SDK does not close the sockets of connections that the other side has reset.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


async def receive(bus: Bus, *, wait: float = LIMIT) -> list[str]:
    """What a tick would receive, completed. `wait`: short where nothing comes."""
    async with bus.operations() as deliveries:
        batch = await deliveries.receive(10, wait=wait)
        await deliveries.complete_all(batch)
        return [each.message_id for each in batch]


async def test_receiver_whose_link_died_while_idle_is_replaced_and_the_log_says_so(
    service: ServiceBus, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(service) as bus:
        await bus.send([record(0)])
        assert await receive(bus) == [record(0).message_id]
        assert await receive(bus, wait=0.2) == []
        assert service.faults.stop_responding(OPERATIONS, role="receiver") == 1
        await bus.send([record(1)])
        assert await receive(bus, wait=0.2) == []
        assert await receive(bus) == [record(1).message_id]
    assert "its link had stopped responding" in caplog.text
    assert OPERATIONS in caplog.text


async def test_living_receiver_is_kept_while_it_is_trusted(
    service: ServiceBus, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with opened(service) as bus:
        for _ in range(5):
            assert await receive(bus, wait=0.2) == []
        await bus.send([record(0)])
        assert await receive(bus) == [record(0).message_id]
    assert "opened anew" not in caplog.text


async def test_receiver_that_was_given_nothing_for_minutes_is_not_trusted(service: ServiceBus) -> None:
    async with connect(connection_string=service.connection_string) as client:
        time = [0.0]
        sender = Sender(OPERATIONS, lambda: client.get_queue_sender(OPERATIONS))
        async with client.get_queue_receiver(OPERATIONS, socket_timeout=0.01) as link:
            receiver = OperationsReceiver(OPERATIONS, link, sender, monotonic=lambda: time[0])
            time[0] = TRUSTED_FOR - 1
            assert await receiver.rest()
            time[0] = TRUSTED_FOR
            assert not await receiver.rest()
        await sender.close()


async def test_message_that_is_on_its_way_to_a_receiver_when_it_rests_is_given_to_another() -> None:
    # Far longer than the 20 ms for which the SDK listens after a drain.
    with ServiceBus(Topology.read(TOPOLOGY), latency=Latency(0.1)) as far:
        async with opened(far) as bus, opened(far) as another:
            await bus.send([record(0)])
            async with bus.operations() as deliveries:
                await deliveries.complete_all(await deliveries.receive(1, wait=LIMIT))
                assert await deliveries.receive(1, wait=0.01) == []
                sending = asyncio.create_task(bus.send([record(1)]))
                while not far.counts(OPERATIONS).locked:  # noqa: ASYNC110 - Service Bus runs in a thread
                    await asyncio.sleep(0.001)
            await sending
            async with another.operations() as deliveries:
                assert [each.message_id for each in await deliveries.receive(1, wait=LIMIT)] == [record(1).message_id]


async def test_first_request_opens_all_its_links_at_once(service: ServiceBus) -> None:
    async with opened(service) as bus, connect(connection_string=service.connection_string) as client:
        now = datetime.now(UTC)
        queue = CoordinationQueue(client, COORDINATION, now=lambda: now, call_timeout=LIMIT)
        bus.open_links(queue.open)
        # Three senders of the bus, a receiver with a sender of its own, and two links of the coordination queue.
        async with asyncio.timeout(LIMIT):
            while len(connections_to(service)) < 7:  # noqa: ASYNC110 - nothing tells of a connection
                await asyncio.sleep(0.01)
        later = now + timedelta(minutes=10)
        await bus.send([record(0)])
        async with bus.operations() as deliveries:
            assert len(await deliveries.receive(1, wait=LIMIT)) == 1
            await queue.put(Lease(run_id="0" * 32, request_id="first", scale_set="a/scale/set", until=later))
            assert len(await queue.read()) == 1
            await bus.schedule(replace(record(1), due=later))
            await deliveries.send([record(2)])
        assert len(connections_to(service)) == 7
        await queue.close()


async def test_certificate_authorities_are_read_once_for_all_links(
    service: ServiceBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    load = ssl.SSLContext.load_verify_locations

    def counted(context: ssl.SSLContext, cafile: Any = None, *others: Any) -> None:
        read.append(str(cafile))
        load(context, cafile, *others)

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", counted)
    trusted.cache_clear()
    async with opened(service) as bus:
        assert await receive(bus, wait=0.2) == []
        await bus.send([record(0)])
        assert len(connections_to(service)) > 2
    assert len(read) == 1, read
    assert trusted().get_ca_certs()


async def test_first_record_opens_the_links_that_follow_it_at_once(service: ServiceBus) -> None:
    async with opened(service) as bus:
        await bus.send([record(0)])
        # The topic's link is there though nothing was published, and so is the receiver's.
        for entity in (TOPIC, OPERATIONS):
            async with asyncio.timeout(LIMIT):
                while not service.faults.stop_responding(entity, role="sender" if entity == TOPIC else "receiver"):  # noqa: ASYNC110 - the bus runs in a thread
                    await asyncio.sleep(0.01)


async def test_missing_topic_does_not_hold_up_the_first_record(service: ServiceBus) -> None:
    service.faults.refuse(TOPIC, NOT_FOUND)
    async with opened(service) as bus:
        await bus.send([record(0)])
        assert await receive(bus) == [record(0).message_id]
