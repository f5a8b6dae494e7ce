"""Calls that wait for a link are made together, and each gets its own result."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from maintenance.domain.errors import BusUnavailable, MessageTooLarge
from maintenance.servicebus.link import BYTES_TOGETHER, MOST_TOGETHER, Together


class Calls:
    """The calls that are made. Each waits while `held`; `fails` has the errors of items."""

    def __init__(self, **fails: Exception) -> None:
        self.made: list[list[str]] = []
        self.free = asyncio.Event()
        self.free.set()
        self.began = asyncio.Event()
        self._fails = fails
        self.lock = asyncio.Lock()
        self.together = Together(self.call, self.lock)

    async def call(self, items: Sequence[str]) -> Sequence[str]:
        self.made.append(list(items))
        self.began.set()
        await self.free.wait()
        for item in items:
            if item in self._fails:
                raise self._fails[item]
        return [item.upper() for item in items]

    async def hold(self, item: str) -> asyncio.Task[str]:
        """A call for an item that does not end yet."""
        self.free.clear()
        task = asyncio.create_task(self.together.add(item))
        await self.began.wait()
        return task

    def begin(self, *items: str) -> list[asyncio.Task[str]]:
        return [asyncio.create_task(self.together.add(item)) for item in items]


async def settled(tasks: Sequence[asyncio.Task[str]]) -> list[str | BaseException]:
    return await asyncio.gather(*tasks, return_exceptions=True)


async def test_calls_that_come_in_one_moment_go_together() -> None:
    calls = Calls()
    assert await settled(calls.begin("a", "b", "c")) == ["A", "B", "C"]
    assert calls.made == [["a", "b", "c"]]


async def test_calls_that_come_while_one_is_under_way_go_together_after_it() -> None:
    calls = Calls()
    first = await calls.hold("a")
    others = calls.begin("b", "c")
    calls.free.set()
    assert await settled([first, *others]) == ["A", "B", "C"]
    assert calls.made == [["a"], ["b", "c"]]


async def test_only_those_of_one_kind_go_together_and_no_more_than_fit() -> None:
    calls = Calls()
    calls.together = Together(calls.call, calls.lock, kind=lambda item: item[0])
    assert await settled(calls.begin("a1", "b1", "a2", "b2")) == ["A1", "B1", "A2", "B2"]
    assert calls.made == [["a1", "a2"], ["b1", "b2"]]
    calls.made.clear()
    calls.together = Together(calls.call, calls.lock, size=lambda _: BYTES_TOGETHER // 2)
    await settled(calls.begin("a", "b", "c"))
    assert calls.made == [["a", "b"], ["c"]]
    calls.made.clear()
    calls.together = Together(calls.call, calls.lock)
    await settled(calls.begin(*map(str, range(MOST_TOGETHER + 1))))
    assert [len(each) for each in calls.made] == [MOST_TOGETHER, 1]


async def test_one_larger_than_fits_goes_alone() -> None:
    calls = Calls()
    calls.together = Together(calls.call, calls.lock, size=lambda item: BYTES_TOGETHER + 1 if item == "b" else 1)
    assert await settled(calls.begin("b", "a")) == ["B", "A"]
    assert calls.made == [["b"], ["a"]]


async def test_error_is_that_of_all_that_went_together_and_of_no_other() -> None:
    error = BusUnavailable("away")
    calls = Calls(b=error)
    first = await calls.hold("a")
    others = calls.begin("b", "c")
    calls.free.set()
    assert await settled([first, *others]) == ["A", error, error]


async def test_message_that_is_too_large_keeps_no_other_from_going() -> None:
    error = MessageTooLarge("large")
    calls = Calls(b=error)
    assert await settled(calls.begin("a", "b", "c")) == ["A", error, "C"]


async def test_who_is_canceled_while_waiting_is_not_sent_and_holds_up_nobody() -> None:
    calls = Calls()
    first = await calls.hold("a")
    second, third = calls.begin("b", "c")
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.sleep(0)
    calls.free.set()
    assert await settled([first, third]) == ["A", "C"]
    assert calls.made == [["a"], ["c"]]


async def test_others_get_an_error_where_whoever_makes_their_call_is_cut_off() -> None:
    calls = Calls()
    calls.free.clear()
    first, second = calls.begin("a", "b")
    await calls.began.wait()
    first.cancel()
    results = await settled([first, second])
    assert isinstance(results[0], asyncio.CancelledError)
    assert isinstance(results[1], BusUnavailable)
    assert not calls.lock.locked()


async def test_results_that_are_not_as_many_as_the_items_are_nobodys() -> None:
    async def one_too_few(items: Sequence[str]) -> Sequence[str]:
        return list(items)[1:]

    together = Together(one_too_few, asyncio.Lock())
    with pytest.raises(ValueError, match="shorter"):
        await together.add("a")
