"""Handlers that work off what is due: one stays for all, also while more falls due without end."""

from __future__ import annotations

import asyncio

from maintenance.domain.messages import Delivery, Record
from maintenance.operations.poller import Poller
from maintenance.operations.units import Tick
from tests.support.limit import LIMIT
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

    async def begun(self) -> None:
        while not self.rounds:  # noqa: ASYNC110 - the tick has no event for it
            await asyncio.sleep(0)

    async def send_one(self) -> None:
        await self.environment.bus.send([Record(f"again-{self.rounds}", b"", NOW, AGAIN)])


async def test_handlers_leave_at_once_where_one_stays_and_what_they_sent_is_dealt_with() -> None:
    busy = Busy(batch=10)
    await busy.send_one()
    async with asyncio.timeout(LIMIT):
        stays = asyncio.create_task(busy.poller.work_off())
        await busy.begun()
        for number in range(20):
            put(busy.environment, running(number))
            await busy.poller.work_off()
        assert not stays.done()
        busy.over = True
        await stays
    assert set(queued(busy.environment)) == {f"{run_id(number)}:s1" for number in range(20)}


async def test_record_of_a_handler_that_comes_later_does_not_wait_for_what_is_under_way() -> None:
    busy = Busy(batch=10, receivers=2)
    busy.free.clear()
    await busy.send_one()
    async with asyncio.timeout(LIMIT):
        stays = asyncio.create_task(busy.poller.work_off())
        await busy.begun()
        put(busy.environment, running(1))
        await busy.poller.work_off()
        while f"{run_id(1)}:s1" not in queued(busy.environment):  # noqa: ASYNC110 - the tick has no event for it
            await asyncio.sleep(0)
        assert busy.rounds == 1
        busy.over = True
        busy.free.set()
        await stays


async def test_one_handler_stays_as_long_as_anything_is_due_and_then_the_next_does() -> None:
    busy = Busy(batch=10)
    await busy.send_one()
    async with asyncio.timeout(LIMIT):
        first = asyncio.create_task(busy.poller.work_off())
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first])
        next_one = asyncio.create_task(busy.poller.work_off())
        before = busy.rounds
        while busy.rounds < before + 5:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0)
        assert not next_one.done()
        busy.over = True
        await next_one


async def test_handler_stays_for_what_another_began_at_the_moment_its_own_tick_ended() -> None:
    poller = Busy(batch=10).poller
    tick, ended = poller.tick, 0
    others: list[asyncio.Task[None]] = []

    async def watched() -> Tick:
        nonlocal ended
        result = await tick()
        ended += 1
        if ended == 1:
            # It runs once the tick's task is done, and before the handler that stays is woken.
            loop = asyncio.get_running_loop()
            loop.call_soon(lambda: others.append(loop.create_task(poller.work_off())))
        return result

    poller.tick = watched  # type: ignore[method-assign] # another handler comes when it ends
    async with asyncio.timeout(LIMIT):
        await poller.work_off()
        assert ended == 2
        await asyncio.wait(others)


async def test_handler_that_comes_after_a_tick_that_failed_begins_anew() -> None:
    busy = Busy(batch=10)
    operations = busy.environment.bus.operations

    def fail() -> float:
        raise KeyError("a secret")

    busy.environment.bus.operations = fail  # type: ignore[assignment, method-assign] # a tick that fails
    async with asyncio.timeout(LIMIT):
        stays = asyncio.create_task(busy.poller.work_off())
        others = [asyncio.create_task(busy.poller.work_off()) for _ in range(3)]
        await asyncio.wait([stays, *others])
        assert isinstance(stays.exception(), RuntimeError)
        assert [other.exception() for other in others] == [None] * 3
        busy.environment.bus.operations = operations  # type: ignore[method-assign] # and one that does not
        put(busy.environment, running(1))
        await busy.poller.work_off()
    assert f"{run_id(1)}:s1" in queued(busy.environment)
