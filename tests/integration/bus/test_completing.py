"""Messages that end together: their completion over the real SDK."""

from __future__ import annotations

import gc
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from azure.servicebus import ServiceBusReceivedMessage

from maintenance.domain.errors import BusUnavailable
from maintenance.domain.messages import Delivery, Record
from maintenance.servicebus.bus import Bus
from maintenance.servicebus.connection import connect
from maintenance.servicebus.operations_queue import OperationsReceiver
from sandbox.servicebus import ServiceBus, Topology
from tests.conformance.namespace import close_forgotten
from tests.support.completions import Completions
from tests.support.entities import OPERATIONS, REQUESTS, TOPIC, TOPOLOGY
from tests.support.running import LIMIT

# The SDK does not close the sockets of connections that the other side has reset.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")
COUNT = 5


@pytest.fixture
def service() -> Iterator[ServiceBus]:
    with ServiceBus(Topology.read(TOPOLOGY)) as service:
        yield service
    gc.collect()  # here, where its warnings are ignored, and not in another module's test


@asynccontextmanager
async def received(
    service: ServiceBus, call_timeout: float = LIMIT
) -> AsyncIterator[tuple[OperationsReceiver, list[Delivery]]]:
    """A receiver with five messages, locked."""
    async with connect(connection_string=service.connection_string) as client:
        bus = Bus(
            client, requests_queue=REQUESTS, operations_queue=OPERATIONS, events_topic=TOPIC, call_timeout=call_timeout
        )
        await bus.send([Record(f"{number:032x}:s0", b"{}", None, "plan") for number in range(COUNT)])
        async with bus.operations() as deliveries:
            assert isinstance(deliveries, OperationsReceiver)
            batch: list[Delivery] = []
            while len(batch) < COUNT:
                batch += await deliveries.receive(COUNT - len(batch), wait=LIMIT)
            yield deliveries, batch
        service.faults.reset()
        await close_forgotten(service)
        await bus.close()
    await close_forgotten(service)


def left(service: ServiceBus) -> list[str]:
    return [message.message_id for message in service.peek(OPERATIONS)]


async def test_messages_that_end_together_are_all_sent_before_one_is_waited_for(
    service: ServiceBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []

    def began(message: ServiceBusReceivedMessage) -> None:
        order.append("sent")

    def ended(_: None, confirmed: bool) -> None:
        order.append("confirmed" if confirmed else "failed")

    for change in Completions(began, ended).changes():
        monkeypatch.setattr(*change)
    async with received(service) as (deliveries, batch):
        await deliveries.complete_all(batch)
        assert left(service) == []
    assert order == ["sent"] * COUNT + ["confirmed"] * COUNT


async def test_lock_that_was_lost_keeps_no_other_from_being_completed(
    service: ServiceBus, caplog: pytest.LogCaptureFixture
) -> None:
    async with received(service) as (deliveries, batch):
        lost = batch[2]
        service.faults.lose_locks(OPERATIONS, message_id=lost.message_id)
        await deliveries.complete_all(batch)
        assert left(service) == [lost.message_id]
    lines = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert lines == [f"Lock lost on message {lost.message_id} before it was completed"]


async def test_messages_of_a_connection_that_is_gone_are_completed_in_the_sdks_own_way(service: ServiceBus) -> None:
    async with received(service) as (deliveries, batch):
        service.faults.drop_connections()
        await deliveries.complete_all(batch)
        assert left(service) == []


async def test_outcome_that_never_comes_is_told_and_leaves_the_messages_to_their_lock(service: ServiceBus) -> None:
    async with received(service, call_timeout=1.0) as (deliveries, batch):
        service.faults.stop_responding(OPERATIONS, role="receiver")
        with pytest.raises(BusUnavailable, match="completing failed: TimeoutError"):
            await deliveries.complete_all(batch)
        assert len(left(service)) == COUNT
