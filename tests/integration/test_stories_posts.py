"""Stories of POSTs: refused, lost, late, beside other hands; and what the views are taken to say."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from sandbox.resource_manager import Fault, InstanceSeed
from tests.support.story import LASTS, MINUTE, Story, subscriptions
from tests.support.time_travel import Journey, journey

pytestmark = pytest.mark.asyncio(loop_scope="module")

SUBSCRIPTIONS = subscriptions(30)


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
    assert ended["shrinks"].outcomes == {**dict.fromkeys("02345", "Completed"), "1": "NotFound"}
    assert set(story.maintained().values()) == {1}
    assert max(map(len, story.posts())) <= 3


async def test_instance_updated_by_others_is_waited_for(story: Story) -> None:
    story.place("01")
    fault(story, method="POST", update=("1",), update_duration=5 * MINUTE)
    await story.send("a", requestId="busy")
    ended = await story.finish("busy")
    assert ended["busy"].status == "Succeeded"
    assert story.maintained() == {"0": 1, "1": 1}


async def test_lost_post_of_an_instance_completed_in_an_earlier_campaign_is_sent_again(story: Story) -> None:
    story.place_all(InstanceSeed("0", duration=LASTS, earlier_result="MaintenanceCompleted"))
    fault(story, method="POST", status=504)
    await story.send("a", requestId="second-campaign")
    await story.finish("second-campaign")
    assert story.statuses("second-campaign") == ["Succeeded"]
    assert story.maintained() == {"0": 1}


async def test_lagging_views_make_no_instance_posted_twice(story: Story) -> None:
    instances = (InstanceSeed(str(number), duration=LASTS) for number in range(4))
    story.place_all(*instances, view_lag=1.5 * MINUTE)
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


async def test_instance_whose_view_is_never_shown_is_unknown_in_the_end(story: Story) -> None:
    story.place_all(
        InstanceSeed("0", duration=LASTS),
        InstanceSeed("1", duration=LASTS, view_hidden="missing", view_hidden_times=None),
    )
    await story.send("a", requestId="unseen")
    ended = await story.finish("unseen")
    assert ended["unseen"].outcomes["0"] == "Completed"
    assert ended["unseen"].outcomes["1"] == "Unknown"
    assert story.maintained() == {"0": 1, "1": 0}
