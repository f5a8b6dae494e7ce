"""Clocks that are wrong: a worker ten minutes behind Azure, over the real SDK."""

from __future__ import annotations

from datetime import timedelta

import pytest

from sandbox.resource_manager import InstanceSeed, ScaleSetSeed
from tests.support.time_travel import journey

SUBSCRIPTION = "00000001-8888-4888-8888-888888888888"
TEN_MINUTES = timedelta(minutes=10)
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize("clock_error", [-TEN_MINUTES, timedelta(minutes=4)])
async def test_run_under_a_wrong_clock_succeeds_and_polls_no_more_often_than_allowed(clock_error: timedelta) -> None:
    async with journey([SUBSCRIPTION], clock_error=clock_error, MAINTENANCE_DEFAULT_POLL_INTERVAL="PT20S") as azure:
        seeds = tuple(InstanceSeed(str(number), duration=timedelta(minutes=3)) for number in range(2))
        azure.environment.arm.seed(ScaleSetSeed(SUBSCRIPTION, "shop", "web", instances=seeds))
        polled_at = []

        def on_event(event: object) -> None:
            if "/operations/" in getattr(getattr(event, "call", None), "path", ""):
                polled_at.append(azure.clock())

        azure.environment.arm.observers.append(on_event)
        began = azure.clock()
        await azure.send(SUBSCRIPTION, "r")
        ended = await azure.finish("r", step=SECOND)
        assert ended["r"].status == "Succeeded"
        assert len(azure.calls(SUBSCRIPTION, "/performMaintenance")) == 1
        pauses = [after - before for before, after in zip([began, *polled_at], polled_at, strict=False)]
        # The shortest that may be is 10 s.
        assert min(pauses) >= 10 * SECOND, pauses
        assert azure.clock() - began < timedelta(minutes=30)
