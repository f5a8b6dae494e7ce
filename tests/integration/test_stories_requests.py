"""Stories of requests beside each other: one id in several messages, cancellations, leases. Each message is a run."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from azure.servicebus import ServiceBusMessage

from maintenance.domain.resources import ScaleSet
from sandbox.resource_manager import Fault
from tests.support.entities import COORDINATION, REQUESTS
from tests.support.story import MINUTE, Story, subscriptions
from tests.support.time_travel import Journey, journey

pytestmark = pytest.mark.asyncio(loop_scope="module")

SUBSCRIPTIONS = subscriptions(20)
ALERT = Path(__file__).parents[2] / "sandbox" / "planned_maintenance.json"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def azure() -> AsyncIterator[Journey]:
    async with journey(SUBSCRIPTIONS) as azure:
        yield azure


@pytest.fixture
def story(azure: Journey) -> Story:
    return Story(azure, SUBSCRIPTIONS.pop())


async def test_corrected_request_under_the_same_id_publishes_its_own_end(story: Story) -> None:
    story.place("01")
    await story.send("first", requestId="change-1", instanceIDs=["0"])
    await story.send("second", requestId="change-1", instanceIds=["0"])
    await story.finish("change-1")
    # A request that cannot be read names no scale set in its end.
    ends = story.ends_of("change-1")
    assert sorted((end.kind, end.status) for end in ends) == [("completed", "Succeeded"), ("rejected", "Rejected")]
    assert len({end.run_id for end in ends}) == 2
    assert story.posts() == [["0"]]


async def test_message_id_used_twice_gives_both_messages_their_run(story: Story) -> None:
    """With duplicate detection on the requests queue, one sender could silence another."""
    story.place("01")
    await story.send("same-id", instanceIds=["0"])
    await story.finish("same-id")
    await story.send("same-id", instanceIds=["1"])
    await story.settle()
    assert story.statuses("same-id") == ["Succeeded", "Succeeded"]
    assert story.maintained() == {"0": 1, "1": 1}


async def test_alert_update_a_day_later_runs_to_its_end(story: Story) -> None:
    """Service Bus has forgotten the alert's id by then, but not yet the ids of the records that followed it."""
    alert = json.loads(ALERT.read_text().replace("11111111-1111-4111-8111-111111111111", story.subscription))
    for number, (lasts, passes) in enumerate(((50 * MINUTE, timedelta(hours=24, minutes=5)), (MINUTE, MINUTE))):
        # Planned again, and faster the second time.
        story.place("012", lasts=lasts)
        sent_at = story.azure.clock()
        alert["data"]["essentials"]["alertId"] += "-update" * number
        await story.azure.job.send(alert, message_id=f"alert-{number}")
        await story.settle()
        assert [event.status for event in story.ends] == ["Succeeded"] * (number + 1)
        assert {each.state for each in story.instances()} == {"completed"}
        story.leap(sent_at + passes - story.azure.clock())


async def test_cancellation_on_the_first_day_is_met_ten_days_later(story: Story) -> None:
    """No timer fires in the meantime: an app that stands still."""
    story.place("0")
    begins = story.azure.clock() + timedelta(days=10)
    await story.send("a", requestId="in-ten-days", notBefore=begins.isoformat())
    await story.tick()
    await story.send("b", cancel="in-ten-days")
    await story.tick()
    story.leap(timedelta(days=10))
    await story.settle()
    assert story.statuses("in-ten-days") == ["Canceled"]
    assert story.posts() == []


async def test_cancellation_that_arrives_first_is_met_and_reaches_no_request_sent_later(story: Story) -> None:
    """Two senders at the same time: the queue may hold what they send in either order."""
    story.place("01")
    await story.send("b", cancel="overtaken")
    await story.pass_time(MINUTE)
    await story.send("a", requestId="overtaken")
    await story.settle()
    assert story.statuses("overtaken") == ["Canceled"]
    assert story.posts() == []
    story.azure.clock.advance(2 * MINUTE)
    await story.send("c", requestId="overtaken")
    await story.settle()
    assert story.statuses("overtaken") == ["Canceled", "Succeeded"]


