"""`deadline` and `notBefore`: nothing begins too early, and nothing goes on for ever."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest
import pytest_asyncio

from sandbox.resource_manager import Fault, InstanceSeed, ScaleSetSeed
from tests.support.environment import OPERATIONS, REQUESTS
from tests.support.time_travel import Journey, journey, tick

pytestmark = pytest.mark.asyncio(loop_scope="module")

SUBSCRIPTIONS = [f"{number:08x}-4444-4444-8444-444444444444" for number in range(20)]
HOUR = timedelta(hours=1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def there() -> AsyncIterator[Journey]:
    async with journey(SUBSCRIPTIONS) as there:
        yield there


@pytest.fixture
def subscription(there: Journey) -> str:
    subscription = SUBSCRIPTIONS.pop()
    instances = tuple(InstanceSeed(each, duration=timedelta(minutes=2)) for each in ("0", "1"))
    there.environment.arm.seed(ScaleSetSeed(subscription, "shop", "web", instances=instances))
    return subscription


def order(there: Journey, subscription: str, path: str, **what: object) -> None:
    there.environment.arm.faults.add(Fault(path=f"/subscriptions/{subscription}/{path}", **what))  # type: ignore[arg-type]


async def test_not_before_waits_in_the_queue_and_asks_arm_nothing(there: Journey, subscription: str) -> None:
    begins = there.clock() + HOUR
    await there.send(subscription, "tonight", instanceIds=["0"], notBefore=begins.isoformat())
    await tick(there.job)
    (waiting,) = there.environment.bus.peek(REQUESTS)
    assert waiting.state == "scheduled"
    assert waiting.scheduled_for == begins
    there.clock.advance(HOUR - timedelta(seconds=1))
    await tick(there.job)
    assert there.calls(subscription) == []

    ended = await there.finish("tonight")
    assert ended["tonight"].status == "Succeeded"
    (post,) = there.calls(subscription, "/performMaintenance")
    assert post.time >= begins
    (accepted,) = [event for event in there.environment.events if event.message_id == "tonight:accepted"]
    assert datetime.fromisoformat(accepted.data["deadline"]) == begins + timedelta(hours=6)


async def test_a_not_before_that_has_passed_holds_nothing_up(there: Journey, subscription: str) -> None:
    await there.send(subscription, "by now", requestId="by-now", notBefore=(there.clock() - HOUR).isoformat())
    await tick(there.job)
    assert len(there.calls(subscription, "/performMaintenance")) == 1
    await there.finish("by-now")


async def test_a_deadline_that_has_passed_rejects_the_request(there: Journey, subscription: str) -> None:
    deadline = (there.clock() - timedelta(seconds=1)).isoformat()
    await there.send(subscription, "too-late", instanceIds=["0"], deadline=deadline)
    ended = await there.finish("too-late")
    assert ended["too-late"].kind == "rejected"
    assert ended["too-late"].data["problems"][0]["field"] == "deadline"
    assert there.calls(subscription) == []


async def test_a_deadline_that_passes_before_arm_lets_it_begin_ends_it_with_what_arm_said(
    there: Journey, subscription: str
) -> None:
    words = {"code": "TooManyRequests", "message": "Come back in two hours."}
    order(there, subscription, "*/performMaintenance", status=429, json=words, headers={"Retry-After": "7200"})
    deadline = there.clock() + HOUR
    await there.send(subscription, "throttled", instanceIds=["0", "1"], deadline=deadline.isoformat())
    ended = await there.finish("throttled")
    event = ended["throttled"]
    assert event.status == "TimedOut"
    assert event.data["error"]["details"][0]["code"] == "TooManyRequests"
    assert event.data["error"]["details"][0]["message"] == "Come back in two hours."
    assert event.outcomes == {"0": "NotAttempted", "1": "NotAttempted"}
    assert datetime.fromisoformat(event.data["end"]) >= deadline
    # Not even for a last look: ARM had forbidden it.
    assert len(there.calls(subscription, "/virtualMachineScaleSets/")) == 2


async def test_an_operation_past_its_deadline_ends_with_what_the_views_showed_last(
    there: Journey, subscription: str
) -> None:
    order(there, subscription, "*/performMaintenance", headers={"Location": None, "Azure-AsyncOperation": None})
    instances = tuple(InstanceSeed(each, duration=2 * HOUR) for each in ("0", "1"))
    there.environment.arm.seed(ScaleSetSeed(subscription, "shop", "web", instances=instances))
    await there.send(subscription, "slow", deadline=(there.clock() + timedelta(minutes=5)).isoformat())
    ended = await there.finish("slow")
    assert ended["slow"].status == "TimedOut"
    assert ended["slow"].outcomes == {"0": "Unknown", "1": "Unknown"}
    assert ended["slow"].data["error"]["details"][0]["code"] == "InstancesPending"


async def test_no_poll_is_later_than_the_deadline_and_the_last_one_counts(there: Journey, subscription: str) -> None:
    instances = (InstanceSeed("0", duration=timedelta(seconds=85)),)
    there.environment.arm.seed(ScaleSetSeed(subscription, "shop", "web", instances=instances))
    deadline = there.clock() + timedelta(seconds=90)
    await there.send(subscription, "just", deadline=deadline.isoformat())
    await tick(there.job)
    there.clock.advance(timedelta(minutes=1))
    await tick(there.job)
    dues = [message.scheduled_for for message in there.environment.bus.peek(OPERATIONS)]
    assert dues == [deadline]
    ended = await there.finish("just")
    assert ended["just"].status == "Succeeded"
