"""A subscription that ARM throttles is left alone; others are not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest
import pytest_asyncio

from maintenance.operations.records import read_record
from sandbox.resource_manager import Fault, InstanceSeed, ScaleSetSeed
from tests.support.environment import OPERATIONS, REQUESTS
from tests.support.time_travel import Journey, journey, tick

pytestmark = pytest.mark.asyncio(loop_scope="module")

SUBSCRIPTIONS = [f"{number:08x}-3333-4333-8333-333333333333" for number in range(20)]
PAUSE = timedelta(minutes=20)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def there() -> AsyncIterator[Journey]:
    # One at a time, so that it is certain which call came after the answer.
    async with journey(SUBSCRIPTIONS, MAINTENANCE_POLL_CONCURRENCY="1") as there:
        yield there


@pytest.fixture
def subscription() -> str:
    return SUBSCRIPTIONS.pop()


def seed(there: Journey, subscription: str, *, lasts: timedelta = timedelta(seconds=30)) -> None:
    instances = tuple(InstanceSeed(str(number), duration=lasts) for number in range(8))
    there.environment.arm.seed(ScaleSetSeed(subscription, "shop", "web", instances=instances))


def order(there: Journey, subscription: str, path: str, **what: object) -> None:
    there.environment.arm.faults.add(Fault(path=f"/subscriptions/{subscription}/{path}", **what))  # type: ignore[arg-type]


def dues(there: Journey, queue: str, subscription: str) -> list[datetime]:
    """When the messages about a subscription are due."""
    messages = there.environment.bus.peek(queue, 100)
    return [
        message.scheduled_for for message in messages if subscription.encode() in message.body and message.scheduled_for
    ]


async def test_after_a_429_no_call_is_made_for_the_subscription_and_others_go_on(
    there: Journey, subscription: str
) -> None:
    other = SUBSCRIPTIONS.pop()
    seed(there, subscription)
    seed(there, other)
    for number in range(3):
        await there.send(subscription, f"held-{number}", instanceIds=[str(number)])
    await there.send(other, "free", instanceIds=["0"])
    await tick(there.job)
    order(there, subscription, "*/operations/*", status=429, headers={"Retry-After": str(PAUSE.seconds)})
    before = len(there.calls(subscription))

    there.clock.advance(timedelta(minutes=1))
    asked_at = there.clock()
    await tick(there.job)
    await there.send(subscription, "late", instanceIds=["3"])
    await tick(there.job)

    # One call had the 429 for an answer; the other polls, and the new request, were put off without one.
    assert len(there.calls(subscription)) == before + 1
    polls = dues(there, OPERATIONS, subscription)
    assert len(polls) == 3
    assert len(set(polls)) == 3
    (clone,) = dues(there, REQUESTS, subscription)
    assert min(*polls, clone) >= asked_at + PAUSE
    ended = {event.data["requestId"] for event in there.environment.events if event.ends}
    assert "free" in ended
    assert not ended & {"held-0", "held-1", "held-2", "late"}

    endings = await there.finish("held-0", "held-1", "held-2", "late")
    assert {endings[f"held-{number}"].status for number in range(3)} == {"Succeeded"}
    assert endings["late"].status == "Succeeded"
    assert [call for call in there.calls(subscription)[before + 1 :] if call.time < asked_at + PAUSE] == []


@pytest.mark.parametrize("path", ["*/performMaintenance", "*/virtualMachines"])
async def test_a_429_to_a_new_request_holds_its_subscription_too(there: Journey, subscription: str, path: str) -> None:
    seed(there, subscription)
    order(there, subscription, path, status=429, headers={"Retry-After": str(PAUSE.seconds)})
    first, second = f"first-{subscription}", f"second-{subscription}"
    asked_at = there.clock()
    await there.send(subscription, first, instanceIds=["0"])
    await tick(there.job)
    before = len(there.calls(subscription))
    await there.send(subscription, second, instanceIds=["1"])
    await tick(there.job)

    assert len(there.calls(subscription)) == before
    clones = dues(there, REQUESTS, subscription)
    assert len(clones) == 2
    assert min(clones) >= asked_at + PAUSE
    endings = await there.finish(first, second)
    assert {endings[first].status, endings[second].status} == {"Succeeded"}


async def test_a_429_that_names_no_time_holds_for_a_little_while(there: Journey, subscription: str) -> None:
    seed(there, subscription)
    order(there, subscription, "*/virtualMachines", status=429)
    await there.send(subscription, "bare-0", instanceIds=["0"])
    await tick(there.job)
    before = len(there.calls(subscription))
    await there.send(subscription, "bare-1", instanceIds=["1"])
    await tick(there.job)
    assert len(there.calls(subscription)) == before
    there.clock.advance(timedelta(seconds=10))
    await there.send(subscription, "bare-2", instanceIds=["2"])
    await tick(there.job)
    assert len(there.calls(subscription, "/performMaintenance")) >= 1
    await there.finish("bare-0", "bare-1", "bare-2")


async def test_a_conflict_that_asks_to_wait_holds_nobody_else(there: Journey, subscription: str) -> None:
    seed(there, subscription)
    order(there, subscription, "*/performMaintenance", status=409, headers={"Retry-After": str(PAUSE.seconds)})
    await there.send(subscription, "waits", instanceIds=["0"])
    await tick(there.job)
    await there.send(subscription, "goes", instanceIds=["1"])
    await tick(there.job)
    assert [call.status for call in there.calls(subscription, "/performMaintenance")] == [409, 202]
    await there.finish("waits", "goes")


@pytest.mark.parametrize(
    "header",
    [
        {"x-ms-ratelimit-remaining-subscription-reads": "2"},
        {"x-ms-ratelimit-remaining-resource": "Microsoft.Compute/GetOperation3Min;2,Microsoft.Compute/Get30Min;700"},
    ],
    ids=["arm", "compute"],
)
async def test_when_few_calls_are_left_polls_are_spread_out(
    there: Journey, subscription: str, header: dict[str, str]
) -> None:
    seed(there, subscription, lasts=timedelta(minutes=30))
    names = [f"spread-{number}-{subscription}" for number in range(6)]
    for number, name in enumerate(names):
        await there.send(subscription, name, instanceIds=[str(number)])
    await tick(there.job)
    there.clock.advance(timedelta(minutes=1))
    order(there, subscription, "*/operations/*", times=6, headers=header)
    await tick(there.job)

    pauses = sorted(due - there.clock() for due in dues(there, OPERATIONS, subscription))
    assert len(set(pauses)) == 6
    assert pauses[0] >= timedelta(minutes=3)
    assert pauses[-1] <= timedelta(minutes=10)
    assert pauses[-1] - pauses[0] > timedelta(seconds=30)
    await there.finish(*names)


async def test_when_many_calls_are_left_polls_stay_where_they_are(there: Journey, subscription: str) -> None:
    seed(there, subscription, lasts=timedelta(minutes=3))
    await there.send(subscription, "plenty", instanceIds=["0"])
    await tick(there.job)
    there.clock.advance(timedelta(minutes=1))
    await tick(there.job)
    assert dues(there, OPERATIONS, subscription) == [there.clock() + timedelta(minutes=1)]
    await there.finish("plenty")


async def test_a_spread_out_poll_is_no_later_than_the_deadline(there: Journey, subscription: str) -> None:
    seed(there, subscription, lasts=timedelta(minutes=30))
    deadline = there.clock() + timedelta(minutes=3)
    await there.send(subscription, "soon", instanceIds=["0"], deadline=deadline.isoformat())
    await tick(there.job)
    there.clock.advance(timedelta(minutes=1))
    order(there, subscription, "*/operations/*", headers={"x-ms-ratelimit-remaining-subscription-reads": "0"})
    await tick(there.job)
    assert dues(there, OPERATIONS, subscription) == [deadline]
    (message,) = [each for each in there.environment.bus.peek(OPERATIONS) if subscription.encode() in each.body]
    assert read_record(message.body).failures == 0
    ended = await there.finish("soon")
    assert ended["soon"].status == "TimedOut"