async def put(story: Story, until: timedelta | None, **fields: Any) -> None:
    """A lease in the coordination queue as somebody who may send there can write it; unscheduled without `until`.
    A field of `...` is left out."""
    document = {
        "schemaVersion": 1,
        "kind": "lease",
        "runId": "f" * 32,
        "requestId": "ghost",
        "scaleSet": ScaleSet(story.subscription, "shop", "web").key,
        "content": "",
        **fields,
    }
    body = json.dumps({name: value for name, value in document.items() if value is not ...})
    async with story.azure.job.client.get_queue_sender(COORDINATION) as sender:
        message = ServiceBusMessage(body, subject="lease")
        if until is None:
            await sender.send_messages(message)
        else:
            await sender.schedule_messages(message, story.azure.clock() + until)


# As in `put`: until when, and the fields that differ.
HOUR = timedelta(hours=1)
IMPOSSIBLE: tuple[tuple[timedelta | None, dict[str, Any]], ...] = (
    (timedelta(days=40), {}),
    (timedelta(days=365 * 70), {}),
    (None, {}),
    (HOUR, {"runId": "ghost"}),
    (HOUR, {"runId": ...}),
    (HOUR, {"requestId": "two words"}),
    (HOUR, {"kind": "rollout"}),
    (HOUR, {"kind": "cancellation"}),
    (HOUR, {"kind": "cancellation", "enqueuedAt": "yesterday"}),
    (HOUR, {"scaleSet": ["web"]}),
)


async def test_entries_that_the_app_cannot_have_written_hold_nobody_up(story: Story) -> None:
    for until, fields in IMPOSSIBLE:
        await put(story, until, **fields)
    story.place("0")
    sent_at = story.azure.clock()
    await story.send("honest", instanceIds=["0"])
    await story.finish("honest")
    assert story.statuses("honest") == ["Succeeded"]
    assert story.posted_at()[0] < sent_at + HOUR / 2


async def test_lease_written_by_a_stranger_holds_the_scale_set_until_it_is_due(story: Story) -> None:
    """What the right to send to the coordination queue gives: a delay, and no more."""
    until = story.azure.clock() + HOUR
    await put(story, HOUR)
    story.place("0")
    await story.send("held", instanceIds=["0"])
    await story.finish("held")
    assert story.statuses("held") == ["Succeeded"]
    assert story.posted_at()[0] >= until


async def test_run_whose_lease_is_gone_starts_nothing_more(story: Story) -> None:
    story.place("01")
    await story.send("a", requestId="bereft", rollout={"maxInstancesPerWave": 1, "pauseBetweenWaves": "PT20M"})
    await story.pass_time(4 * MINUTE, 2 * MINUTE)
    entries = story.azure.environment.bus.peek(COORDINATION)
    (own,) = [each for each in entries if story.subscription.encode() in each.body]
    async with story.azure.job.client.get_queue_sender(COORDINATION) as sender:
        await sender.cancel_scheduled_messages(own.sequence_number)
    ended = await story.finish("bereft")
    assert ended["bereft"].data["error"]["code"] == "LeaseLost"
    assert ended["bereft"].outcomes == {"0": "Completed", "1": "NotAttempted"}
    assert story.posts() == [["0"]]


async def test_overlapping_requests_lose_no_instance_to_each_other(story: Story) -> None:
    """Both are under way before either has posted."""
    story.place("012")
    for _ in range(2):
        story.azure.environment.arm.faults.add(
            Fault(method="GET", path=f"/subscriptions/{story.subscription}/*", delay=timedelta(seconds=0.2))
        )
    await story.send("a", requestId="alert", instanceIds=["0", "1"])
    await story.send("b", requestId="manual", instanceIds=["1", "2"])
    await story.finish("alert", "manual")
    assert story.maintained() == {"0": 1, "1": 1, "2": 1}
    assert story.statuses("alert") == story.statuses("manual") == ["Succeeded"]


async def test_nothing_is_left_in_the_requests_queue(azure: Journey) -> None:
    assert azure.environment.bus.counts(REQUESTS).empty
