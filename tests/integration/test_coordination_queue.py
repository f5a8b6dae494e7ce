"""The coordination queue over the real SDK: every entry is seen, for longer than links last."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.servicebus import ServiceBusMessage, ServiceBusReceivedMessage
from azure.servicebus._transport._pyamqp_transport import PyamqpTransport
from azure.servicebus.aio import ServiceBusReceiver, ServiceBusSender

from maintenance.coordination.documents import FURTHEST, write_entry
from maintenance.coordination.entries import CancellationMarker, Entry, Lease
from maintenance.domain.errors import BusUnavailable
from maintenance.servicebus import coordination_queue
from maintenance.servicebus.connection import connect
from maintenance.servicebus.coordination_queue import CoordinationQueue, Shown
from sandbox.servicebus import ServiceBus, Topology
from tests.support.entities import COORDINATION, TOPOLOGY
from tests.support.limit import LIMIT

# What the SDK gives a link of management answers.
CREDIT = 10_000


def utc_now() -> datetime:
    return datetime.now(UTC)


@asynccontextmanager
async def coordination(
    *, peek_limit: int | None = None, **options: Any
) -> AsyncIterator[tuple[CoordinationQueue, ServiceBus]]:
    with ServiceBus(Topology.read(TOPOLOGY), peek_limit=peek_limit) as bus:
        async with connect(connection_string=bus.connection_string) as client:
            queue = CoordinationQueue(client, COORDINATION, now=utc_now, call_timeout=LIMIT, patience=0, **options)
            yield queue, bus
            await queue.close()


def lease(number: int) -> Lease:
    until = utc_now() + timedelta(hours=1)
    return Lease(run_id=f"{number:032x}", request_id=f"r{number}", scale_set="a/scale/set", until=until)


def request_ids(entries: Sequence[Entry]) -> list[str]:
    return [each.request_id for each in entries if isinstance(each, Lease)]


async def test_entries_are_read_more_often_than_link_has_credit() -> None:
    async with coordination(peek_limit=250) as (queue, _):
        await queue.put(lease(1))
        # Each reading peeks twice: the last page is the empty one.
        for _ in range(CREDIT // 2 + 50):
            assert request_ids(await queue.read()) == ["r1"]


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """For each reading that ended, how many pages it took."""
    readings, pages = [], 0
    peek = ServiceBusReceiver.peek_messages

    async def counted(receiver: ServiceBusReceiver, *arguments: Any, **options: Any) -> Any:
        nonlocal pages
        page = await peek(receiver, *arguments, **options)
        pages += 1
        if not page:
            # The last page of a reading.
            readings.append(pages)
            pages = 0
        return page

    monkeypatch.setattr(ServiceBusReceiver, "peek_messages", counted)
    return readings


async def test_who_ask_in_one_moment_share_a_reading_and_who_asks_during_it_gets_the_next(readings: list[int]) -> None:
    async with coordination(peek_limit=1) as (queue, _):
        await queue.put(lease(1))
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(queue.read()) for _ in range(20)]
            while not queue._lock.locked():  # noqa: ASYNC110 - the queue has no event for it
                await asyncio.sleep(0)
            later = group.create_task(queue.read())
    assert all(request_ids(each.result()) == ["r1"] for each in [*asked, later])
    assert readings == [2, 2]


async def test_leases_of_one_minute_are_put_and_given_up_in_one_call_each(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    schedule, cancel = ServiceBusSender.schedule_messages, ServiceBusSender.cancel_scheduled_messages

    async def scheduled(sender: ServiceBusSender, messages: list[Any], until: datetime) -> Any:
        calls.append(len(messages))
        return await schedule(sender, messages, until)

    async def canceled(sender: ServiceBusSender, numbers: list[int]) -> None:
        calls.append(len(numbers))
        await cancel(sender, numbers)

    monkeypatch.setattr(ServiceBusSender, "schedule_messages", scheduled)
    monkeypatch.setattr(ServiceBusSender, "cancel_scheduled_messages", canceled)
    minute = utc_now().replace(second=30, microsecond=0) + timedelta(hours=1)
    leases = [replace(lease(number), until=minute + timedelta(seconds=number)) for number in range(20)]
    marker = CancellationMarker(
        run_id=f"{99:032x}",
        request_id="r",
        scale_set="a/scale/set",
        enqueued_at=utc_now(),
        until=minute + timedelta(seconds=1),
    )
    async with coordination(peek_limit=250) as (queue, _):
        await asyncio.gather(*map(queue.put, leases), queue.put(marker))
        entries = await queue.read()
        # A lease may count for some seconds more; what others say holds to the second.
        assert {each.until for each in entries if isinstance(each, Lease)} == {minute + timedelta(seconds=30)}
        assert [each.until for each in entries if not isinstance(each, Lease)] == [marker.until]
        await asyncio.gather(*(queue.cancel(each.number) for each in entries))
        assert await queue.read() == ()
    assert calls == [20, 1, 21]


async def test_entries_that_are_put_at_the_same_time_are_read_together(readings: list[int]) -> None:
    async with coordination(peek_limit=250) as (queue, _):

        async def put_and_read(number: int) -> list[str]:
            await queue.put(lease(number))
            return request_ids(await queue.read())

        async with asyncio.TaskGroup() as group:
            runs = [group.create_task(put_and_read(number)) for number in range(20)]
    for number, run in enumerate(runs):
        assert f"r{number}" in run.result()
    # One for all but those whose put ended as it began.
    assert len(readings) <= 3


async def test_new_links_read_the_same_entries() -> None:
    async with coordination(calls_of_a_link=2) as (queue, _):
        for number in range(5):
            await queue.put(lease(number))
        for entry in await queue.read():
            if isinstance(entry, Lease) and entry.request_id in ("r1", "r3"):
                await queue.cancel(entry.number)
        assert request_ids(await queue.read()) == ["r0", "r2", "r4"]


async def test_short_pages_hide_no_entry() -> None:
    async with coordination(peek_limit=1) as (queue, _):
        for number in range(5):
            await queue.put(lease(number))
        assert request_ids(await queue.read()) == ["r0", "r1", "r2", "r3", "r4"]


async def test_what_was_shown_before_is_not_read_again_and_what_is_gone_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read: list[int] = []
    parse = PyamqpTransport.parse_received_message

    def counted(*arguments: Any, **options: Any) -> list[ServiceBusReceivedMessage]:
        messages = parse(*arguments, **options)
        read.append(len(messages))
        return messages

    monkeypatch.setattr(PyamqpTransport, "parse_received_message", staticmethod(counted))
    async with coordination() as (queue, _):
        for number in range(5):
            await queue.put(lease(number))
        first = await queue.read()
        assert sum(read) == 5
        assert await queue.read() == first
        await queue.cancel(first[1].number)
        await queue.put(lease(5))
        assert request_ids(await queue.read()) == ["r0", "r2", "r3", "r4", "r5"]
        assert sum(read) == 6
        for entry in await queue.read():
            await queue.cancel(entry.number)
        for _ in range(2):
            assert await queue.read() == ()
        assert not queue._shown._before
        assert not queue._shown._now


async def test_entry_that_was_read_is_passed_over_once_its_time_is_not_plausible() -> None:
    time = utc_now()
    shown = Shown(7, time + timedelta(hours=1), write_entry(lease(1)))
    assert isinstance(shown.entry(time), Lease)
    assert shown.entry(time) is shown.entry(time)
    assert shown.entry(time + FURTHEST + timedelta(hours=2)) is None
    assert shown.entry(time - FURTHEST) is None
    assert isinstance(shown.entry(time), Lease)
    assert Shown(7, None, write_entry(lease(1))).entry(time) is None


async def test_used_up_lease_id_drops_a_lease_that_comes_late() -> None:
    async with coordination() as (queue, bus):
        await queue.use_up(lease(1).message_id)
        await queue.put(lease(1))
        assert await queue.read() == ()
        assert [message.state for message in bus.peek(COORDINATION)] == ["active"]


async def test_lease_put_twice_is_one_lease() -> None:
    async with coordination() as (queue, _):
        for _ in range(3):
            await queue.put(lease(1))
        assert len(await queue.read()) == 1


async def test_canceling_an_entry_twice_is_no_error() -> None:
    async with coordination() as (queue, _):
        await queue.put(lease(1))
        (entry,) = await queue.read()
        await queue.cancel(entry.number)
        await queue.cancel(entry.number)
        assert await queue.read() == ()


async def test_message_that_is_not_scheduled_is_no_entry() -> None:
    async with coordination() as (queue, bus):
        client = connect(connection_string=bus.connection_string)
        async with client, client.get_queue_sender(COORDINATION) as sender:
            await sender.send_messages(ServiceBusMessage(write_entry(lease(1)), subject="lease"))
        assert await queue.read() == ()


async def test_queue_with_too_many_pages_is_not_read_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coordination_queue, "MAX_PAGES", 3)
    async with coordination(peek_limit=1) as (queue, _):
        for number in range(2):
            await queue.put(lease(number))
        assert len(await queue.read()) == 2
        await queue.put(lease(2))
        with pytest.raises(BusUnavailable, match="cannot be read whole"):
            await queue.read()
