"""A subscription that ARM throttles is left alone; others are not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest
import pytest_asyncio

from maintenance.operations.records import read_record
from sandbox.resource_manager import Fault, InstanceSeed, ScaleSetSeed
from tests.support.time_travel import Journey, journey, tick

pytestmark = pytest.mark.asyncio(loop_scope="module")

SUBSCRIPTIONS = [f"{number:08x}-3333-4333-8333-333333333333" for number in range(20)]
# Less than a slice of waiting, so that records are due then.
PAUSE = timedelta(minutes=8)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def azure() -> AsyncIterator[Journey]:
    # One at a time, so that it is certain which call came after the response.
    async with journey(SUBSCRIPTIONS, MAINTENANCE_POLL_CONCURRENCY="1", MAINTENANCE_POLL_RECEIVERS="1") as azure:
        yield azure


@pytest.fixture
def subscription() -> str:
    return SUBSCRIPTIONS.pop()


def seed(azure: Journey, subscription: str, *, lasts: timedelta = timedelta(seconds=30)) -> None:
    """Eight scale sets of one instance: runs on different sets do not wait for each other."""
    for number in range(8):
        instances = (InstanceSeed("0", duration=lasts),)
        azure.environment.arm.seed(ScaleSetSeed(subscription, "shop", f"set{number}", instances=instances))


async def send(azure: Journey, subscription: str, request_id: str, number: int = 0, **fields: object) -> None:
    await azure.send(subscription, request_id, vmScaleSetName=f"set{number}", **fields)


def add_fault(azure: Journey, subscription: str, path: str, **what: object) -> None:
    azure.environment.arm.faults.add(Fault(path=f"/subscriptions/{subscription}/{path}", **what))  # type: ignore[arg-type]


def dues(azure: Journey, subscription: str) -> list[datetime]:
    """When the records about a subscription are due."""
    return [record.scheduled_for for record in azure.records(subscription) if record.scheduled_for]


async def test_429_to_poll_pauses_its_subscription_and_no_other(azure: Journey, subscription: str) -> None:
    other = SUBSCRIPTIONS.pop()
    seed(azure, subscription)
    seed(azure, other)
    for number in range(3):
        await send(azure, subscription, f"paused-{number}", number)
    await send(azure, other, "free")
    await tick(azure.job)
    add_fault(azure, subscription, "*/operations/*", status=429, headers={"Retry-After": str(PAUSE.seconds)})
    before = len(azure.calls(subscription))

    azure.clock.advance(timedelta(minutes=1))
    throttled_at = azure.clock()
    await tick(azure.job)
    await send(azure, subscription, "late", 3)
    await tick(azure.job)

    # One call had the 429 for a response; the other polls, and the new request, were put off without one.
    assert len(azure.calls(subscription)) == before + 1
    put_off = dues(azure, subscription)
    assert len(put_off) == len(set(put_off)) == 4
    assert min(put_off) >= throttled_at + PAUSE
    endings = await azure.finish("free", "paused-0", "paused-1", "paused-2", "late")
    assert {event.status for event in endings.values()} == {"Succeeded"}
    assert [call for call in azure.calls(subscription)[before + 1 :] if call.time < throttled_at + PAUSE] == []
    assert [call for call in azure.calls(other) if call.time == throttled_at] != []


async def test_long_retry_after_is_waited_for_in_slices_without_a_call(azure: Journey, subscription: str) -> None:
    seed(azure, subscription)
    add_fault(azure, subscription, "*/virtualMachines", status=429, headers={"Retry-After": "3600"})
    throttled_at = azure.clock()
    await send(azure, subscription, "patient")
    await tick(azure.job)
    assert dues(azure, subscription) == [throttled_at + timedelta(minutes=10)]
    await azure.finish("patient")
    assert azure.calls(subscription)[1].time >= throttled_at + timedelta(hours=1)


@pytest.mark.parametrize("path", ["*/performMaintenance", "*/virtualMachines"])
async def test_429_to_new_request_pauses_its_subscription(azure: Journey, subscription: str, path: str) -> None:
    seed(azure, subscription)
    add_fault(azure, subscription, path, status=429, headers={"Retry-After": str(PAUSE.seconds)})
    first, second = f"first-{subscription}", f"second-{subscription}"
    throttled_at = azure.clock()
    await send(azure, subscription, first, 0)
    await tick(azure.job)
    before = len(azure.calls(subscription))
    await send(azure, subscription, second, 1)
    await tick(azure.job)

    assert len(azure.calls(subscription)) == before
    assert len(dues(azure, subscription)) == 2
    assert min(dues(azure, subscription)) >= throttled_at + PAUSE
    endings = await azure.finish(first, second)
    assert {endings[first].status, endings[second].status} == {"Succeeded"}


async def test_429_without_retry_after_pauses_briefly(azure: Journey, subscription: str) -> None:
    seed(azure, subscription)
    add_fault(azure, subscription, "*/virtualMachines", status=429)
    await send(azure, subscription, "bare-0", 0)
    await tick(azure.job)
    before = len(azure.calls(subscription))
    await send(azure, subscription, "bare-1", 1)
    await tick(azure.job)
    assert len(azure.calls(subscription)) == before
    azure.clock.advance(timedelta(seconds=10))
    await send(azure, subscription, "bare-2", 2)
    await tick(azure.job)
    assert len(azure.calls(subscription, "/performMaintenance")) >= 1
    await azure.finish("bare-0", "bare-1", "bare-2")


async def test_409_with_retry_after_pauses_no_other_request(azure: Journey, subscription: str) -> None:
    seed(azure, subscription)
    add_fault(azure, subscription, "*/performMaintenance", status=409, headers={"Retry-After": str(PAUSE.seconds)})
    await send(azure, subscription, "waits", 0)
    await tick(azure.job)
    await send(azure, subscription, "goes", 1)
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
        await send(azure, subscription, name, number)
    await tick(azure.job)
    azure.clock.advance(timedelta(minutes=1))
    add_fault(azure, subscription, "*/operations/*", times=6, headers=header)
    await tick(azure.job)

    pauses = sorted(due - azure.clock() for due in dues(azure, subscription))
    assert len(set(pauses)) == 6
    assert pauses[0] >= timedelta(minutes=3)
    assert pauses[-1] <= timedelta(minutes=10)
    assert pauses[-1] - pauses[0] > timedelta(seconds=30)
    await azure.finish(*names)


async def test_polls_are_not_spread_out_if_many_calls_remain(azure: Journey, subscription: str) -> None:
    seed(azure, subscription, lasts=timedelta(minutes=3))
    await send(azure, subscription, "plenty")
    await tick(azure.job)
    azure.clock.advance(timedelta(minutes=1))
    await tick(azure.job)
    assert dues(azure, subscription) == [azure.clock() + timedelta(minutes=1)]
    await azure.finish("plenty")


async def test_spread_out_poll_is_not_after_deadline(azure: Journey, subscription: str) -> None:
    seed(azure, subscription, lasts=timedelta(minutes=30))
    deadline = azure.clock() + timedelta(minutes=3)
    await send(azure, subscription, "soon", deadline=deadline.isoformat())
    await tick(azure.job)
    azure.clock.advance(timedelta(minutes=1))
    add_fault(azure, subscription, "*/operations/*", headers={"x-ms-ratelimit-remaining-subscription-reads": "0"})
    await tick(azure.job)
    assert dues(azure, subscription) == [deadline]
    (message,) = azure.records(subscription)
    assert read_record(message.body).failures == 0
    ended = await azure.finish("soon")
    assert ended["soon"].status == "TimedOut"
