"""Errors of Service Bus: every request still ends once, and every instance is maintained once."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from datetime import timedelta

import pytest
import pytest_asyncio
from azure.servicebus.exceptions import ServiceBusError

from maintenance.operations.records import read_record
from sandbox.resource_manager import ArmEvent, CallReceived, InstanceSeed, ScaleSetSeed
from sandbox.servicebus import NOT_FOUND
from tests.conformance.namespace import close_forgotten
from tests.support.environment import LIMIT, OPERATIONS, REQUESTS, TOPIC, Event
from tests.support.time_travel import Journey, journey, tick

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    # The SDK does not close the sockets of connections that the other side has reset.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

SUBSCRIPTIONS = [f"{number:08x}-5555-4555-8555-555555555555" for number in range(60)]
MINUTE = timedelta(minutes=1)
# Seconds for which a send is retried: minutes, in the product.
PATIENCE = 2.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared() -> AsyncIterator[Journey]:
    async with journey(SUBSCRIPTIONS, worker_options={"patience": PATIENCE}) as shared:
        yield shared
        await close_forgotten(shared.environment.bus)
    gc.collect()  # here, where its warnings are ignored, and not in another module's test


@pytest.fixture
def azure(shared: Journey) -> Iterator[Journey]:
    """The module's environment, without faults before and after the test."""
    shared.environment.events.clear()
    shared.environment.arm.calls.clear()
    yield shared
    shared.environment.bus.faults.reset()
    shared.environment.arm.observers.clear()


@pytest.fixture
def subscription(azure: Journey) -> str:
    return seed(azure)


def seed(azure: Journey, instances: int = 2) -> str:
    """Seed a scale set in a subscription of its own; return the subscription id."""
    subscription = SUBSCRIPTIONS.pop()
    seeds = tuple(InstanceSeed(str(number), duration=timedelta(seconds=30)) for number in range(instances))
    azure.environment.arm.seed(ScaleSetSeed(subscription, "shop", "web", instances=seeds))
    return subscription


def on_call(azure: Journey, part: str, act: Callable[[], object]) -> None:
    """Do something once, when ARM receives a call with `part` in its path: in the middle of a run."""
    done: list[bool] = []

    def on_event(event: ArmEvent) -> None:
        if isinstance(event, CallReceived) and part in event.call.path and not done:
            done.append(True)
            act()

    azure.environment.arm.observers.append(on_event)


async def begun(azure: Journey, subscription: str, *names: str) -> None:
    """Send requests and handle them: ARM has accepted them, and their first poll is due."""
    for name in names:
        await azure.send(subscription, name)
    await tick(azure.job)
    azure.clock.advance(MINUTE)


def check(azure: Journey, subscription: str, ended: dict[str, Event], *names: str) -> None:
    """Assert that each request succeeded, once, and that each instance was maintained once."""
    assert {ended[name].status for name in names} == {"Succeeded"}
    for name in names:
        published = [event.kind for event in azure.environment.events if event.data["requestId"] == name]
        assert sorted(published) == ["accepted", "completed"]
    reports = azure.environment.arm.instances(subscription, "shop", "web")
    assert {report.maintenance_count for report in reports} == {1}
    assert azure.environment.left_over() == []


async def test_connections_reset_between_ticks_request_succeeds_once(azure: Journey, subscription: str) -> None:
    await begun(azure, subscription, "cut-between")
    assert azure.environment.bus.faults.drop_connections() > 3
    check(azure, subscription, await azure.finish("cut-between"), "cut-between")


@pytest.mark.parametrize("part", ["/operations/", "/performMaintenance"])
async def test_connections_reset_during_run_request_succeeds_once(azure: Journey, subscription: str, part: str) -> None:
    name = f"cut-{part.strip('/')}"
    on_call(azure, part, azure.environment.bus.faults.drop_connections)
    await begun(azure, subscription, name)
    check(azure, subscription, await azure.finish(name), name)


