"""Time limit with one timer for concurrent calls: it behaves like `asyncio.timeout` for each of them."""

from __future__ import annotations

import asyncio
import selectors
from contextlib import suppress
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maintenance.arm.client import TimeLimit, _current_task

SHORT = 0.01


async def never(limit: TimeLimit) -> None:
    with limit:
        await asyncio.Event().wait()


async def later(limit: TimeLimit, begin: asyncio.Event) -> None:
    await begin.wait()
    await never(limit)


async def outcomes(*tasks: asyncio.Task[None]) -> list[type[BaseException] | None]:
    return [type(result) if result else None for result in await asyncio.gather(*tasks, return_exceptions=True)]


async def test_overdue_calls_time_out_with_one_timer() -> None:
    limit, begin = TimeLimit(SHORT), asyncio.Event()
    async with asyncio.timeout(60):
        first, second = (asyncio.create_task(never(limit)) for _ in range(2))
        third = asyncio.create_task(later(limit, begin))
        assert await outcomes(first, second) == [TimeoutError, TimeoutError]
        begin.set()
        assert await outcomes(third) == [TimeoutError]


class HandMovedLoop(asyncio.SelectorEventLoop):
    now = 0.0

    def time(self) -> float:
        return self.now


def test_call_that_began_later_times_out_later() -> None:
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


async def test_call_that_ended_in_time_is_not_canceled_afterwards() -> None:
    limit = TimeLimit(SHORT)
    async with asyncio.timeout(60):
        with limit:
            await asyncio.sleep(0)
        # This call began later, so the limit of the first one has passed when this one times out.
        assert await outcomes(asyncio.create_task(never(limit))) == [TimeoutError]
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_exception_of_call_is_not_a_time_out() -> None:
    with pytest.raises(ValueError, match="no"), TimeLimit(60):
        raise ValueError("no")


async def test_cancellation_from_outside_is_not_a_time_out() -> None:
    task = asyncio.create_task(never(TimeLimit(60)))
    await asyncio.sleep(0)
    task.cancel()
    assert await outcomes(task) == [asyncio.CancelledError]


async def test_cancellation_from_outside_during_time_out_is_not_a_time_out() -> None:
    async def call() -> None:
        with TimeLimit(SHORT):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                task.cancel()
                raise

    task = asyncio.create_task(call())
    async with asyncio.timeout(60):
        assert await outcomes(task) == [asyncio.CancelledError]


async def test_call_that_returns_during_time_out_does_not_time_out() -> None:
    async def call() -> str:
        with TimeLimit(SHORT):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return "a result"
        return "nothing"

    async with asyncio.timeout(60):
        task = asyncio.create_task(call())
        assert await task == "a result"
        assert task.cancelling() == 0


async def test_nested_call_of_one_task_is_refused() -> None:
    limit = TimeLimit(60)
    with pytest.raises(RuntimeError, match="cannot nest"), limit, limit:
        pass
    with limit:
        pass


class JumpingSelector(selectors.DefaultSelector):
    """Selector that moves the loop's clock to the next timer instead of waiting for it."""

    loop: HandMovedLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "every task waits for ever"
        self.loop.now += timeout
        return super().select(0)


LIMIT = 10


@dataclass(frozen=True, slots=True)
class Task:
    """A call: when it starts, how long it takes, when it is canceled from outside, and how it reacts to that.

    `survived`: the task has survived a cancellation before the call. Fractions are added to the times, so that neither
    the end nor the cancellation coincides with the end of a time limit.
    """

    survived: bool
    start: int
    duration: int
    cancel: int | None
    reaction: str

    async def run(self, limit: TimeLimit | None) -> str:
        """Run under a shared limit, or under `asyncio.timeout`."""
        if self.survived:
            _current_task().cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0)
        await asyncio.sleep(self.start)
        if limit is not None:
            with limit:
                return await self._call()
        async with asyncio.timeout(LIMIT):
            return await self._call()

    async def _call(self) -> str:
        try:
            await asyncio.sleep(self.duration + 0.25)
        except asyncio.CancelledError:
            match self.reaction:
                case "return":
                    return "canceled"
                case "raise":
                    raise ValueError("canceled") from None
                case "cancel again":
                    _current_task().cancel()
            raise
        return "done"


Outcome = tuple[str, float, int]


def run_all(tasks: list[Task], limit: TimeLimit | None) -> list[Outcome]:
    """Run concurrent calls; return the result or the exception of each, when it ended, and its cancellation count."""
    selector = JumpingSelector()
    loop = selector.loop = HandMovedLoop(selector)

    async def run_one(task: Task) -> Outcome:
        running = asyncio.create_task(task.run(limit))
        if task.cancel is not None:
            loop.call_at(task.cancel + 0.5, running.cancel)
        ended: list[float] = []
        running.add_done_callback(lambda _: ended.append(loop.time()))
        (result,) = await asyncio.gather(running, return_exceptions=True)
        return (result if isinstance(result, str) else type(result).__name__, ended[0], running.cancelling())

    async def run() -> list[Outcome]:
        return await asyncio.gather(*(run_one(task) for task in tasks))

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(run())


@settings(derandomize=True, max_examples=300, deadline=None)
@given(
    st.lists(
        st.builds(
            Task,
            survived=st.booleans(),
            start=st.integers(0, 15),
            duration=st.integers(0, 20),
            cancel=st.none() | st.integers(0, 30),
            reaction=st.sampled_from(["pass", "return", "raise", "cancel again"]),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_any_concurrent_calls_end_as_with_asyncio_timeout(tasks: list[Task]) -> None:
    assert run_all(tasks, TimeLimit(LIMIT)) == run_all(tasks, None)
