"""A queue or the topic of Service Bus fails: every request still ends once, and every instance is maintained once."""

from __future__ import annotations

import asyncio

import pytest

from maintenance.operations.records import read_record
from sandbox.servicebus import NOT_FOUND
from tests.support.bus_faults import MINUTE, begun, check, on_call, seed
from tests.support.entities import OPERATIONS, REQUESTS, TOPIC
from tests.support.limit import LIMIT
from tests.support.time_travel import Journey, tick

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    # The SDK does not close the sockets of connections that the other side has reset.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


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


async def test_operations_queue_full_loses_no_operation(
    azure: Journey, subscription: str, caplog: pytest.LogCaptureFixture
) -> None:
    await azure.send(seed(azure), "full-too")
    await begun(azure, subscription, "full")
    on_call(azure, "/operations/", lambda: azure.environment.bus.faults.fill(OPERATIONS))
    await tick(azure.job)
    assert "ServiceBusQuotaExceededError" in caplog.text
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
