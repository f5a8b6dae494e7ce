"""Handlers that wait for what they sent, while more falls due without end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from maintenance.domain.messages import Delivery, Record
from maintenance.operations.poller import Poller
from tests.support.samples import NOW
from tests.support.unit_environment import UnitEnvironment
from tests.unit.operations.test_poller import put, queued, run_id, running

AGAIN = "again"


class Busy:
    """An environment in which a message falls due again as soon as it was dealt with, until `over`."""

    def __init__(self, *, batch: int, receivers: int = 1) -> None:
        self.environment = UnitEnvironment(poll_concurrency=batch * receivers, poll_receivers=receivers)
        self.free = asyncio.Event()
        self.free.set()
        self.over = False
        self.rounds = 0
        self.poller = Poller(
            self.environment.runner,
            self.environment.bus,
            self.environment.settings,
            intake={AGAIN: self._again},
            now=self.environment.clock,
            monotonic=self.environment.clock.seconds,
            # No other receiver is added because one takes long.
            slow=60.0,
        )

    async def _again(self, delivery: Delivery) -> None:
        # Others have their turn.
        await asyncio.sleep(0)
        self.rounds += 1
        await self.free.wait()
        if not self.over:
            await self.send_one()

    async def send_one(self) -> None:
        await self.environment.bus.send([Record(f"again-{self.rounds}", b"", NOW, AGAIN)])


@asynccontextmanager
async def kept_busy(batch: int) -> AsyncIterator[Busy]:
    """With a handler that stays for all of the block."""
    busy = Busy(batch=batch)
    await busy.send_one()
    async with asyncio.timeout(10):
        stays = asyncio.create_task(busy.poller.work_off("another"))
        while busy.rounds < 3:  # noqa: ASYNC110 - the tick has no event for it
            await asyncio.sleep(0)
        yield busy
        assert not stays.done()
        busy.over = True
        await stays


@pytest.mark.parametrize("batch", [1, 10])
async def test_handler_leaves_once_its_record_was_dealt_with_though_more_is_due_without_end(batch: int) -> None:
    async with kept_busy(batch) as busy:
        put(busy.environment, running(1))
        await busy.poller.work_off(f"{run_id(1)}:s0")
        assert f"{run_id(1)}:s1" in queued(busy.environment)


async def test_handler_leaves_where_another_process_has_its_record() -> None:
    async with kept_busy(10) as busy:
        await busy.poller.work_off("elsewhere")


async def test_record_of_a_handler_that_comes_later_does_not_wait_for_what_is_under_way() -> None:
    busy = Busy(batch=10, receivers=2)
    busy.free.clear()
    await busy.send_one()
    async with asyncio.timeout(10):
        stays = asyncio.create_task(busy.poller.work_off("another"))
        while not busy.rounds:  # noqa: ASYNC110 - the tick has no event for it
            await asyncio.sleep(0)
        put(busy.environment, running(1))
        await busy.poller.work_off(f"{run_id(1)}:s0")
        assert f"{run_id(1)}:s1" in queued(busy.environment)
        # A handler whose own record is under way waits for it, though another receiver finds nothing more.
        waits = asyncio.create_task(busy.poller.work_off("again-0"))
        put(busy.environment, running(2))
        await busy.poller.work_off(f"{run_id(2)}:s0")
        assert busy.rounds == 1
        assert not waits.done()
        busy.over = True
        busy.free.set()
        await asyncio.wait([waits, stays])


async def test_one_handler_stays_as_long_as_anything_is_due_and_then_the_next_does() -> None:
    busy = Busy(batch=10)
    await busy.send_one()
    async with asyncio.timeout(10):
        first = asyncio.create_task(busy.poller.work_off("first"))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first])
        next_one = asyncio.create_task(busy.poller.work_off("next"))
        before = busy.rounds
        while busy.rounds < before + 5:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0)
        assert not next_one.done()
        busy.over = True
        await next_one


async def test_handlers_leave_where_the_tick_fails() -> None:
    busy = Busy(batch=10)

    def fail() -> float:
        raise KeyError("a secret")

    busy.environment.bus.operations = fail  # type: ignore[assignment, method-assign] # a tick that fails
    async with asyncio.timeout(10):
        stays = asyncio.create_task(busy.poller.work_off("one"))
        others = [asyncio.create_task(busy.poller.work_off("two")) for _ in range(3)]
        await asyncio.wait([stays, *others])
    assert isinstance(stays.exception(), RuntimeError)
    assert [other.exception() for other in others] == [None] * 3
