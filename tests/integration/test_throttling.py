"""Throttling by ARM: calls to the throttled subscription pause, calls to others do not."""

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
async def azure() -> AsyncIterator[Journey]:
    # One at a time, so that the order of calls and responses is certain.
    async with journey(SUBSCRIPTIONS, MAINTENANCE_POLL_CONCURRENCY="1") as azure:
        yield azure


@pytest.fixture
def subscription() -> str:
    return SUBSCRIPTIONS.pop()


def seed(azure: Journey, subscription: str, *, lasts: timedelta = timedelta(seconds=30)) -> None:
    instances = tuple(InstanceSeed(str(number), duration=lasts) for number in range(8))
    azure.environment.arm.seed(ScaleSetSeed(subscription, "shop", "web", instances=instances))


def add_fault(azure: Journey, subscription: str, path: str, **what: object) -> None:
    azure.environment.arm.faults.add(Fault(path=f"/subscriptions/{subscription}/{path}", **what))  # type: ignore[arg-type]


def dues(azure: Journey, queue: str, subscription: str) -> list[datetime]:
    """When the scheduled messages about a subscription fall due."""
    messages = azure.environment.bus.peek(queue, 100)
    return [
        message.scheduled_for for message in messages if subscription.encode() in message.body and message.scheduled_for
    ]


async def test_429_to_poll_pauses_its_subscription_and_no_other(azure: Journey, subscription: str) -> None:
    other = SUBSCRIPTIONS.pop()
    seed(azure, subscription)
    seed(azure, other)
    for number in range(3):
        await azure.send(subscription, f"paused-{number}", instanceIds=[str(number)])
    await azure.send(other, "free", instanceIds=["0"])
    await tick(azure.job)
    add_fault(azure, subscription, "*/operations/*", status=429, headers={"Retry-After": str(PAUSE.seconds)})
    before = len(azure.calls(subscription))

    azure.clock.advance(timedelta(minutes=1))
    throttled_at = azure.clock()
    await tick(azure.job)
    await azure.send(subscription, "late", instanceIds=["3"])
    await tick(azure.job)

    # One call was throttled; the other polls and the new request were postponed without a call.
    assert len(azure.calls(subscription)) == before + 1
    polls = dues(azure, OPERATIONS, subscription)
    assert len(polls) == 3
    assert len(set(polls)) == 3
    (retry,) = dues(azure, REQUESTS, subscription)
    assert min(*polls, retry) >= throttled_at + PAUSE
    ended = {event.data["requestId"] for event in azure.environment.events if event.ends}
    assert "free" in ended
    assert not ended & {"paused-0", "paused-1", "paused-2", "late"}

    endings = await azure.finish("paused-0", "paused-1", "paused-2", "late")
    assert {endings[f"paused-{number}"].status for number in range(3)} == {"Succeeded"}
    assert endings["late"].status == "Succeeded"
    assert [call for call in azure.calls(subscription)[before + 1 :] if call.time < throttled_at + PAUSE] == []


@pytest.mark.parametrize("path", ["*/performMaintenance", "*/virtualMachines"])
async def test_429_to_new_request_pauses_its_subscription(azure: Journey, subscription: str, path: str) -> None:
    seed(azure, subscription)
    add_fault(azure, subscription, path, status=429, headers={"Retry-After": str(PAUSE.seconds)})
    first, second = f"first-{subscription}", f"second-{subscription}"
    throttled_at = azure.clock()
    await azure.send(subscription, first, instanceIds=["0"])
    await tick(azure.job)
    before = len(azure.calls(subscription))
    await azure.send(subscription, second, instanceIds=["1"])
    await tick(azure.job)

    assert len(azure.calls(subscription)) == before
    retries = dues(azure, REQUESTS, subscription)
    assert len(retries) == 2
    assert min(retries) >= throttled_at + PAUSE
    endings = await azure.finish(first, second)
    assert {endings[first].status, endings[second].status} == {"Succeeded"}


