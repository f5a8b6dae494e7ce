"""One timer for many calls: each ends in its time, whoever else is under way."""

from __future__ import annotations

import asyncio

import pytest

from maintenance.arm.client import TimeLimit

SHORT = 0.01


async def never(limit: TimeLimit) -> None:
    with limit:
        await asyncio.Event().wait()


async def later(limit: TimeLimit, begin: asyncio.Event) -> None:
    await begin.wait()
    await never(limit)


async def outcomes(*tasks: asyncio.Task[None]) -> list[type[BaseException] | None]:
    return [type(told) if told else None for told in await asyncio.gather(*tasks, return_exceptions=True)]


async def test_calls_that_take_too_long_are_told_so_each_in_its_turn() -> None:
    limit, begin = TimeLimit(SHORT), asyncio.Event()
    async with asyncio.timeout(5):
        first, second = (asyncio.create_task(never(limit)) for _ in range(2))
        third = asyncio.create_task(later(limit, begin))
        assert await outcomes(first, second) == [TimeoutError, TimeoutError]
        begin.set()
        assert await outcomes(third) == [TimeoutError]


class HandMovedLoop(asyncio.SelectorEventLoop):
    now = 0.0

    def time(self) -> float:
        return self.now


def test_a_call_that_began_later_ends_later() -> None:
    async def story() -> None:
        limit = TimeLimit(45)
        first = asyncio.create_task(never(limit))
        await asyncio.sleep(0)
        loop.now = 30
        second = asyncio.create_task(never(limit))
        await asyncio.sleep(0)
        loop.now = 45
        assert await outcomes(first) == [TimeoutError]
        assert not second.done()
        third = asyncio.create_task(never(limit))
        loop.now = 75
        assert await outcomes(second) == [TimeoutError]
        assert not third.done()
        third.cancel()
        assert await outcomes(third) == [asyncio.CancelledError]

    loop = HandMovedLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(story())


async def test_a_call_that_ended_in_time_is_left_alone_afterwards() -> None:
    limit = TimeLimit(SHORT)
    async with asyncio.timeout(5):
        with limit:
            await asyncio.sleep(0)
        # This one began after it, so its time is over when this one's is.
        assert await outcomes(asyncio.create_task(never(limit))) == [TimeoutError]
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_what_a_call_raises_itself_is_not_a_time_out() -> None:
    with pytest.raises(ValueError, match="no"), TimeLimit(60):
        raise ValueError("no")


async def test_who_is_canceled_from_outside_is_canceled() -> None:
    task = asyncio.create_task(never(TimeLimit(60)))
    await asyncio.sleep(0)
    task.cancel()
    assert await outcomes(task) == [asyncio.CancelledError]


async def test_who_is_canceled_from_outside_while_its_time_runs_out_is_canceled() -> None:
    async def call() -> None:
        with TimeLimit(SHORT):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                task.cancel()
                raise

    task = asyncio.create_task(call())
    async with asyncio.timeout(5):
        assert await outcomes(task) == [asyncio.CancelledError]


async def test_a_call_that_ends_all_the_same_is_not_told() -> None:
    async def call() -> str:
        with TimeLimit(SHORT):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return "an answer"
        return "nothing"

    async with asyncio.timeout(5):
        task = asyncio.create_task(call())
        assert await task == "an answer"
        assert task.cancelling() == 0


async def test_a_task_has_one_call_at_a_time() -> None:
    limit = TimeLimit(60)
    with pytest.raises(RuntimeError, match="within a call"), limit, limit:
        pass
    with limit:
        pass