async def test_lock_of_record_lost_request_succeeds_once(azure: Journey, subscription: str) -> None:
    await begun(azure, subscription, "unlocked")
    lost: list[int] = []
    on_call(azure, "/operations/", lambda: lost.append(azure.environment.bus.faults.lose_locks(OPERATIONS)))
    check(azure, subscription, await azure.finish("unlocked"), "unlocked")
    assert lost == [1]


async def test_lock_of_request_lost_is_not_posted_again(azure: Journey, subscription: str) -> None:
    on_call(azure, "/performMaintenance", lambda: azure.environment.bus.faults.lose_locks(REQUESTS))
    await begun(azure, subscription, "request-unlocked")
    check(azure, subscription, await azure.finish("request-unlocked"), "request-unlocked")
    assert len(azure.calls(subscription, "/performMaintenance")) == 1


async def test_idle_links_detached_request_succeeds_once(azure: Journey, subscription: str) -> None:
    await begun(azure, subscription, "idle")
    for entity in (OPERATIONS, TOPIC, REQUESTS):
        assert azure.environment.bus.faults.detach_links(entity) > 0
    check(azure, subscription, await azure.finish("idle"), "idle")


async def test_topic_missing_events_are_owed_by_the_record(azure: Journey, subscription: str) -> None:
    name = "unreported"
    bus = azure.environment.bus
    bus.faults.refuse(TOPIC, NOT_FOUND)
    bus.faults.detach_links(TOPIC)
    await begun(azure, subscription, name)
    (waiting,) = azure.records(subscription)
    assert [owed.kind for owed in read_record(waiting.body).owed] == ["accepted"]
    # ARM's operation ends, and the worker reads that, but cannot publish it.
    for _ in range(4):
        azure.clock.advance(MINUTE)
        await tick(azure.job)
    (waiting,) = azure.records(subscription)
    assert waiting.subject == "end"
    assert waiting.scheduled_for is not None
    assert waiting.scheduled_for <= azure.clock() + MINUTE
    # Nothing is released before the end is published.
    assert [entry["requestId"] for entry in azure.environment.entries("lease")] == [name]
    assert azure.environment.events == []
    calls = len(azure.calls(subscription))

    bus.faults.reset()
    ended = await azure.finish(name)
    check(azure, subscription, ended, name)
    assert [event.kind for event in azure.environment.events] == ["accepted", "completed"]
    assert len(azure.calls(subscription)) == calls
    assert azure.environment.entries("lease") == []


async def test_topic_down_rejection_is_retried(azure: Journey) -> None:
    azure.environment.bus.faults.refuse(TOPIC)
    azure.environment.bus.faults.detach_links(TOPIC)
    await azure.job.send(b"restart everything", message_id="garbage")
    await tick(azure.job)
    (waiting,) = [message for message in azure.environment.bus.peek(OPERATIONS) if message.subject == "reply"]
    assert waiting.scheduled_for is not None
    assert waiting.scheduled_for > azure.clock()
    azure.environment.bus.faults.reset()
    ended = await azure.finish("garbage")
    assert ended["garbage"].kind == "rejected"
    assert ended["garbage"].data["request"] == "restart everything"


async def test_operations_queue_down_request_stays_in_its_queue(azure: Journey, subscription: str) -> None:
    azure.environment.bus.faults.refuse(OPERATIONS)
    azure.environment.bus.faults.detach_links(OPERATIONS)
    await azure.send(subscription, "not-persisted")
    async with asyncio.timeout(LIMIT):
        # Until the handler has no more patience.
        while not [message for message in azure.environment.bus.peek(REQUESTS) if message.delivery_count]:  # noqa: ASYNC110 - the bus runs in a thread
            await asyncio.sleep(0.05)
    assert azure.calls(subscription) == []
    azure.environment.bus.faults.reset()
    check(azure, subscription, await azure.finish("not-persisted"), "not-persisted")
    assert len(azure.calls(subscription, "/performMaintenance")) == 1


