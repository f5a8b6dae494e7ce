"""The process dies at every step of a story in turn, and another takes over: nothing is done twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest

from maintenance.domain.instances import Instance, MaintenanceStatus
from maintenance.domain.observations import Refused
from tests.support.fakes import LOST, Killed, all_eligible
from tests.support.samples import LONG_AGO, eligible, request_body
from tests.support.unit_environment import UnitEnvironment

EARLIER = MaintenanceStatus(True, "maintenancecompleted", window=("2025-01-01",))


@dataclass(frozen=True)
class Story:
    """What is asked for, of which instances, and what each must come to."""

    name: str
    body: dict[str, Any]
    outcomes: dict[str, str]
    instances: tuple[Instance, ...] = tuple(all_eligible(3))
    begin: Callable[[UnitEnvironment], None] = lambda environment: None


def lose_response(environment: UnitEnvironment) -> None:
    environment.arm.post_answers = [LOST]


def refuse_once(environment: UnitEnvironment) -> None:
    environment.arm.post_answers = [Refused(LOST.error, 409)]


def be_flexible(environment: UnitEnvironment) -> None:
    environment.arm.flexible = True


DONE = dict.fromkeys("012", "Completed")
STORIES = [
    Story("one wave", request_body(), DONE),
    Story("one by one", request_body(rollout={"maxInstancesPerWave": 1, "pauseBetweenWaves": "PT20M"}), DONE),
    Story(
        "a percentage",
        request_body(instanceIds=..., rollout={"maxInstancesPerWave": "40%"}),
        dict.fromkeys("01234", "Completed"),
        tuple(all_eligible(5)),
    ),
    Story("lost response", request_body(), DONE, begin=lose_response),
    Story("refused once", request_body(), DONE, begin=refuse_once),
    Story("flexible", request_body(rollout={"maxInstancesPerWave": 2}), DONE, begin=be_flexible),
    Story(
        "an earlier campaign",
        request_body(),
        DONE,
        tuple(eligible(i, maintenance=EARLIER, changed_at=LONG_AGO) for i in "012"),
    ),
]


def check(environment: UnitEnvironment, story: Story, killed_at: str) -> None:
    where = f"{story.name}, killed at {killed_at}"
    assert environment.failures == [], where
    assert environment.outcomes == story.outcomes, where
    assert set(environment.arm.maintained.values()) == {1}, where
    assert environment.arm.wrongly_posted == [], where
    for event_id in {event.event_id for event in environment.bus.published}:
        contents = {event.to_json() for event in environment.bus.published if event.event_id == event_id}
        assert len(contents) == 1, f"{where}: {event_id} says two things"
    end = environment.bus.ends[0]
    assert all(at <= end.time for at in environment.arm.posted_at), f"{where}: posted after the end"
    assert environment.coordination.entries == [], f"{where}: a lease is left"


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
async def test_killed_at_any_step_everything_is_done_once_and_one_end_is_published(story: Story) -> None:
    die_at = 0
    while True:
        die_at += 1
        environment = UnitEnvironment(story.instances, die_at=die_at)
        story.begin(environment)
        environment.send(story.body)
        await environment.run()
        if environment.crash_point.die_at is not None:
            break
        check(environment, story, f"step {die_at} ({environment.crash_point.steps[die_at - 1]})")
    assert die_at > 20


@pytest.mark.parametrize("apart", [3, 11])
async def test_killed_twice_a_rollout_is_still_done_once(apart: int) -> None:
    story = STORIES[1]
    for die_at in range(1, 120, 7):
        environment = UnitEnvironment(story.instances, die_at=die_at)
        environment.crash_point.then_at = die_at + apart
        environment.send(story.body)
        await environment.run()
        check(environment, story, f"steps {die_at} and {die_at + apart}")


async def test_killed_at_any_step_nothing_is_posted_after_an_accepted_cancellation() -> None:
    die_at = 0
    while True:
        die_at += 1
        environment = UnitEnvironment(die_at=die_at)
        environment.send(request_body(rollout={"maxInstancesPerWave": 1, "pauseBetweenWaves": "PT1H"}))
        for _ in range(4):
            await _survive(environment)
        posted = len(environment.arm.posted)
        names = {key: value for key, value in request_body().items() if key != "instanceIds"}
        environment.send({**names, "cancel": "req-1"}, message_id="stop")
        await environment.run()
        step = f"step {die_at}"
        answers = [event for event in environment.bus.events.values() if event.data.get("cancels")]
        assert len(answers) == 1, step
        late = [at for at in environment.arm.posted_at if at > answers[0].time + timedelta(minutes=2)]
        assert late == [], step
        assert len(environment.bus.ends) == 1, step
        assert environment.end["status"] in ("Canceled", "PartiallySucceeded"), step
        assert len(environment.arm.posted) <= max(posted, 1), step
        if environment.crash_point.die_at is not None:
            break


async def _survive(environment: UnitEnvironment) -> None:
    try:
        await environment.deliver()
        await environment.tick()
    except (Killed, BaseExceptionGroup):
        environment.restart()


async def test_message_delivered_over_and_over_is_one_run() -> None:
    environment = UnitEnvironment()
    environment.send()
    for _ in range(5):
        (message,) = environment.bus.requests.messages
        message.locked_until = environment.clock()
        message.deliveries = 0
        envelope_before = replace(message)
        await environment.deliver()
        environment.bus.requests.messages.append(envelope_before)
    environment.bus.requests.messages.clear()
    await environment.run()
    assert environment.outcomes == DONE
    assert len(environment.arm.posted) == 1
