"""Messages that come together and end together, over the real SDK: how long is waited for more, and completing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.servicebus import ServiceBusMessage, ServiceBusReceivedMessage
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver
from azure.servicebus.exceptions import MessageLockLostError

from maintenance.domain.errors import BusUnavailable
from maintenance.domain.messages import Delivery
from maintenance.servicebus.operations_queue import LEAST_WITHIN, MOST_WITHIN, OperationsReceiver
from sandbox.servicebus import ServiceBus
from tests.support.completions import Completions
from tests.support.entities import OPERATIONS
from tests.support.limit import LIMIT
from tests.support.open_bus import opened, record

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


@pytest.mark.parametrize("lost", [(), (1, 3), tuple(range(COUNT))])
async def test_messages_that_end_together_end_as_by_the_sdks_own_call(
    service: ServiceBus, lost: tuple[int, ...]
) -> None:
    remaining, confirmed = [], []
    for together in (True, False):
        service.clear()
        async with received(service) as (deliveries, batch):
            for number in lost:
                service.faults.lose_locks(OPERATIONS, message_id=batch[number].message_id)
            complete = deliveries.complete if together else sdks_complete
            confirmed.append(await asyncio.gather(*map(complete, batch)))
            remaining.append(left(service))
    assert remaining[0] == remaining[1]
    assert confirmed[0] == confirmed[1] == [number not in lost for number in range(COUNT)]


async def sdks_complete(delivery: Delivery) -> bool:
    message: Any = delivery.handle
    try:
        await message._receiver.complete_message(message)
    except MessageLockLostError:
        return False
    return True


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


async def test_messages_completed_at_the_same_time_are_all_sent_before_one_is_waited_for(
    service: ServiceBus, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    order: list[str] = []
    completions = Completions(lambda _: order.append("sent"), lambda _, confirmed: order.append(f"{confirmed}"))
    for change in completions.changes():
        monkeypatch.setattr(*change)
    async with received(service) as (deliveries, batch):
        service.faults.lose_locks(OPERATIONS, message_id=batch[2].message_id)
        confirmed = await asyncio.gather(*map(deliveries.complete, batch))
        assert left(service) == [batch[2].message_id]
    assert order[:COUNT] == ["sent"] * COUNT
    # Each hears of its own message alone.
    assert confirmed == [True, True, False, True, True]
    lines = [line.message for line in caplog.records if line.levelno >= logging.WARNING]
    assert lines == [f"Lock lost on message {batch[2].message_id} before it was completed"]


async def test_message_whose_completion_nobody_confirms_is_not_called_completed(
    service: ServiceBus, caplog: pytest.LogCaptureFixture
) -> None:
    async with received(service) as (deliveries, batch):
        deliveries._call_timeout = 0.2
        service.faults.stop_responding(OPERATIONS, role="receiver")
        assert await asyncio.gather(*map(deliveries.complete, batch[:2])) == [False, False]
    assert f"Completing message {batch[0].message_id}, {batch[1].message_id} failed: no response" in caplog.text


@pytest.fixture
def receives(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, float]]:
    """How many messages each receive asks for, and how long it waits."""
    receives: list[tuple[int, float]] = []
    receive = ServiceBusReceiver.receive_messages

    async def noted(receiver: ServiceBusReceiver, most: int, wait: float) -> list[ServiceBusReceivedMessage]:
        receives.append((most, wait))
        return await receive(receiver, max_message_count=most, max_wait_time=wait)

    monkeypatch.setattr(
        ServiceBusReceiver,
        "receive_messages",
        lambda receiver, *, max_message_count, max_wait_time: noted(receiver, max_message_count, max_wait_time),
    )
    return receives


def waits(receives: list[tuple[int, float]]) -> list[float]:
    """Of all but the first."""
    return [wait for _, wait in receives[1:]]


async def send_from_elsewhere(service: ServiceBus, *message_ids: str) -> None:
    async with (
        ServiceBusClient.from_connection_string(service.connection_string) as client,
        client.get_queue_sender(OPERATIONS) as sender,
    ):
        await sender.send_messages([ServiceBusMessage(b"{}", message_id=each) for each in message_ids])


async def test_single_message_is_not_held_up_for_more_and_many_come_in_one_batch(
    service: ServiceBus, receives: list[tuple[int, float]]
) -> None:
    async with received(service) as (deliveries, batch):
        # As when a round trip had taken no time: what is far away is waited for longer.
        assert await deliveries.complete(batch[0])
        await deliveries.complete_all(batch[1:])
        deliveries._round_trip = 0.0
        receives.clear()
        await send_from_elsewhere(service, "a:s0")
        one = await deliveries.receive(100, wait=LIMIT)
        assert [each.message_id for each in one] == ["a:s0"]
        # Many came last.
        assert sum(waits(receives)) == pytest.approx(MOST_WITHIN)
        receives.clear()
        await send_from_elsewhere(service, "a:s1")
        one += await deliveries.receive(100, wait=LIMIT)
        assert waits(receives) == [LEAST_WITHIN]
        receives.clear()
        await send_from_elsewhere(service, *(f"b{number}:s0" for number in range(60)))
        many = await deliveries.receive(60, wait=LIMIT)
        assert waits(receives) == [LEAST_WITHIN] * len(waits(receives))
        await deliveries.complete_all([*one, *many])
        while len(many) < 60:
            many += (rest := await deliveries.receive(60 - len(many), wait=LIMIT))
            await deliveries.complete_all(rest)
        assert left(service) == []


async def test_what_this_process_sent_for_now_is_waited_for_and_nothing_after_it(
    service: ServiceBus, receives: list[tuple[int, float]]
) -> None:
    async with received(service) as (deliveries, batch):
        await deliveries.complete_all(batch)
        receives.clear()
        await deliveries.send([record(10)])
        (one,) = await deliveries.receive(100, wait=LIMIT)
        assert waits(receives) == []
        receives.clear()
        later = replace(record(11), due=datetime.now(UTC) + timedelta(hours=1))
        await deliveries.send([later, record(12)])
        (other,) = await deliveries.receive(100, wait=LIMIT)
        assert waits(receives) == []
        receives.clear()
        # What duplicate detection drops is waited for once, and never again.
        await deliveries.send([record(12), record(13)])
        (third,) = await deliveries.receive(100, wait=LIMIT)
        assert waits(receives) != []
        receives.clear()
        await deliveries.send([record(14)])
        (fourth,) = await deliveries.receive(100, wait=LIMIT)
        assert waits(receives) == []
        await deliveries.complete_all([one, other, third, fourth])


async def test_receiver_that_was_given_a_full_batch_asks_for_as_many_in_one_call(
    service: ServiceBus, receives: list[tuple[int, float]]
) -> None:
    async with opened(service) as bus:
        await bus.send([record(number) for number in range(30)])
        async with bus.operations() as deliveries:
            got: list[Delivery] = []
            # On a busy machine the second may come too late.
            while len(batch := await deliveries.receive(2, wait=LIMIT)) < 2:
                got += batch
            assert receives[-2][0] == 1
            got += batch
            receives.clear()
            got += (batch := await deliveries.receive(2, wait=LIMIT))
            assert [most for most, _ in receives][:1] == [2]
            while len(got) < 30:
                got += (batch := await deliveries.receive(2, wait=LIMIT))
            await deliveries.complete_all(got)
            receives.clear()
            wait = 2 * MOST_WITHIN
            assert await deliveries.receive(2, wait=wait) == []
            # After a full batch what is left would have come in two round trips.
            ((most, waited),) = receives
            assert (most, waited < wait) == ((2, True) if len(batch) == 2 else (1, False))
        assert left(service) == []
