"""The process dies after any awaited step: one end is told, and each instance is maintained once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from maintenance.domain.errors import TransientError
from maintenance.domain.instances import Instance
from maintenance.domain.observations import ErrorDetail, Throttled
from tests.support.fakes import LOST, all_eligible
from tests.support.samples import completed, request_body, seconds, without_maintenance
from tests.support.unit_environment import World

PAUSE = timedelta(hours=1)
BUSY = ErrorDetail("TooManyRequests", "Later, please.")


def usual(**options: Any) -> World:
    world = World(**options)
    world.send()
    return world


def whole_scale_set(**options: Any) -> World:
    world = World(**options)
    world.send(request_body(instanceIds=...))
    return world


def rollout(**options: Any) -> World:
    world = World(all_eligible(4), **options)
    rollout = {"maxInstancesPerWave": 1, "byUpdateDomain": True, "pauseBetweenWaves": "PT1H"}
    world.send(request_body(instanceIds=["0", "1", "2", "3"], rollout=rollout))
    return world


def done_at_once(world: World) -> World:
    world.arm.at_once = True
    world.arm.duration = seconds(0)
    return world


def usual_at_once(**options: Any) -> World:
    return done_at_once(usual(**options))


def rollout_at_once(**options: Any) -> World:
    return done_at_once(rollout(**options))


def some_not_eligible(**options: Any) -> World:
    views: list[Instance] = [*all_eligible(1), completed("1"), without_maintenance("2")]
    world = World(views, **options)
    world.send()
    return world


def nothing_to_do(**options: Any) -> World:
    world = World([without_maintenance("0")], **options)
    world.send()
    return world


def bad_request(**options: Any) -> World:
    world = World(**options)
    world.send(b"restart everything")
    return world


def lost_answer(**options: Any) -> World:
    world = World(**options)
    world.arm.post_answers = [LOST]
    world.send()
    return world


def throttled(**options: Any) -> World:
    world = World(**options)
    world.arm.view_answers = [TransientError("list", BUSY, status=503)]
    world.arm.post_answers = [Throttled(BUSY, seconds(300))]
    world.arm.poll_answers = [Throttled(BUSY, seconds(300))]
    world.send()
    return world


def scheduled(**options: Any) -> World:
    world = World(**options)
    world.send(request_body(notBefore="2026-01-31T13:00:00Z"))
    return world


def dry_run(**options: Any) -> World:
    world = World(**options)
    world.send(request_body(dryRun=True))
    return world


STORIES: dict[str, tuple[Callable[..., World], str, set[str]]] = {
    "usual": (usual, "Succeeded", {"0", "1", "2"}),
    "whole scale set": (whole_scale_set, "Succeeded", {"0", "1", "2"}),
    "rollout": (rollout, "Succeeded", {"0", "1", "2", "3"}),
    "done at once": (usual_at_once, "Succeeded", {"0", "1", "2"}),
    "rollout done at once": (rollout_at_once, "Succeeded", {"0", "1", "2", "3"}),
    "some not eligible": (some_not_eligible, "Succeeded", {"0"}),
    "nothing to do": (nothing_to_do, "NothingToDo", set()),
    "bad request": (bad_request, "Rejected", set()),
    "lost answer": (lost_answer, "Succeeded", {"0", "1", "2"}),
    "throttled": (throttled, "Succeeded", {"0", "1", "2"}),
    "scheduled": (scheduled, "Succeeded", {"0", "1", "2"}),
    "dry run": (dry_run, "NothingToDo", set()),
}


def check(world: World, status: str, maintained: set[str]) -> None:
    assert world.end["status"] == status
    assert world.arm.maintained == dict.fromkeys(maintained, 1)
    assert world.arm.wrongly_posted == []
    assert (world.bus.requests.dead, world.bus.operations.dead) == ([], [])
    assert world.failures == []
    assert world.board.notices == [], "the scale set stays claimed"
    if len(maintained) == 4:
        # The rollouts: one instance at a time, an hour apart.
        assert world.arm.most_down == 1
        assert all(later - sooner >= PAUSE for sooner, later in pairwise(world.arm.posted_at))


@pytest.mark.parametrize("story", STORIES)
async def test_left_in_peace_it_ends_once(story: str) -> None:
    begin, status, maintained = STORIES[story]
    world = begin()
    await world.run()
    check(world, status, maintained)
    assert world.bus.requests.dropped == world.bus.operations.dropped == []


@pytest.mark.parametrize("story", STORIES)
async def test_killed_after_any_step_it_still_ends_once_and_maintains_each_instance_once(story: str) -> None:
    begin, status, maintained = STORIES[story]
    peaceful = begin()
    await peaceful.run()
    for number, step in enumerate(peaceful.fate.told, start=1):
        world = begin(die_at=number)
        await world.run()
        try:
            check(world, status, maintained)
        except AssertionError as error:
            raise AssertionError(f"killed at step {number}, {step}: {error}") from error


@pytest.mark.parametrize("story", ["usual", "rollout", "rollout done at once", "lost answer"])
async def test_killed_twice_it_still_ends_once(story: str) -> None:
    begin, status, maintained = STORIES[story]
    peaceful = begin()
    await peaceful.run()
    steps = len(peaceful.fate.told)
    for number in range(1, steps + 1):
        for later in (1, 2, 3, 5, 8):
            world = begin(die_at=number)
            world.fate.then_at = number + later
            await world.run()
            try:
                check(world, status, maintained)
            except AssertionError as error:
                raise AssertionError(f"killed at steps {number} and {number + later}: {error}") from error
