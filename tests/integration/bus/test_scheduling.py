"""Records that are scheduled and canceled at the same time, over the real SDK: in how many calls, and what remains."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.servicebus.aio import ServiceBusSender

from sandbox.servicebus import ServiceBus
from tests.support.entities import OPERATIONS
from tests.support.open_bus import opened, record

# The SDK does not close the sockets of connections that the other side has reset.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")
COUNT = 5
# An hour ahead, in the middle of a second.
DUE = datetime.now(UTC).replace(microsecond=500_000) + timedelta(hours=1)
RECORDS = [replace(record(number), due=DUE + timedelta(milliseconds=number)) for number in range(COUNT)]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The scheduling and canceling calls that reach the SDK, with the number of messages in each."""
    calls: list[str] = []

    def noted(name: str) -> Callable[..., Any]:
        original = getattr(ServiceBusSender, name)

        async def call(sender: ServiceBusSender, first: Any, *rest: Any) -> Any:
            calls.append(f"{name.partition('_')[0]} {len(first) if isinstance(first, list) else 1}")
            return await original(sender, first, *rest)

        return call

    for name in ("schedule_messages", "cancel_scheduled_messages"):
        monkeypatch.setattr(ServiceBusSender, name, noted(name))
    return calls


def left(service: ServiceBus) -> list[str]:
    return [message.message_id for message in service.peek(OPERATIONS)]


async def test_records_of_one_second_are_scheduled_and_canceled_in_one_call(
    service: ServiceBus, calls: list[str]
) -> None:
    async with opened(service) as bus:
        numbers = await asyncio.gather(*map(bus.schedule, RECORDS))
        shown = {message.sequence_number: message for message in service.peek(OPERATIONS)}
        # Each is told the number of its own.
        assert [shown[number].message_id for number in numbers] == [each.message_id for each in RECORDS]
        # None comes before its time, nor a second after it.
        due = [shown[number].scheduled_for for number in numbers]
        assert due == [DUE.replace(microsecond=0) + timedelta(seconds=1)] * COUNT
        await asyncio.gather(*map(bus.cancel, numbers))
        assert left(service) == []
    assert calls == [f"schedule {COUNT}", f"cancel {COUNT}"]


async def test_records_of_different_seconds_are_scheduled_each_for_its_own(
    service: ServiceBus, calls: list[str]
) -> None:
    async with opened(service) as bus:
        records = [replace(each, due=DUE + timedelta(seconds=number)) for number, each in enumerate(RECORDS)]
        await asyncio.gather(*map(bus.schedule, records))
        assert len({message.scheduled_for for message in service.peek(OPERATIONS)}) == COUNT
    assert calls == ["schedule 1"] * COUNT


async def test_records_that_are_too_large_together_are_scheduled_apart(service: ServiceBus, calls: list[str]) -> None:
    async with opened(service) as bus:
        await asyncio.gather(*(bus.schedule(replace(each, body=b"x" * 100_000)) for each in RECORDS))
        assert len(left(service)) == COUNT
    assert calls == ["schedule 1"] * COUNT


async def test_record_that_is_gone_keeps_no_other_from_being_canceled(service: ServiceBus, calls: list[str]) -> None:
    async with opened(service) as bus:
        numbers = await asyncio.gather(*map(bus.schedule, RECORDS))
        await bus.cancel(numbers[2])
        assert len(left(service)) == COUNT - 1
        await asyncio.gather(*map(bus.cancel, numbers))
        assert left(service) == []
    assert calls == [f"schedule {COUNT}", "cancel 1", f"cancel {COUNT}", *["cancel 1"] * COUNT]


async def test_record_scheduled_twice_is_there_once_beside_others(service: ServiceBus) -> None:
    async with opened(service) as bus:
        await bus.schedule(RECORDS[0])
        await asyncio.gather(*map(bus.schedule, RECORDS))
        assert sorted(left(service)) == sorted(each.message_id for each in RECORDS)
