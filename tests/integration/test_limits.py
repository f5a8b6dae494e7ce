"""Limits over several scale sets, as ARM sees them: how many were under way at once."""

from __future__ import annotations

import json
from datetime import datetime

from tests.support.entities import OPERATIONS
from tests.support.story import LASTS, MINUTE, Story, subscriptions
from tests.support.time_travel import journey

SETS = [f"web{number:02}" for number in range(20)]
TWO_AT_ONCE = json.dumps({"scaleSets": 2})


def most_at_once(times: list[datetime]) -> int:
    """How many scale sets were under way at once, by when ARM took the POST of each."""
    return max(sum(begun <= now < begun + LASTS for begun in times) for now in times)


async def test_no_more_scale_sets_are_under_way_at_once_than_the_limit_allows_though_locks_are_lost() -> None:
    (subscription,) = subscriptions(1)
    async with journey([subscription], MAINTENANCE_LIMITS=TWO_AT_ONCE) as azure:
        story = Story(azure, subscription)
        for name in SETS:
            story.place("01", name=name)
            await story.send(name, requestId=name, vmScaleSetName=name)
        while len(story.ends) < len(SETS) // 2:
            await story.tick()
            azure.environment.bus.faults.lose_locks(OPERATIONS)
            azure.clock.advance(MINUTE)
        ended = await story.finish(*SETS)
        assert {event.status for event in ended.values()} == {"Succeeded"}
        assert all(story.maintained(name) == {"0": 1, "1": 1} for name in SETS)
        times = [at for name in SETS for at in story.posted_at(name)]
        assert len(times) == len(SETS)
        assert most_at_once(times) == 2
