"""Gates over real SDKs: a wave waits for its proceed, under a clock moved by hand."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio

from sandbox.resource_manager import InstanceSeed, ScaleSetSeed
from tests.support.time_travel import Journey, journey, tick

pytestmark = pytest.mark.asyncio(loop_scope="module")

SUBSCRIPTIONS = [f"{number:08x}-9999-4999-8999-999999999999" for number in range(2)]
MINUTE = timedelta(minutes=1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def azure() -> AsyncIterator[Journey]:
    async with journey(SUBSCRIPTIONS) as azure:
        yield azure


@pytest.fixture
def subscription(azure: Journey) -> str:
    subscription = SUBSCRIPTIONS.pop()
    instances = tuple(InstanceSeed(str(number), duration=MINUTE) for number in range(4))
    azure.environment.arm.seed(ScaleSetSeed(subscription, "shop", "web", instances=instances))
    azure.environment.events.clear()
    return subscription


def posted(azure: Journey, subscription: str) -> list[list[str]]:
    return [json.loads(call.body)["instanceIds"] for call in azure.calls(subscription, "/performMaintenance")]


async def later(azure: Journey, minutes: int) -> None:
    for _ in range(minutes):
        azure.clock.advance(MINUTE)
        await tick(azure.job)


async def test_rollout_waits_at_each_gate_for_its_proceed(azure: Journey, subscription: str) -> None:
    rollout = {"maxInstancesPerWave": 2, "gate": "everyWave", "gateTimeout": "PT2H"}
    await azure.send(subscription, "gated", rollout=rollout)
    await later(azure, 2)
    (asked,) = [event for event in azure.environment.events if event.kind == "awaiting"]
    assert (asked.data["wave"], asked.data["instanceIds"], asked.data["atTimeout"]) == (1, ["0", "1"], "stop")
    reads = len(azure.calls(subscription, "/virtualMachines"))
    await later(azure, 30)
    assert posted(azure, subscription) == []
    assert len(azure.calls(subscription, "/virtualMachines")) == reads, "views are read again once it is open"

    await azure.send(subscription, "too soon", proceed="gated", wave=3)
    await azure.send(subscription, "go", proceed="gated", wave=1, reason="drained")
    await later(azure, 12)
    (answer,) = [event for event in azure.environment.events if event.data["requestId"] == "go"]
    assert (answer.kind, answer.data["proceeds"], answer.data["wave"]) == ("accepted", "gated", 1)
    assert posted(azure, subscription) == [["0", "1"]]

    await azure.send(subscription, "on", proceed="gated", wave=2)
    ended = (await azure.finish("gated"))["gated"]
    assert ended.status == "Succeeded"
    assert posted(azure, subscription) == [["0", "1"], ["2", "3"]]
    assert [event.data["wave"] for event in azure.environment.events if event.kind == "awaiting"] == [1, 2]
    assert subscription not in str(azure.environment.entries("lease"))


async def test_gate_that_nobody_opens_stops_the_rollout(azure: Journey, subscription: str) -> None:
    rollout = {"maxInstancesPerWave": 2, "gate": "everyWave", "gateTimeout": "PT20M"}
    await azure.send(subscription, "unheard", rollout=rollout)
    await azure.send(subscription, "first", proceed="unheard", wave=1)
    ended = (await azure.finish("unheard"))["unheard"]
    assert (ended.status, ended.data["error"]["code"]) == ("PartiallySucceeded", "GateTimedOut")
    assert ended.outcomes == {"0": "Completed", "1": "Completed", "2": "NotAttempted", "3": "NotAttempted"}
