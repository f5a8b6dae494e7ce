"""Stories of ids: one requestId in several messages, and what a sender can pretend. Each message is its own run."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from maintenance.alerts.messages import Discovery, batch
from maintenance.domain.resources import ScaleSet
from tests.integration.story import MINUTE, Story, subscriptions
from tests.support.environment import REQUESTS
from tests.support.time_travel import Journey, journey

pytestmark = pytest.mark.asyncio(loop_scope="module")

SUBSCRIPTIONS = subscriptions(20)
ALERT = Path(__file__).parents[2] / "sandbox" / "planned_maintenance.json"
ONE_BY_ONE = {"maxInstancesPerWave": 1}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def azure() -> AsyncIterator[Journey]:
    async with journey(SUBSCRIPTIONS) as azure:
        yield azure


@pytest.fixture
def story(azure: Journey) -> Story:
    return Story(azure, SUBSCRIPTIONS.pop())


async def test_corrected_request_under_the_same_id_publishes_its_own_end(story: Story) -> None:
    story.place()
    await story.send("first", requestId="change-1", instanceIDs=["0"])
    await story.send("second", requestId="change-1", instanceIds=["0"])
    await story.finish("change-1")
    # A request that cannot be read names no scale set in its end.
    rejected, completed = story.ends_of("change-1")
    assert (rejected.kind, completed.status) == ("rejected", "Succeeded")
    assert rejected.run_id != completed.run_id
    assert story.posts() == [["0"]]


async def test_cancellation_with_request_id_ends_nobody_elses_request(story: Story) -> None:
    story.place()
    await story.send("a", requestId="roll", rollout=ONE_BY_ONE)
    await story.tick()
    await story.send("bad-cancellation", requestId="roll", cancel="roll")
    ended = await story.finish("roll", "bad-cancellation")
    assert ended["bad-cancellation"].kind == "rejected"
    assert story.statuses("roll") == ["Succeeded"]
    assert set(story.maintained().values()) == {1}


async def test_one_request_id_for_two_scale_sets_gives_each_its_end(story: Story) -> None:
    story.place()
    story.place(name="api")
    await story.send("a", requestId="november", rollout={"maxInstancesPerWave": 2})
    await story.pass_time(MINUTE)
    await story.send("b", requestId="november", vmScaleSetName="api", rollout={"maxInstancesPerWave": 2})
    await story.pass_time(15 * MINUTE)
    assert {event.data["vmScaleSetName"]: event.status for event in story.ends} == {
        "web": "Succeeded",
        "api": "Succeeded",
    }
    assert story.azure.environment.entries("lease") == []


async def test_failed_request_sent_again_is_a_new_run(story: Story) -> None:
    story.place(outcome=("RetryLater", "Succeeded"))
    body = {"requestId": "again", "rollout": {"maxInstancesPerWave": 4}}
    await story.send("a", **body)
    await story.finish("again")
    await story.send("b", **body)
    await story.pass_time(10 * MINUTE)
    assert story.statuses("again") == ["Failed", "Succeeded"]
    assert len({event.run_id for event in story.ends}) == 2
    assert story.azure.environment.entries("lease") == []


async def test_same_request_again_during_a_pause_is_a_duplicate(story: Story) -> None:
    story.place()
    body = {"requestId": "friday", "rollout": {**ONE_BY_ONE, "pauseBetweenWaves": "PT1H"}}
    await story.send("first", **body)
    await story.pass_time(6 * MINUTE)
    for again in ("second", "third"):
        await story.send(again, **body)
        await story.pass_time(4 * MINUTE)
    assert story.posts() == [["0"]]
    assert story.statuses("friday") == ["Duplicate", "Duplicate"]
    (run_id,) = {event.data["duplicateOf"] for event in story.ends}
    assert run_id in {event.run_id for event in story.events if event.kind == "accepted"}


async def test_other_instances_under_a_running_id_wait_their_turn(story: Story) -> None:
    story.place()
    await story.send("first", requestId="shared", instanceIds=["0"])
    await story.tick()
    for instance_id in "12":
        await story.send(f"again-{instance_id}", requestId="shared", instanceIds=[instance_id], rollout=ONE_BY_ONE)
        await story.tick()
        assert story.at_work() == 1
    await story.pass_time(30 * MINUTE)
    assert story.statuses("shared") == ["Succeeded"] * 3
    assert story.posts() == [["0"], ["1"], ["2"]]


async def test_invalid_message_under_a_running_id_does_not_end_it(story: Story) -> None:
    story.place("0")
    await story.send("first", requestId="mine", instanceIds=["0"])
    await story.tick()
    await story.azure.job.send(b'{"requestId": "mine", "nonsense": 1}', message_id="stranger")
    await story.pass_time(10 * MINUTE)
    rejected, completed = story.ends_of("mine")
    assert (rejected.kind, completed.status) == ("rejected", "Succeeded")
    assert rejected.run_id != completed.run_id


async def test_properties_of_a_sender_are_not_believed(story: Story) -> None:
    story.place("0")
    forged = {
        "maintenance-request-id": "x\n2026-11-25 INFO Request payroll ended\x1b[2K",
        "maintenance-requested-at": "9999-12-31T23:59:59+00:00",
        "about": "payroll 9999-12-31T23:59:59+00:00 /subscriptions/x",
    }
    await story.send("mine", requestId="honest", instanceIds=["0"], properties=forged)
    await story.finish("honest")
    assert {event.data["requestId"] for event in story.events} == {"honest"}
    (accepted,) = [event for event in story.events if event.kind == "accepted"]
    assert accepted.data["deadline"][:4] == f"{story.azure.clock():%Y}"
    assert all(re.fullmatch(r"[0-9a-f]{32}:[a-z:0-9]+", event.message_id) for event in story.events)


async def test_message_id_used_by_another_sender_silences_nobody(story: Story) -> None:
    story.place("01")
    await story.send("same-id", instanceIds=["0"])
    await story.finish("same-id")
    await story.send("same-id", instanceIds=["1"])
    await story.pass_time(10 * MINUTE)
    assert story.statuses("same-id") == ["Succeeded", "Succeeded"]
    assert set(story.maintained().values()) == {1}


async def test_alert_update_a_day_later_runs_to_its_end(story: Story) -> None:
    text = ALERT.read_text().replace("11111111-1111-4111-8111-111111111111", story.subscription)
    alert = json.loads(text)
    story.place(lasts=25 * MINUTE)
    await story.azure.job.send(alert, message_id="alert-1")
    await story.pass_time(130 * MINUTE, 5 * MINUTE)
    assert [event.status for event in story.ends] == ["Succeeded"]
    story.leap(timedelta(hours=24, minutes=5) - 130 * MINUTE)
    # Planned again, and faster this time.
    story.place()
    alert["data"]["essentials"]["alertId"] += "-update"
    await story.azure.job.send(alert, message_id="alert-2")
    await story.pass_time(20 * MINUTE)
    assert [event.status for event in story.ends] == ["Succeeded", "Succeeded"]
    assert {each.state for each in story.instances()} == {"completed"}
    assert story.azure.environment.left_over() == []


async def test_batches_of_two_discoveries_have_ids_of_their_own() -> None:
    sets = [ScaleSet(subscriptions(1)[0], "shop", f"s{number}") for number in range(100)]
    first = Discovery(subscription_id=subscriptions(1)[0], origin="0" * 20, reason="first alert")
    second = Discovery(subscription_id=subscriptions(1)[0], origin="0" * 20, reason="update of the same stage")
    assert batch(first, sets).message_id != batch(second, sets).message_id


async def test_nothing_is_left_in_the_requests_queue(azure: Journey) -> None:
    assert azure.environment.bus.counts(REQUESTS).empty
