"""Service Bus in trouble: the tick neither hangs nor loses its place, and every request ends once."""

from __future__ import annotations

import gc
import time
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
from tests.support.environment import OPERATIONS, REQUESTS, TOPIC, Event
from tests.support.time_travel import Journey, journey, tick

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    # The SDK forgets to close the sockets of connections that the other side has cut.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

SUBSCRIPTIONS = [f"{number:08x}-5555-4555-8555-555555555555" for number in range(60)]
MINUTE = timedelta(minutes=1)
BUS_TIMEOUT = 3.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def everything() -> AsyncIterator[Journey]:
    async with journey(SUBSCRIPTIONS, worker_options={"bus_timeout": BUS_TIMEOUT}) as everything:
        yield everything
        await close_forgotten(everything.environment.bus)
    gc.collect()  # now, while the warnings of the rest are ignored, and not in another module's test


@pytest.fixture
def there(everything: Journey) -> Iterator[Journey]:
    """Azure behaves at first, and again publish_after."""
    everything.environment.events.clear()
    everything.environment.arm.calls.clear()
    yield everything
    everything.environment.bus.faults.reset()
    everything.environment.arm.observers.clear()


@pytest.fixture
def subscription(there: Journey) -> str:
    return seed(there)


def seed(there: Journey, instances: int = 2) -> str:
    """A subscription with a scale set."""
    subscription = SUBSCRIPTIONS.pop()
    seeds = tuple(InstanceSeed(str(number), duration=timedelta(seconds=30)) for number in range(instances))
    there.environment.arm.seed(ScaleSetSeed(subscription, "shop", "web", instances=seeds))
    return subscription


def when_asked(there: Journey, part: str, act: Callable[[], object]) -> None:
    """Do something once, as soon as ARM is asked for what has `part` in its path: in the middle of a run, that is."""
    acted: list[bool] = []

    def happened(happening: ArmEvent) -> None:
        if isinstance(happening, CallReceived) and part in happening.call.path and not acted:
            acted.append(True)
            act()

    there.environment.arm.observers.append(happened)


async def begun(there: Journey, subscription: str, *names: str) -> None:
    """Requests that ARM has accepted, and whose first poll is due."""
    for name in names:
        await there.send(subscription, name)
    await tick(there.job)
    there.clock.advance(MINUTE)


def check(there: Journey, subscription: str, ended: dict[str, Event], *names: str) -> None:
    """Each ended well, once, with each instance maintained once."""
    assert {ended[name].status for name in names} == {"Succeeded"}
    for name in names:
        told = [event.kind for event in there.environment.events if event.data["requestId"] == name]
        assert sorted(told) == ["accepted", "completed"]
    reports = there.environment.arm.instances(subscription, "shop", "web")
    assert {report.maintenance_count for report in reports} == {1}
    assert there.environment.left_over() == {}


async def test_connections_cut_between_two_ticks(there: Journey, subscription: str) -> None:
    await begun(there, subscription, "cut-between")
    assert there.environment.bus.faults.drop_connections() > 3
    check(there, subscription, await there.finish("cut-between"), "cut-between")


@pytest.mark.parametrize("part", ["/operations/", "/performMaintenance"])
async def test_connections_cut_in_the_middle_of_a_run(there: Journey, subscription: str, part: str) -> None:
    name = f"cut-{part.strip('/')}"
    when_asked(there, part, there.environment.bus.faults.drop_connections)
    await begun(there, subscription, name)
    check(there, subscription, await there.finish(name), name)


async def test_locks_lost_between_receiving_and_settling(there: Journey, subscription: str) -> None:
    await begun(there, subscription, "unlocked")
    lost: list[int] = []
    when_asked(there, "/operations/", lambda: lost.append(there.environment.bus.faults.lose_locks(OPERATIONS)))
    check(there, subscription, await there.finish("unlocked"), "unlocked")
    assert lost == [1]


async def test_a_request_whose_lock_is_lost_is_settled_by_looking(there: Journey, subscription: str) -> None:
    when_asked(there, "/performMaintenance", lambda: there.environment.bus.faults.lose_locks(REQUESTS))
    await begun(there, subscription, "request-unlocked")
    check(there, subscription, await there.finish("request-unlocked"), "request-unlocked")
    assert len(there.calls(subscription, "/performMaintenance")) == 1


async def test_links_that_were_detached_as_idle_ones_are(there: Journey, subscription: str) -> None:
    await begun(there, subscription, "idle")
    for entity in (OPERATIONS, TOPIC, REQUESTS):
        assert there.environment.bus.faults.detach_links(entity) > 0
    check(there, subscription, await there.finish("idle"), "idle")


async def test_events_wait_in_the_record_while_the_topic_is_gone(there: Journey, subscription: str) -> None:
    name = "unreported"
    bus = there.environment.bus
    bus.faults.refuse(TOPIC, NOT_FOUND)
    bus.faults.detach_links(TOPIC)
    await begun(there, subscription, name)
    (waiting,) = bus.peek(OPERATIONS)
    assert [event.event_id for event in read_record(waiting.body).outbox] == [f"{name}:accepted"]
    # ARM's operation ends, and the worker knows it, but nobody can be told.
    await tick(there.job)
    for _ in range(2):
        (waiting,) = bus.peek(OPERATIONS)
        assert waiting.subject == "finished"
        assert waiting.scheduled_for is not None
        assert waiting.scheduled_for <= there.clock() + MINUTE
        there.clock.advance(MINUTE)
        await tick(there.job)
    assert there.environment.events == []
    calls = len(there.calls(subscription))

    bus.faults.reset()
    ended = await there.finish(name)
    check(there, subscription, ended, name)
    assert [event.kind for event in there.environment.events] == ["accepted", "completed"]
    assert len(there.calls(subscription)) == calls


