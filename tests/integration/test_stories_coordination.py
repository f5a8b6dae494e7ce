"""Stories of the coordination queue: leases and markers, also such as nobody should have been able to write."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from azure.servicebus import ServiceBusMessage

from maintenance.domain.resources import ScaleSet
from maintenance.servicebus import coordination_queue
from sandbox.resource_manager import Fault
from tests.integration.story import MINUTE, Story, subscriptions
from tests.support.environment import COORDINATION
from tests.support.time_travel import Journey, journey

pytestmark = pytest.mark.asyncio(loop_scope="module")

SUBSCRIPTIONS = subscriptions(30)
ONE_BY_ONE = {"maxInstancesPerWave": 1}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def azure() -> AsyncIterator[Journey]:
    async with journey(SUBSCRIPTIONS) as azure:
        yield azure


@pytest.fixture
def story(azure: Journey) -> Story:
    return Story(azure, SUBSCRIPTIONS.pop())


async def put(story: Story, *documents: object, until: datetime | None) -> None:
    """Entries in the coordination queue as somebody who may send there can write them; unscheduled without `until`."""
    async with story.azure.job.client.get_queue_sender(COORDINATION) as sender:
        messages = [ServiceBusMessage(json.dumps(each), subject="lease") for each in documents]
        if until is None:
            await sender.send_messages(messages)
        else:
            await sender.schedule_messages(messages, until)


def lease(story: Story, **fields: Any) -> dict[str, Any]:
    document = {
        "schemaVersion": 1,
        "kind": "lease",
        "runId": "f" * 32,
        "requestId": "ghost",
        "scaleSet": ScaleSet(story.subscription, "shop", "web").key,
        "content": "",
        **fields,
    }
    return {name: value for name, value in document.items() if value is not ...}


async def test_queue_that_cannot_be_read_whole_starts_nothing(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    """More entries than any honest use leaves: fail closed, and go on once they are gone."""
    monkeypatch.setattr(coordination_queue, "MAX_PAGES", 3)
    story.azure.environment.bus.peek_limit = 2
    until = story.azure.clock() + timedelta(hours=1)
    await put(story, *(lease(story, scaleSet=f"/elsewhere/{number}") for number in range(20)), until=until)
    story.place("012")
    await story.send("a", requestId="patient", rollout=ONE_BY_ONE)
    await story.pass_time(40 * MINUTE, 5 * MINUTE)
    assert story.posts() == []
    assert story.ends == []
    monkeypatch.undo()
    story.azure.environment.bus.peek_limit = None
    await story.finish("patient")
    assert story.statuses("patient") == ["Succeeded"]


@pytest.mark.parametrize(
    ("fields", "until"),
    [
        ({}, timedelta(days=40)),
        ({}, timedelta(days=365 * 70)),
        ({}, None),
        ({"runId": "ghost"}, timedelta(hours=1)),
        ({"runId": ...}, timedelta(hours=1)),
        ({"requestId": "two words"}, timedelta(hours=1)),
        ({"kind": "rollout"}, timedelta(hours=1)),
        ({"kind": "cancellation"}, timedelta(hours=1)),
        ({"kind": "cancellation", "enqueuedAt": "yesterday"}, timedelta(hours=1)),
        ({"scaleSet": ["web"]}, timedelta(hours=1)),
    ],
    ids=[
        "too far ahead",
        "in 2100",
        "not scheduled",
        "no run id",
        "without run id",
        "no request id",
        "older kind",
        "marker without time",
        "marker with another time",
        "no scale set",
    ],
)
async def test_entry_that_the_app_cannot_have_written_holds_nobody_up(
    story: Story, fields: dict[str, Any], until: timedelta | None
) -> None:
    await put(story, lease(story, **fields), until=story.azure.clock() + until if until else None)
    story.place("0")
    await story.send("honest", instanceIds=["0"])
    await story.finish("honest")
    assert story.statuses("honest") == ["Succeeded"]


async def test_lease_written_by_a_stranger_holds_the_scale_set_until_it_is_due(story: Story) -> None:
    """What the right to send to the coordination queue gives: a delay, and no more."""
    until = story.azure.clock() + timedelta(hours=1)
    await put(story, lease(story), until=until)
    story.place("0")
    await story.send("held", instanceIds=["0"])
    await story.finish("held")
    assert story.statuses("held") == ["Succeeded"]
    assert story.posted_at()[0] >= until


async def test_run_whose_lease_is_gone_starts_nothing_more(story: Story) -> None:
    story.place("012")
    await story.send("a", requestId="bereft", rollout={**ONE_BY_ONE, "pauseBetweenWaves": "PT20M"})
    await story.pass_time(5 * MINUTE)
    (own,) = [
        each for each in story.azure.environment.bus.peek(COORDINATION) if story.subscription.encode() in each.body
    ]
    async with story.azure.job.client.get_queue_sender(COORDINATION) as sender:
        await sender.cancel_scheduled_messages(own.sequence_number)
    ended = await story.finish("bereft")
    assert ended["bereft"].data["error"]["code"] == "LeaseLost"
    assert ended["bereft"].outcomes == {"0": "Completed", "1": "NotAttempted", "2": "NotAttempted"}
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


async def test_second_run_is_held_to_the_stricter_limit_of_the_first(story: Story) -> None:
    """One at a time is asked for: the run behind, which asks for all at once, starts when the first has ended."""
    story.place("012345")
    await story.send("a", requestId="careful", instanceIds=["0", "1"], rollout=ONE_BY_ONE)
    await story.tick()
    await story.send("b", requestId="hasty")
    most = 0
    for _ in range(12):
        await story.pass_time(MINUTE)
        if not story.statuses("careful"):
            most = max(most, story.at_work())
    await story.finish("careful", "hasty")
    assert most == 1
    assert set(story.maintained().values()) == {1}


async def test_marker_of_an_ended_request_stays_without_effect(story: Story) -> None:
    story.place("01")
    await story.send("a", requestId="done", instanceIds=["0"])
    await story.finish("done")
    await story.send("b", cancel="done")
    await story.pass_time(3 * MINUTE)
    await story.send("c", requestId="done", instanceIds=["1"])
    await story.pass_time(10 * MINUTE)
    assert story.statuses("done") == ["Succeeded", "Succeeded"]
