"""Stories of cancellations: what was accepted is met, however late, and concerns nobody else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio

from tests.integration.story import MINUTE, Story, subscriptions
from tests.support.time_travel import Journey, journey

pytestmark = pytest.mark.asyncio(loop_scope="module")

SUBSCRIPTIONS = subscriptions(20)
ONE_BY_ONE = {"maxInstancesPerWave": 1}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def azure() -> AsyncIterator[Journey]:
    async with journey(SUBSCRIPTIONS) as azure:
        yield azure


@pytest.fixture
def story(azure: Journey) -> Story:
    return Story(azure, SUBSCRIPTIONS.pop())


async def test_cancellation_of_a_waiting_request_is_met_within_a_quarter_of_an_hour(story: Story) -> None:
    story.place("01")
    begins = story.azure.clock() + timedelta(hours=5)
    await story.send("a", requestId="later", notBefore=begins.isoformat())
    await story.tick()
    await story.send("b", cancel="later", reason="wrong day")
    await story.pass_time(15 * MINUTE)
    assert story.statuses("later") == ["Canceled"]
    assert "wrong day" in story.ends[0].data["error"]["message"]
    assert story.azure.calls(story.subscription) == []


async def test_cancellation_on_the_first_day_is_met_ten_days_later(story: Story) -> None:
    """No timer fires in the meantime: an app that stands still."""
    story.place("01")
    begins = story.azure.clock() + timedelta(days=10)
    await story.send("a", requestId="in-ten-days", notBefore=begins.isoformat())
    await story.tick()
    await story.send("b", cancel="in-ten-days")
    await story.tick()
    story.leap(timedelta(days=10))
    await story.pass_time(20 * MINUTE, 5 * MINUTE)
    assert story.statuses("in-ten-days") == ["Canceled"]
    assert story.posts() == []


async def test_cancellation_in_the_first_wave_is_met_after_a_pause_of_days(story: Story) -> None:
    story.place("01", lasts=timedelta(hours=2))
    deadline = (story.azure.clock() + timedelta(days=30)).isoformat()
    rollout = {**ONE_BY_ONE, "pauseBetweenWaves": "P7D"}
    await story.send("a", requestId="slow", deadline=deadline, rollout=rollout)
    await story.tick()
    await story.send("b", cancel="slow")
    await story.pass_time(timedelta(hours=3), 20 * MINUTE)
    story.leap(timedelta(days=7))
    await story.pass_time(30 * MINUTE, 10 * MINUTE)
    assert story.statuses("slow") == ["Canceled"]
    assert story.posts() == [["0"]]
    assert story.ends[0].outcomes == {"0": "Completed", "1": "NotAttempted"}


async def test_cancellation_that_arrives_first_is_met(story: Story) -> None:
    """Two senders at the same time: the queue may hold them in either order."""
    story.place("01")
    await story.send("b", cancel="overtaken")
    await story.pass_time(MINUTE)
    await story.send("a", requestId="overtaken")
    await story.pass_time(2 * MINUTE)
    assert story.statuses("overtaken") == ["Canceled"]
    assert story.posts() == []


async def test_cancellation_does_not_reach_a_request_sent_later(story: Story) -> None:
    story.place("0")
    await story.send("b", cancel="reused")
    await story.pass_time(3 * MINUTE)
    await story.send("a", requestId="reused")
    await story.finish("reused")
    assert story.statuses("reused") == ["Succeeded"]


async def test_cancellation_that_names_another_scale_set_is_answered_and_changes_nothing(story: Story) -> None:
    story.place("01")
    await story.send("a", requestId="mine", rollout=ONE_BY_ONE)
    await story.tick()
    await story.send("b", cancel="mine", vmScaleSetName="other")
    await story.finish("mine")
    assert story.statuses("mine") == ["Succeeded"]
    assert [event.status for event in story.events if "cancels" in event.data] == ["Accepted"]


async def test_cancellation_behind_another_entry_is_met_on_short_pages(story: Story) -> None:
    """A peek may bring fewer entries than there are: here one at a time."""
    story.azure.environment.bus.peek_limit = 1
    story.place("01")
    await story.send("x", cancel="another")
    await story.tick()
    await story.send("b", cancel="behind")
    await story.tick()
    await story.send("a", requestId="behind", rollout=ONE_BY_ONE)
    await story.pass_time(2 * MINUTE)
    story.azure.environment.bus.peek_limit = None
    assert story.statuses("behind") == ["Canceled"]
    assert story.posts() == []


async def test_cancellation_between_two_waves_starts_no_further_wave(story: Story) -> None:
    story.place("012")
    await story.send("a", requestId="between", rollout={**ONE_BY_ONE, "pauseBetweenWaves": "PT30M"})
    await story.pass_time(5 * MINUTE)
    await story.send("b", cancel="between")
    await story.pass_time(15 * MINUTE)
    assert story.statuses("between") == ["Canceled"]
    assert story.posts() == [["0"]]


async def test_canceled_run_releases_its_lease(story: Story) -> None:
    story.place("01")
    await story.send("a", requestId="stopped", rollout={**ONE_BY_ONE, "pauseBetweenWaves": "PT30M"})
    await story.pass_time(5 * MINUTE)
    await story.send("next", requestId="next", instanceIds=["1"])
    await story.send("b", cancel="stopped")
    ended = await story.finish("stopped", "next")
    assert (ended["stopped"].status, ended["next"].status) == ("Canceled", "Succeeded")
    assert story.subscription not in str(story.azure.environment.entries("lease"))