async def test_a_rejection_waits_for_the_topic(there: Journey) -> None:
    there.environment.bus.faults.refuse(TOPIC)
    there.environment.bus.faults.detach_links(TOPIC)
    await there.job.send(b"restart everything", message_id="garbage")
    await tick(there.job)
    (waiting,) = there.environment.bus.peek(REQUESTS)
    assert waiting.delivery_count == 0
    assert waiting.scheduled_for is not None
    assert waiting.scheduled_for > there.clock()
    there.environment.bus.faults.reset()
    ended = await there.finish("garbage")
    assert ended["garbage"].kind == "rejected"
    assert ended["garbage"].data["request"] == "restart everything"


async def test_an_operation_that_cannot_be_kept_is_looked_at_later_and_not_posted_again(
    there: Journey, subscription: str
) -> None:
    there.environment.bus.faults.refuse(OPERATIONS)
    await there.send(subscription, "unkept")
    await tick(there.job)
    for _ in range(3):
        # One delivery a minute, each of a message of its own: a raised error would have used up all ten by now.
        (clone,) = there.environment.bus.peek(REQUESTS)
        assert clone.scheduled_for is not None
        assert clone.delivery_count == 0
        there.clock.advance(MINUTE)
        await tick(there.job)
    there.environment.bus.faults.reset()
    check(there, subscription, await there.finish("unkept"), "unkept")
    assert len(there.calls(subscription, "/performMaintenance")) == 1


async def test_a_tick_without_its_queue_ends_early_and_the_next_one_goes_on(there: Journey, subscription: str) -> None:
    await begun(there, subscription, "no-queue")
    there.environment.bus.faults.refuse(OPERATIONS, NOT_FOUND)
    there.environment.bus.faults.detach_links(OPERATIONS)
    for _ in range(2):
        assert (await there.job.worker.poll()).taken == 0
    there.environment.bus.faults.reset()
    check(there, subscription, await there.finish("no-queue"), "no-queue")


async def test_a_full_queue_costs_no_operation(there: Journey, subscription: str) -> None:
    await begun(there, subscription, "full")
    there.environment.arm.seed(ScaleSetSeed(subscription, "shop", "other"))
    when_asked(there, "/operations/", lambda: there.environment.bus.faults.fill(OPERATIONS))
    # An end goes to the topic; what has to go on needs the queue.
    await begun(there, seed(there), "full-too")
    await tick(there.job)
    there.environment.bus.faults.reset()
    check(there, subscription, await there.finish("full", "full-too"), "full", "full-too")


async def test_a_message_that_is_too_large_holds_nobody_up(there: Journey, subscription: str) -> None:
    large = seed(there, 400)
    await there.send(subscription, "small")
    await begun(there, large, "large")
    # Its end, with the outcome of each instance, is larger than this; all the rest is smaller.
    there.environment.bus.faults.limit_message_size(12_000)
    there.environment.bus.faults.detach_links(TOPIC)
    for _ in range(3):
        # From the first tick on, in which both ended.
        await tick(there.job)
        assert [event.data["requestId"] for event in there.environment.events if event.ends] == ["small"]
        there.clock.advance(MINUTE)
    there.environment.bus.faults.reset()
    there.environment.bus.faults.detach_links(TOPIC)
    ended = await there.finish("large")
    check(there, large, ended, "large")
    assert len(ended["large"].outcomes) == 400


async def test_a_silent_service_bus_does_not_hang_the_tick(there: Journey, subscription: str) -> None:
    await begun(there, subscription, "silent")
    there.environment.bus.faults.stop_responding()
    started = time.monotonic()
    result = await there.job.worker.poll()
    # Receiving, and then closing the receiver, each within its time.
    assert time.monotonic() - started < 4 * BUS_TIMEOUT + 5
    assert result.persisted == 0
    there.environment.bus.faults.reset()
    check(there, subscription, await there.finish("silent"), "silent")


async def test_a_service_bus_that_falls_silent_in_the_middle_of_a_tick(there: Journey, subscription: str) -> None:
    await begun(there, subscription, "falls-silent")
    when_asked(there, "/operations/", there.environment.bus.faults.stop_responding)
    started = time.monotonic()
    await there.job.worker.poll()
    assert time.monotonic() - started < 6 * BUS_TIMEOUT + 10
    there.environment.bus.faults.reset()
    check(there, subscription, await there.finish("falls-silent"), "falls-silent")


async def send_patiently(there: Journey, subscription: str, name: str) -> None:
    """As a service does whose own calls fail too, at times more often in a row than the SDK tries them."""
    for _ in range(20):
        with suppress(ServiceBusError):
            await there.send(subscription, name)
            return
    raise AssertionError(f"{name} could not be sent")


@pytest.mark.parametrize("after", [False, True], ids=["not done", "done, the answer lost"])
async def test_many_calls_that_fail(there: Journey, after: bool) -> None:
    names = {f"flaky-{after}-{number}": seed(there) for number in range(5)}
    there.environment.bus.faults.fail_calls(0.2, seed=7, after=after)
    for name, subscription in names.items():
        await send_patiently(there, subscription, name)
    for _ in range(3):
        await tick(there.job)
        there.clock.advance(MINUTE)
    there.environment.bus.faults.reset()
    ended = await there.finish(*names)
    for name, subscription in names.items():
        check(there, subscription, ended, name)
