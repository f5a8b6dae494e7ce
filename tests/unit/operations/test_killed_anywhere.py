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
from tests.support.unit_environment import UnitEnvironment

PAUSE = timedelta(hours=1)
BUSY = ErrorDetail("TooManyRequests", "Later, please.")


def usual(**options: Any) -> UnitEnvironment:
    environment = UnitEnvironment(**options)
    environment.send()
    return environment


def whole_scale_set(**options: Any) -> UnitEnvironment:
    environment = UnitEnvironment(**options)
    environment.send(request_body(instanceIds=...))
    return environment


def rollout(**options: Any) -> UnitEnvironment:
    environment = UnitEnvironment(all_eligible(4), **options)
    rollout = {"maxInstancesPerWave": 1, "byUpdateDomain": True, "pauseBetweenWaves": "PT1H"}
    environment.send(request_body(instanceIds=["0", "1", "2", "3"], rollout=rollout))
    return environment


def done_at_once(environment: UnitEnvironment) -> UnitEnvironment:
    environment.arm.at_once = True
    environment.arm.duration = seconds(0)
    return environment


def usual_at_once(**options: Any) -> UnitEnvironment:
    return done_at_once(usual(**options))


def rollout_at_once(**options: Any) -> UnitEnvironment:
    return done_at_once(rollout(**options))


def some_not_eligible(**options: Any) -> UnitEnvironment:
    views: list[Instance] = [*all_eligible(1), completed("1"), without_maintenance("2")]
    environment = UnitEnvironment(views, **options)
    environment.send()
    return environment


def nothing_to_do(**options: Any) -> UnitEnvironment:
    environment = UnitEnvironment([without_maintenance("0")], **options)
    environment.send()
    return environment


def bad_request(**options: Any) -> UnitEnvironment:
    environment = UnitEnvironment(**options)
    environment.send(b"restart everything")
    return environment


def lost_answer(**options: Any) -> UnitEnvironment:
    environment = UnitEnvironment(**options)
    environment.arm.post_responses = [LOST]
    environment.send()
    return environment


def throttled(**options: Any) -> UnitEnvironment:
    environment = UnitEnvironment(**options)
    environment.arm.view_responses = [TransientError("list", BUSY, status=503)]
    environment.arm.post_responses = [Throttled(BUSY, seconds(300))]
    environment.arm.poll_responses = [Throttled(BUSY, seconds(300))]
    environment.send()
    return environment


def scheduled(**options: Any) -> UnitEnvironment:
    environment = UnitEnvironment(**options)
    environment.send(request_body(notBefore="2026-01-31T13:00:00Z"))
    return environment


def dry_run(**options: Any) -> UnitEnvironment:
    environment = UnitEnvironment(**options)
    environment.send(request_body(dryRun=True))
    return environment


STORIES: dict[str, tuple[Callable[..., UnitEnvironment], str, set[str]]] = {
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


def check(environment: UnitEnvironment, status: str, maintained: set[str]) -> None:
    assert environment.end["status"] == status
    assert environment.arm.maintained == dict.fromkeys(maintained, 1)
    assert environment.arm.wrongly_posted == []
    assert (environment.bus.requests.dead, environment.bus.operations.dead) == ([], [])
    assert environment.failures == []
    assert environment.coordination.entries == [], "the scale set stays claimed"
    if len(maintained) == 4:
        # The rollouts: one instance at a time, an hour apart.
        assert environment.arm.most_down == 1
        assert all(later - sooner >= PAUSE for sooner, later in pairwise(environment.arm.posted_at))


@pytest.mark.parametrize("story", STORIES)
async def test_left_in_peace_it_ends_once(story: str) -> None:
    begin, status, maintained = STORIES[story]
    environment = begin()
    await environment.run()
    check(environment, status, maintained)
    assert environment.bus.requests.dropped == environment.bus.operations.dropped == []


@pytest.mark.parametrize("story", STORIES)
async def test_killed_after_any_step_it_still_ends_once_and_maintains_each_instance_once(story: str) -> None:
    begin, status, maintained = STORIES[story]
    peaceful = begin()
    await peaceful.run()
    for number, step in enumerate(peaceful.crash_point.reached, start=1):
        environment = begin(die_at=number)
        await environment.run()
        try:
            check(environment, status, maintained)
        except AssertionError as error:
            raise AssertionError(f"killed at step {number}, {step}: {error}") from error


@pytest.mark.parametrize("story", ["usual", "rollout", "rollout done at once", "lost answer"])
async def test_killed_twice_it_still_ends_once(story: str) -> None:
    begin, status, maintained = STORIES[story]
    peaceful = begin()
    await peaceful.run()
    steps = len(peaceful.crash_point.reached)
    for number in range(1, steps + 1):
        for later in (1, 2, 3, 5, 8):
            environment = begin(die_at=number)
            environment.crash_point.then_at = number + later
            await environment.run()
            try:
                check(environment, status, maintained)
            except AssertionError as error:
                raise AssertionError(f"killed at steps {number} and {number + later}: {error}") from error
