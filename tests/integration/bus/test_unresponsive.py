"""An unresponsive Service Bus: connections stay open, and nothing is received. The tick ends by its own time limits."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
import pytest_asyncio

from maintenance.settings import read_settings
from maintenance.worker import Worker
from sandbox.resource_manager import ArmEvent, CallReceived, InstanceSeed, ScaleSetSeed
from tests.support.time_travel import LOCK, REAL_TIME, TICK, Journey, journey, tick

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    # The SDK does not close the sockets of connections that the other side has reset.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

SUBSCRIPTIONS = ["00000001-7777-4777-8777-777777777777", "00000002-7777-4777-8777-777777777777"]
# Seconds. The first suffices on an idle machine; on a slow one even calls that have a response take longer.
CALL_TIMEOUTS = (3.0, 10.0, 30.0, 90.0)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def azure() -> AsyncIterator[Journey]:
    async with journey(SUBSCRIPTIONS) as azure:
        yield azure
    gc.collect()  # here, where its warnings are ignored, and not in another module's test


async def accepted(azure: Journey, name: str) -> str:
    """Send a request that ARM accepts; its first poll is due after a tick. Returns its subscription id."""
    subscription = SUBSCRIPTIONS.pop()
    seeds = tuple(InstanceSeed(str(number), duration=timedelta(seconds=30)) for number in range(2))
    azure.environment.arm.seed(ScaleSetSeed(subscription, "shop", "web", instances=seeds))
    await azure.send(subscription, name)
    await tick(azure.job)
    assert len(azure.calls(subscription, "/performMaintenance")) == 1, azure.environment.left_over()
    return subscription


@asynccontextmanager
async def hasty_worker(azure: Journey, call_timeout: float) -> AsyncIterator[Worker]:
    """Another worker beside the environment's own, with a short time limit for its calls to Service Bus (seconds)."""
    scopes = " ".join(call.path.split("/")[2] for call in azure.environment.posts())
    names = azure.environment.app_settings(**REAL_TIME, MAINTENANCE_ALLOWED_SCOPES=scopes)
    worker = Worker(read_settings(names), now=azure.clock, bus_timeout=call_timeout, patience=call_timeout)
    try:
        yield worker
    finally:
        await worker.close()


async def check(azure: Journey, subscription: str, name: str) -> None:
    """Assert that the request succeeds, once, and that each instance was maintained once."""
    ended = await azure.finish(name)
    assert ended[name].status == "Succeeded"
    published = [event.kind for event in azure.environment.events if event.data["requestId"] == name]
    assert sorted(published) == ["accepted", "completed"]
    reports = azure.environment.arm.instances(subscription, "shop", "web")
    assert {report.maintenance_count for report in reports} == {1}


async def test_tick_on_unresponsive_bus_ends_and_request_succeeds_once(azure: Journey) -> None:
    subscription = await accepted(azure, "unresponsive")
    async with hasty_worker(azure, CALL_TIMEOUTS[0]) as worker:
        # Opens its receivers; nothing is due yet.
        await worker.poll()
        azure.environment.bus.faults.stop_responding()
        azure.clock.advance(TICK)
        # It ends at all; without time limits it would wait for ever.
        assert (await worker.poll()).persisted == 0
        azure.environment.bus.faults.reset()
    await check(azure, subscription, "unresponsive")


async def test_bus_unresponsive_during_tick_ends_it_and_request_succeeds_once(azure: Journey) -> None:
    subscription = await accepted(azure, "becomes-unresponsive")
    stopped: list[bool] = []

    def on_event(event: ArmEvent) -> None:
        if isinstance(event, CallReceived) and "/operations/" in event.call.path and not stopped:
            stopped.append(True)
            azure.environment.bus.faults.stop_responding()

    azure.environment.arm.observers.append(on_event)
    azure.clock.advance(TICK)
    for seconds in CALL_TIMEOUTS:
        async with hasty_worker(azure, seconds) as worker:
            await worker.poll()
            azure.environment.bus.faults.reset()
        if stopped:
            break
        # What it has received without getting further is redelivered.
        azure.clock.advance(LOCK)
    assert stopped
    await check(azure, subscription, "becomes-unresponsive")