async def test_429_without_retry_after_pauses_briefly(azure: Journey, subscription: str) -> None:
    seed(azure, subscription)
    add_fault(azure, subscription, "*/virtualMachines", status=429)
    await azure.send(subscription, "bare-0", instanceIds=["0"])
    await tick(azure.job)
    before = len(azure.calls(subscription))
    await azure.send(subscription, "bare-1", instanceIds=["1"])
    await tick(azure.job)
    assert len(azure.calls(subscription)) == before
    azure.clock.advance(timedelta(seconds=10))
    await azure.send(subscription, "bare-2", instanceIds=["2"])
    await tick(azure.job)
    assert len(azure.calls(subscription, "/performMaintenance")) >= 1
    await azure.finish("bare-0", "bare-1", "bare-2")


async def test_409_with_retry_after_pauses_no_other_request(azure: Journey, subscription: str) -> None:
    seed(azure, subscription)
    add_fault(azure, subscription, "*/performMaintenance", status=409, headers={"Retry-After": str(PAUSE.seconds)})
    await azure.send(subscription, "waits", instanceIds=["0"])
    await tick(azure.job)
    await azure.send(subscription, "goes", instanceIds=["1"])
    await tick(azure.job)
    assert [call.status for call in azure.calls(subscription, "/performMaintenance")] == [409, 202]
    await azure.finish("waits", "goes")


@pytest.mark.parametrize(
    "header",
    [
        {"x-ms-ratelimit-remaining-subscription-reads": "2"},
        {"x-ms-ratelimit-remaining-resource": "Microsoft.Compute/GetOperation3Min;2,Microsoft.Compute/Get30Min;700"},
    ],
    ids=["arm", "compute"],
)
async def test_polls_are_spread_out_if_few_calls_remain(
    azure: Journey, subscription: str, header: dict[str, str]
) -> None:
    seed(azure, subscription, lasts=timedelta(minutes=30))
    names = [f"spread-{number}-{subscription}" for number in range(6)]
    for number, name in enumerate(names):
        await azure.send(subscription, name, instanceIds=[str(number)])
    await tick(azure.job)
    azure.clock.advance(timedelta(minutes=1))
    add_fault(azure, subscription, "*/operations/*", times=6, headers=header)
    await tick(azure.job)

    pauses = sorted(due - azure.clock() for due in dues(azure, OPERATIONS, subscription))
    assert len(set(pauses)) == 6
    assert pauses[0] >= timedelta(minutes=3)
    assert pauses[-1] <= timedelta(minutes=10)
    assert pauses[-1] - pauses[0] > timedelta(seconds=30)
    await azure.finish(*names)


async def test_polls_are_not_spread_out_if_many_calls_remain(azure: Journey, subscription: str) -> None:
    seed(azure, subscription, lasts=timedelta(minutes=3))
    await azure.send(subscription, "plenty", instanceIds=["0"])
    await tick(azure.job)
    azure.clock.advance(timedelta(minutes=1))
    await tick(azure.job)
    assert dues(azure, OPERATIONS, subscription) == [azure.clock() + timedelta(minutes=1)]
    await azure.finish("plenty")


async def test_spread_out_poll_is_not_after_deadline(azure: Journey, subscription: str) -> None:
    seed(azure, subscription, lasts=timedelta(minutes=30))
    deadline = azure.clock() + timedelta(minutes=3)
    await azure.send(subscription, "soon", instanceIds=["0"], deadline=deadline.isoformat())
    await tick(azure.job)
    azure.clock.advance(timedelta(minutes=1))
    add_fault(azure, subscription, "*/operations/*", headers={"x-ms-ratelimit-remaining-subscription-reads": "0"})
    await tick(azure.job)
    assert dues(azure, OPERATIONS, subscription) == [deadline]
    (message,) = [each for each in azure.environment.bus.peek(OPERATIONS) if subscription.encode() in each.body]
    assert read_record(message.body).failures == 0
    ended = await azure.finish("soon")
    assert ended["soon"].status == "TimedOut"