async def test_operations_queue_down_after_post_is_judged_by_the_views(azure: Journey, subscription: str) -> None:
    on_call(azure, "/performMaintenance", lambda: azure.environment.bus.faults.refuse(OPERATIONS))
    await azure.send(subscription, "not-recorded")
    await tick(azure.job)
    azure.environment.bus.faults.reset()
    (waiting,) = azure.records(subscription)
    assert waiting.subject == "judge"
    check(azure, subscription, await azure.finish("not-recorded"), "not-recorded")
    assert len(azure.calls(subscription, "/performMaintenance")) == 1


async def test_operations_queue_missing_tick_ends_and_next_tick_continues(azure: Journey, subscription: str) -> None:
    await begun(azure, subscription, "no-queue")
    azure.environment.bus.faults.refuse(OPERATIONS, NOT_FOUND)
    azure.environment.bus.faults.detach_links(OPERATIONS)
    for _ in range(2):
        assert (await azure.job.worker.poll()).taken == 0
    azure.environment.bus.faults.reset()
    check(azure, subscription, await azure.finish("no-queue"), "no-queue")


async def test_operations_queue_full_loses_no_operation(azure: Journey, subscription: str) -> None:
    await begun(azure, subscription, "full")
    azure.environment.arm.seed(ScaleSetSeed(subscription, "shop", "other"))
    on_call(azure, "/operations/", lambda: azure.environment.bus.faults.fill(OPERATIONS))
    # A final event goes to the topic; an operation that continues needs the queue.
    await begun(azure, seed(azure), "full-too")
    await tick(azure.job)
    azure.environment.bus.faults.reset()
    check(azure, subscription, await azure.finish("full", "full-too"), "full", "full-too")


async def test_event_too_large_does_not_block_other_requests(azure: Journey, subscription: str) -> None:
    large = seed(azure, 400)
    await azure.send(subscription, "small")
    await begun(azure, large, "large")
    # Only the final event, with the outcome of each instance, is larger than this.
    azure.environment.bus.faults.limit_message_size(12_000)
    azure.environment.bus.faults.detach_links(TOPIC)
    for _ in range(3):
        # Both have ended in the first tick.
        await tick(azure.job)
        assert [event.data["requestId"] for event in azure.environment.events if event.ends] == ["small"]
        azure.clock.advance(MINUTE)
    azure.environment.bus.faults.reset()
    azure.environment.bus.faults.detach_links(TOPIC)
    ended = await azure.finish("large")
    check(azure, large, ended, "large")
    assert len(ended["large"].outcomes) == 400


async def send_with_retries(azure: Journey, subscription: str, name: str) -> None:
    """Send a request although the sender's own calls fail too, sometimes more often than the SDK retries them."""
    for _ in range(20):
        with suppress(ServiceBusError):
            await azure.send(subscription, name)
            return
    raise AssertionError(f"{name} could not be sent")


@pytest.mark.parametrize("after", [False, True], ids=["not done", "done, response lost"])
async def test_fifth_of_calls_failing_requests_succeed_once(azure: Journey, after: bool) -> None:
    names = {f"flaky-{after}-{number}": seed(azure) for number in range(5)}
    azure.environment.bus.faults.fail_calls(0.2, seed=7, after=after)
    for name, subscription in names.items():
        await send_with_retries(azure, subscription, name)
    for _ in range(3):
        await tick(azure.job)
        azure.clock.advance(MINUTE)
    azure.environment.bus.faults.reset()
    await azure.finish(*names)
    for name, subscription in names.items():
        published = [event.kind for event in azure.environment.events if event.data["requestId"] == name]
        # A message that its sender sent again, since the response was lost, is a duplicate.
        assert sorted(kind for kind in published if kind != "duplicate") == ["accepted", "completed"]
        reports = azure.environment.arm.instances(subscription, "shop", "web")
        assert {report.maintenance_count for report in reports} == {1}
