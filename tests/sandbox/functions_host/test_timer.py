"""Timers, on a clock that is turned by hand."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta

import azure.functions as func
import pytest

from sandbox.functions_host import FunctionsHost
from tests.support.limit import LIMIT

START = datetime(2024, 5, 1, 10, 0, 0, tzinfo=UTC)


class HandClock:
    """Stands still until it is turned. `asleep` holds when somebody waits for it, and until when."""

    def __init__(self) -> None:
        self._now = START
        self._turned = asyncio.Condition()
        self.asleep: asyncio.Queue[datetime] = asyncio.Queue()

    def now(self) -> datetime:
        return self._now

    async def sleep_until(self, moment: datetime) -> None:
        self.asleep.put_nowait(moment)
        async with self._turned:
            await self._turned.wait_for(lambda: self._now >= moment)

    async def turn_to(self, seconds: float) -> None:
        async with self._turned:
            self._now = START + timedelta(seconds=seconds)
            self._turned.notify_all()

    async def due(self) -> float:
        """In how many seconds from the start the timer that goes to sleep next, or did, is due."""
        async with asyncio.timeout(LIMIT):
            return (await self.asleep.get() - START).total_seconds()


class Ticks:
    """An app with one timer whose runs are told apart, and end when they are let."""

    def __init__(self, *, run_on_startup: bool = False) -> None:
        self.began: asyncio.Queue[bool] = asyncio.Queue()
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.under_way = 0
        self.most_under_way = 0
        self.ended = 0
        self.app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
        self.app.timer_trigger(arg_name="timer", schedule="*/10 * * * * *", run_on_startup=run_on_startup)(self.tick())

    def tick(self) -> Callable[[func.TimerRequest], Awaitable[None]]:
        async def tick(timer: func.TimerRequest) -> None:
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
            self.began.put_nowait(timer.past_due)
            await self.may_end.wait()
            self.under_way -= 1
            self.ended += 1

        return tick

    async def past_due(self) -> bool:
        """Waits for the next run to begin and says whether it was told that it is past due."""
        async with asyncio.timeout(LIMIT):
            return await self.began.get()


@contextlib.asynccontextmanager
async def running(ticks: Ticks, clock: HandClock | None = None) -> AsyncIterator[FunctionsHost]:
    async with FunctionsHost(ticks.app, environment={}, clock=clock or HandClock()) as host:
        yield host


async def test_it_fires_when_it_is_due_and_not_before() -> None:
    ticks, clock = Ticks(), HandClock()
    async with running(ticks, clock):
        assert await clock.due() == 10
        await clock.turn_to(9.9)
        await asyncio.sleep(0)
        assert ticks.began.empty()
        await clock.turn_to(10)
        assert await ticks.past_due() is False
        assert await clock.due() == 20
        await clock.turn_to(20.2)
        assert await ticks.past_due() is False
        assert await clock.due() == 30
    assert ticks.ended == 2


async def test_it_is_not_fired_again_while_a_run_is_outstanding() -> None:
    ticks, clock = Ticks(), HandClock()
    ticks.may_end.clear()
    async with running(ticks, clock):
        await clock.due()
        await clock.turn_to(10)
        await ticks.past_due()
        await clock.turn_to(35)
        for _ in range(50):  # turns of the loop in which a second run could begin
            await asyncio.sleep(0)
        assert ticks.began.empty()
        ticks.may_end.set()
        assert await ticks.past_due() is True, "20 has passed meanwhile: it is made up for, once"
        assert await clock.due() == 20
        assert await clock.due() == 40
    assert ticks.most_under_way == 1


async def test_run_on_startup() -> None:
    ticks, clock = Ticks(run_on_startup=True), HandClock()
    async with running(ticks, clock):
        await ticks.past_due()
        assert await clock.due() == 10


async def test_fired_by_hand_and_twice_at_once() -> None:
    ticks = Ticks()
    ticks.may_end.clear()
    async with running(ticks) as host, asyncio.TaskGroup() as group:
        group.create_task(host.fire("tick"))
        group.create_task(host.fire("tick", past_due=True))
        assert sorted([await ticks.past_due(), await ticks.past_due()]) == [False, True]
        assert ticks.under_way == 2
        ticks.may_end.set()
    assert ticks.ended == 2


async def test_firing_waits_for_the_end_and_outlives_an_error(caplog: pytest.LogCaptureFixture) -> None:
    app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)

    @app.timer_trigger(arg_name="timer", schedule="0 0 0 * * *")
    def fails(timer: func.TimerRequest) -> None:
        raise LookupError("it is gone")

    async with FunctionsHost(app, environment={}, clock=HandClock()) as host:
        with caplog.at_level(logging.INFO):
            await host.fire("fails")
        with pytest.raises(LookupError, match="'other'"):
            await host.fire("other")
    assert [record.getMessage().rsplit(" ", 2)[0] for record in caplog.records if record.exc_info] == [
        "fails timer failed"
    ]


async def test_log_says_what_each_function_waits_for_and_passes_over_timers_that_succeed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ticks = Ticks()
    with caplog.at_level(logging.INFO, "sandbox"):
        async with FunctionsHost(ticks.app, environment={}, clock=HandClock()) as host:
            await host.fire("tick")
    assert ticks.ended == 1
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("sandbox")]
    assert lines == ["tick waits for the schedule */10 * * * * *"]


async def test_stopping_waits_for_the_run_that_is_under_way() -> None:
    ticks, clock = Ticks(), HandClock()
    ticks.may_end.clear()
    async with running(ticks, clock):
        await clock.due()
        await clock.turn_to(10)
        await ticks.past_due()
        asyncio.get_running_loop().call_later(0.05, ticks.may_end.set)
    assert ticks.ended == 1


async def test_a_run_that_takes_too_long_is_cancelled(caplog: pytest.LogCaptureFixture) -> None:
    app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
    cancelled = asyncio.Event()

    @app.timer_trigger(arg_name="timer", schedule="0 0 0 * * *")
    async def hangs(timer: func.TimerRequest) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    host_json = {"functionTimeout": "00:00:00.05"}
    async with FunctionsHost(app, environment={}, host_json=host_json, clock=HandClock()) as host:
        await host.fire("hangs")
    assert cancelled.is_set()
    assert "hangs timer timed out" in caplog.text


async def test_a_function_gets_a_context_and_must_not_return_anything(caplog: pytest.LogCaptureFixture) -> None:
    app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
    contexts: list[func.Context] = []

    @app.timer_trigger(arg_name="timer", schedule="0 0 0 * * *")
    def returns(timer: func.TimerRequest, context: func.Context) -> str:
        contexts.append(context)
        return "something"

    async with FunctionsHost(app, environment={}, clock=HandClock()) as host:
        await host.fire("returns")
        await host.fire("returns")
    first, second = contexts
    assert first.function_name == "returns"
    assert first.invocation_id != second.invocation_id
    assert "has no $return binding but returned str" in caplog.text
