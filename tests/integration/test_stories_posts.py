"""Stories of POSTs: refused, lost, late, beside other hands; and what the views are taken to say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio

from sandbox.resource_manager import ArmEvent, CallReceived, Fault, InstanceSeed
from tests.integration.story import LASTS, MINUTE, Story, subscriptions
from tests.support.environment import OPERATIONS, REQUESTS
from tests.support.time_travel import Journey, journey

pytestmark = pytest.mark.asyncio(loop_scope="module")

SUBSCRIPTIONS = subscriptions(30)
EARLIER = {"earlier_result": "MaintenanceCompleted", "changed_before": timedelta(days=20)}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def azure() -> AsyncIterator[Journey]:
    async with journey(SUBSCRIPTIONS) as azure:
        yield azure


@pytest.fixture
def story(azure: Journey) -> Story:
    return Story(azure, SUBSCRIPTIONS.pop())


def fault(story: Story, path: str = "*/performMaintenance", **what: object) -> None:
    story.azure.environment.arm.faults.add(Fault(path=f"/subscriptions/{story.subscription}/{path}", **what))  # type: ignore[arg-type]


async def test_instance_scaled_in_before_the_post_costs_its_neighbours_nothing(story: Story) -> None:
    story.place("012345")
    fault(story, method="POST", scale_in=("1",))
    await story.send("a", requestId="shrinks", rollout={"maxInstancesPerWave": 3})
    ended = await story.finish("shrinks")
    assert ended["shrinks"].outcomes == {
        **dict.fromkeys("02345", "Completed"),
        "1": "NotFound",
    }
    assert set(story.maintained().values()) == {1}
    assert max(map(len, story.posts())) <= 3


async def test_instance_updated_by_others_is_waited_for(story: Story) -> None:
    story.place("01")
    fault(story, method="POST", update=("1",), update_duration=5 * MINUTE)
    await story.send("a", requestId="busy")
    ended = await story.finish("busy")
    assert ended["busy"].status == "Succeeded"
    assert story.maintained() == {"0": 1, "1": 1}


async def test_queues_full_for_a_minute_after_the_post_lose_no_end(story: Story) -> None:
    bus = story.azure.environment.bus
    loop, posted = asyncio.get_running_loop(), asyncio.Event()

    def observe(event: ArmEvent) -> None:
        if isinstance(event, CallReceived) and event.call.method == "POST" and story.subscription in event.call.path:
            bus.faults.fill(OPERATIONS)
            bus.faults.fill(REQUESTS)
            loop.call_soon_threadsafe(posted.set)

    story.place("01")
    story.azure.environment.arm.observers.append(observe)
    await story.send("a", requestId="full")
    await posted.wait()
    # The worker tries again and again.
    await asyncio.sleep(1)
    bus.faults.reset()
    await story.finish("full")
    assert story.statuses("full") == ["Succeeded"]
    assert story.maintained() == {"0": 1, "1": 1}


async def test_lost_post_of_an_instance_completed_in_an_earlier_campaign_is_sent_again(story: Story) -> None:
    story.place_all(InstanceSeed("0", duration=LASTS, earlier_result="MaintenanceCompleted"))
    fault(story, method="POST", status=504)
    await story.send("a", requestId="second-campaign")
    await story.finish("second-campaign")
    assert story.statuses("second-campaign") == ["Succeeded"]
    assert story.maintained() == {"0": 1}


async def test_lost_post_of_an_instance_that_was_to_be_retried_later_is_sent_again(story: Story) -> None:
    story.place_all(InstanceSeed("0", duration=LASTS, earlier_result="RetryLater", changed_before=2 * MINUTE))
    fault(story, method="POST", cut="before")
    await story.send("a", requestId="that-retry")
    await story.finish("that-retry")
    assert story.statuses("that-retry") == ["Succeeded"]
    assert story.maintained() == {"0": 1}


async def test_two_campaigns_are_told_apart(story: Story) -> None:
    """Planned again as soon as it was maintained: still one maintenance for one request."""
    story.place("012", earlier_result="MaintenanceCompleted", planned_again_after=timedelta(0))
    await story.send("a", requestId="planned-again", rollout={"maxInstancesPerWave": 1})
    ended = await story.finish("planned-again")
    assert ended["planned-again"].outcomes == dict.fromkeys("012", "Completed")
    assert set(story.maintained().values()) == {1}


async def test_maintenance_withdrawn_before_the_post_is_not_called_completed(story: Story) -> None:
    story.place("0")
    story.azure.environment.arm.update(story.subscription, "shop", "web", "0", 10 * MINUTE)
    await story.send("a", requestId="withdrawn")
    await story.pass_time(2 * MINUTE)
    story.place_all(InstanceSeed("0", state="not-planned"))
    ended = await story.finish("withdrawn")
    assert ended["withdrawn"].outcomes == {"0": "Skipped"}
    assert story.posts() == []


async def test_instances_without_update_domain_do_not_go_down_together(story: Story) -> None:
    story.place_all(*(InstanceSeed(str(number), update_domain=None, duration=LASTS) for number in range(5)))
    await story.send("a", requestId="no-domains", rollout={"byUpdateDomain": True})
    await story.finish("no-domains")
    assert story.posts() == [[str(number)] for number in range(5)]


async def test_lagging_views_make_no_instance_posted_twice(story: Story) -> None:
    instances = (InstanceSeed(str(number), duration=LASTS) for number in range(4))
    story.place_all(*instances, view_lag=90 * MINUTE / 60)
    fault(story, method="POST", cut="after")
    await story.send("a", requestId="lagging", rollout={"maxInstancesPerWave": 2})
    ended = await story.finish("lagging")
    assert ended["lagging"].outcomes == dict.fromkeys("0123", "Completed")
    assert set(story.maintained().values()) == {1}


async def test_view_that_is_not_shown_for_a_while_is_read_again(story: Story) -> None:
    story.place_all(InstanceSeed("0", duration=LASTS), InstanceSeed("1", duration=LASTS, view_hidden="null"))
    await story.send("a", requestId="hidden")
    ended = await story.finish("hidden")
    assert ended["hidden"].outcomes == {"0": "Completed", "1": "Completed"}


async def test_view_that_is_never_shown_is_skipped_in_the_end(story: Story) -> None:
    story.place_all(
        InstanceSeed("0", duration=LASTS),
        InstanceSeed("1", duration=LASTS, view_hidden="missing", view_hidden_times=None),
    )
    await story.send("a", requestId="unseen")
    ended = await story.finish("unseen")
    assert ended["unseen"].outcomes["0"] == "Completed"
    assert ended["unseen"].outcomes["1"] == "Skipped"
    assert story.maintained() == {"0": 1, "1": 0}
