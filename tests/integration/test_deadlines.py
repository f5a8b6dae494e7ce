"""`deadline` and `notBefore`: no request starts too early, and none runs for ever."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest
import pytest_asyncio

from sandbox.resource_manager import Fault, InstanceSeed, ScaleSetSeed
from tests.support.time_travel import Journey, journey, tick

pytestmark = pytest.mark.asyncio(loop_scope="module")

SUBSCRIPTIONS = [f"{number:08x}-4444-4444-8444-444444444444" for number in range(20)]
HOUR = timedelta(hours=1)
SLICE = timedelta(minutes=10)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def azure() -> AsyncIterator[Journey]:
    async with journey(SUBSCRIPTIONS) as azure:
        yield azure


@pytest.fixture
def subscription(azure: Journey) -> str:
    subscription = SUBSCRIPTIONS.pop()
    instances = tuple(InstanceSeed(each, duration=timedelta(minutes=2)) for each in ("0", "1"))
    azure.environment.arm.seed(ScaleSetSeed(subscription, "shop", "web", instances=instances))
    return subscription


def add_fault(azure: Journey, subscription: str, path: str, **what: object) -> None:
    azure.environment.arm.faults.add(Fault(path=f"/subscriptions/{subscription}/{path}", **what))  # type: ignore[arg-type]


async def test_request_before_not_before_is_scheduled_without_calling_arm(azure: Journey, subscription: str) -> None:
    begins = azure.clock() + HOUR
    await azure.send(subscription, "tonight", instanceIds=["0"], notBefore=begins.isoformat())
    await tick(azure.job)
    while azure.clock() < begins - timedelta(seconds=1):
        # A record waits in slices, so that it meets a cancellation in time.
        (waiting,) = azure.records(subscription)
        assert (waiting.subject, waiting.state) == ("plan", "scheduled")
        assert waiting.scheduled_for == min(azure.clock() + SLICE, begins)
        azure.clock.advance(min(SLICE, begins - azure.clock() - timedelta(seconds=1)))
        await tick(azure.job)
    assert azure.calls(subscription) == []

    ended = await azure.finish("tonight")
    assert ended["tonight"].status == "Succeeded"
    (post,) = azure.calls(subscription, "/performMaintenance")
    assert post.time >= begins
    event_id = f"{ended['tonight'].run_id}:accepted"
    (accepted,) = [event for event in azure.environment.events if event.message_id == event_id]
    assert datetime.fromisoformat(accepted.data["deadline"]) == begins + timedelta(hours=6)


async def test_not_before_in_the_past_starts_at_once(azure: Journey, subscription: str) -> None:
    await azure.send(subscription, "by now", requestId="by-now", notBefore=(azure.clock() - HOUR).isoformat())
    await tick(azure.job)
    assert len(azure.calls(subscription, "/performMaintenance")) == 1
    await azure.finish("by-now")


async def test_deadline_in_the_past_rejects_request(azure: Journey, subscription: str) -> None:
    deadline = (azure.clock() - timedelta(seconds=1)).isoformat()
    await azure.send(subscription, "too-late", instanceIds=["0"], deadline=deadline)
    ended = await azure.finish("too-late")
    assert ended["too-late"].kind == "rejected"
    assert ended["too-late"].data["problems"][0]["field"] == "deadline"
    assert azure.calls(subscription) == []


async def test_deadline_during_throttling_times_out_with_arms_error(azure: Journey, subscription: str) -> None:
    error = {"code": "TooManyRequests", "message": "Come back in two hours."}
    add_fault(azure, subscription, "*/performMaintenance", status=429, json=error, headers={"Retry-After": "7200"})
    deadline = azure.clock() + HOUR
    await azure.send(subscription, "throttled", instanceIds=["0", "1"], deadline=deadline.isoformat())
    ended = await azure.finish("throttled")
    event = ended["throttled"]
    assert event.status == "TimedOut"
    assert event.data["error"]["details"][0]["code"] == "TooManyRequests"
    assert event.data["error"]["details"][0]["message"] == "Come back in two hours."
    assert event.outcomes == {"0": "NotAttempted", "1": "NotAttempted"}
    assert datetime.fromisoformat(event.data["end"]) >= deadline
    # The views are not read again, since ARM's pause is not over.
    methods = [call.method for call in azure.calls(subscription, "/virtualMachineScaleSets/")]
    assert methods.index("POST") == len(methods) - 1


async def test_deadline_during_maintenance_times_out_with_unknown_outcomes(azure: Journey, subscription: str) -> None:
    add_fault(azure, subscription, "*/performMaintenance", headers={"Location": None, "Azure-AsyncOperation": None})
    instances = tuple(InstanceSeed(each, duration=2 * HOUR) for each in ("0", "1"))
    azure.environment.arm.seed(ScaleSetSeed(subscription, "shop", "web", instances=instances))
    await azure.send(subscription, "slow", deadline=(azure.clock() + timedelta(minutes=5)).isoformat())
    ended = await azure.finish("slow")
    assert ended["slow"].status == "TimedOut"
    assert ended["slow"].outcomes == {"0": "Unknown", "1": "Unknown"}
    assert ended["slow"].data["error"]["details"][0]["code"] == "InstancesPending"


async def test_last_poll_is_at_the_deadline_and_can_succeed(azure: Journey, subscription: str) -> None:
    instances = (InstanceSeed("0", duration=timedelta(seconds=85)),)
    azure.environment.arm.seed(ScaleSetSeed(subscription, "shop", "web", instances=instances))
    deadline = azure.clock() + timedelta(seconds=90)
    await azure.send(subscription, "just", deadline=deadline.isoformat())
    await tick(azure.job)
    azure.clock.advance(timedelta(minutes=1))
    await tick(azure.job)
    assert [record.scheduled_for for record in azure.records(subscription)] == [deadline]
    ended = await azure.finish("just")
    assert ended["just"].status == "Succeeded"
