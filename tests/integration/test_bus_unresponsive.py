"""An unresponsive Service Bus: connections stay open, and nothing is received. The tick ends by its own time limits."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio

from sandbox.resource_manager import ArmEvent, CallReceived, InstanceSeed, ScaleSetSeed
from tests.conformance.namespace import close_forgotten
from tests.support.time_travel import Journey, journey, tick

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    # The SDK does not close the sockets of connections that the other side has reset.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

SUBSCRIPTIONS = ["00000001-7777-4777-8777-777777777777", "00000002-7777-4777-8777-777777777777"]
# Seconds. Calls that fail only because the machine is slow are retried as well, so no result depends on this.
BUS_TIMEOUT = 3.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def azure() -> AsyncIterator[Journey]:
    async with journey(SUBSCRIPTIONS, worker_options={"bus_timeout": BUS_TIMEOUT, "patience": BUS_TIMEOUT}) as azure:
        yield azure
        await close_forgotten(azure.environment.bus)
    gc.collect()  # here, where its warnings are ignored, and not in another module's test


async def accepted(azure: Journey, name: str) -> str:
    """Send a request that ARM accepts and whose first poll is due; return its subscription id."""
    subscription = SUBSCRIPTIONS.pop()
    seeds = tuple(InstanceSeed(str(number), duration=timedelta(seconds=30)) for number in range(2))
    azure.environment.arm.seed(ScaleSetSeed(subscription, "shop", "web", instances=seeds))
    await azure.send(subscription, name)
    while not azure.calls(subscription, "/performMaintenance"):
        await tick(azure.job)
        azure.clock.advance(timedelta(minutes=1))
    return subscription


async def check(azure: Journey, subscription: str, name: str) -> None:
    """Assert that the request succeeds, once, and that each instance was maintained once."""
    azure.environment.bus.faults.reset()
    ended = await azure.finish(name)
    assert ended[name].status == "Succeeded"
    published = [event.kind for event in azure.environment.events if event.data["requestId"] == name]
    assert sorted(published) == ["accepted", "completed"]
    reports = azure.environment.arm.instances(subscription, "shop", "web")
    assert {report.maintenance_count for report in reports} == {1}


async def test_tick_on_unresponsive_bus_ends_and_request_succeeds_once(azure: Journey) -> None:
    subscription = await accepted(azure, "unresponsive")
    azure.environment.bus.faults.stop_responding()
    # It ends at all; without time limits it would wait for ever.
    assert (await azure.job.worker.poll()).persisted == 0
    await check(azure, subscription, "unresponsive")


async def test_bus_unresponsive_during_tick_ends_it_and_request_succeeds_once(azure: Journey) -> None:
    subscription = await accepted(azure, "becomes-unresponsive")
    stopped: list[bool] = []

    def on_event(event: ArmEvent) -> None:
        if isinstance(event, CallReceived) and "/operations/" in event.call.path and not stopped:
            stopped.append(True)
            azure.environment.bus.faults.stop_responding()

    azure.environment.arm.observers.append(on_event)
    while not stopped:
        await azure.job.worker.poll()
        azure.clock.advance(timedelta(seconds=1))
    await check(azure, subscription, "becomes-unresponsive")
