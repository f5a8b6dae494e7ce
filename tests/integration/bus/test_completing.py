"""Messages that come together and end together, over the real SDK: how long is waited for more, and completing."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from azure.servicebus import ServiceBusReceivedMessage
from azure.servicebus.aio import ServiceBusReceiver

from maintenance.domain.errors import BusUnavailable
from maintenance.domain.messages import Delivery, Record
from maintenance.servicebus.operations_queue import LEAST_WITHIN, MORE_OF_MANY_WITHIN, OperationsReceiver
from sandbox.servicebus import ServiceBus
from tests.support.completions import Completions
from tests.support.entities import OPERATIONS
from tests.support.open_bus import opened, record
from tests.support.running import LIMIT

# The SDK does not close the sockets of connections that the other side has reset.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")
COUNT = 5


@asynccontextmanager
async def received(service: ServiceBus) -> AsyncIterator[tuple[OperationsReceiver, list[Delivery]]]:
    """A receiver with five messages, locked."""
    async with opened(service) as bus:
        await bus.send([record(number) for number in range(COUNT)])
        async with bus.operations() as deliveries:
            assert isinstance(deliveries, OperationsReceiver)
            batch: list[Delivery] = []
            while len(batch) < COUNT:
                batch += await deliveries.receive(COUNT - len(batch), wait=LIMIT)
            yield deliveries, batch


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
    lines = [line.message for line in caplog.records if line.levelno >= logging.WARNING]
    assert lines == [f"Lock lost on message {lost.message_id} before it was completed"]


async def test_messages_of_a_connection_that_is_gone_are_completed_in_the_sdks_own_way(service: ServiceBus) -> None:
    async with received(service) as (deliveries, batch):
        service.faults.drop_connections()
        await deliveries.complete_all(batch)
        assert left(service) == []


async def test_outcome_that_never_comes_is_reported_and_leaves_the_messages_to_their_lock(service: ServiceBus) -> None:
    async with received(service) as (deliveries, batch):
        # Only now: a link that is opened on a busy machine may take long.
        deliveries._call_timeout = 0.2
        service.faults.stop_responding(OPERATIONS, role="receiver")
        with pytest.raises(BusUnavailable, match="completing failed: TimeoutError"):
            await deliveries.complete_all(batch)
        assert len(left(service)) == COUNT


async def test_single_message_is_not_held_up_for_more_and_many_come_in_one_batch(
    service: ServiceBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    receive = ServiceBusReceiver.receive_messages

    async def noted(receiver: ServiceBusReceiver, most: int, wait: float) -> list[ServiceBusReceivedMessage]:
        waits.append(wait)
        return await receive(receiver, max_message_count=most, max_wait_time=wait)

    monkeypatch.setattr(
        ServiceBusReceiver,
        "receive_messages",
        lambda receiver, *, max_message_count, max_wait_time: noted(receiver, max_message_count, max_wait_time),
    )
    async with received(service) as (deliveries, batch):
        # As when a round trip had taken no time: what is far away is waited for longer.
        assert await deliveries.complete(batch[0])
        await deliveries.complete_all(batch[1:])
        deliveries._round_trip = 0.0
        waits.clear()
        await deliveries.send([Record("a:s0", b"{}", None, "plan")])
        one = await deliveries.receive(100, wait=LIMIT)
        assert [each.message_id for each in one] == ["a:s0"]
        # Many came last.
        assert sum(waits[1:]) == pytest.approx(MORE_OF_MANY_WITHIN)
        waits.clear()
        await deliveries.send([Record("a:s1", b"{}", None, "plan")])
        one += await deliveries.receive(100, wait=LIMIT)
        assert waits[1:] == [LEAST_WITHIN]
        waits.clear()
        await deliveries.send([Record(f"b{number}:s0", b"{}", None, "plan") for number in range(60)])
        many = await deliveries.receive(60, wait=LIMIT)
        assert waits[1:] == [LEAST_WITHIN] * len(waits[1:])
        await deliveries.complete_all([*one, *many])
        while len(many) < 60:
            many += (rest := await deliveries.receive(60 - len(many), wait=LIMIT))
            await deliveries.complete_all(rest)
        assert left(service) == []
