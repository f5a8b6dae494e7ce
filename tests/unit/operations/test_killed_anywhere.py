"""The process dies after any awaited step: one end is published, and each instance is maintained at most once."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from maintenance.coordination.entries import Lease
from maintenance.domain.errors import TransientError
from maintenance.domain.instances import Instance, MaintenanceStatus
from maintenance.domain.observations import ErrorDetail, Refused, Throttled
from maintenance.policies.limits import Limits
from tests.support.fake_arm import LOST, UNSENT, all_eligible
from tests.support.samples import NOW, completed, eligible, request_body, seconds, without_maintenance
from tests.support.unit_environment import UnitEnvironment


@pytest.fixture(autouse=True)
def _silence() -> Iterator[None]:
    """Thousands of deaths are logged otherwise, which takes longer than to die."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


BUSY = ErrorDetail("TooManyRequests", "Later, please.")
PAUSE = timedelta(minutes=25)
CANCELED_AT = NOW + timedelta(minutes=15)
# When each wave may start, by somebody's word.
LET_GO_AT = (NOW + timedelta(seconds=90), NOW + timedelta(minutes=7))


def usual(**options: Any) -> UnitEnvironment:
    environment = UnitEnvironment(**options)
    environment.send()
    return environment


def whole_scale_set(**options: Any) -> UnitEnvironment:
    environment = UnitEnvironment(**options)
    environment.send(request_body(instanceIds=...))
    return environment


def without_views(**options: Any) -> UnitEnvironment:
    environment = UnitEnvironment(read_instance_views=False, **options)
    environment.send()
    return environment


def rolling(**options: Any) -> UnitEnvironment:
    """Two at a time of five, by percentage."""
    environment = UnitEnvironment(all_eligible(5), **options)
    environment.send(request_body(instanceIds=..., rollout={"maxInstancesPerWave": "40%"}))
    return environment


def pausing(**options: Any) -> UnitEnvironment:
    environment = UnitEnvironment([eligible(str(n), update_domain=n // 2) for n in range(4)], **options)
    rollout = {"byUpdateDomain": True, "pauseBetweenWaves": "PT25M"}
    environment.send(request_body(instanceIds=..., rollout=rollout))
    return environment


def canceled_in_a_pause(**options: Any) -> UnitEnvironment:
    environment = pausing(**options)
    document = {**request_body(instanceIds=...), "cancel": "req-1"}
    environment.send(document, message_id="cancel-1")
    environment.bus.requests.messages[-1].due = CANCELED_AT
    environment.bus.requests.messages[-1].scheduled = True
    return environment


def at_gates(**options: Any) -> UnitEnvironment:
    environment = UnitEnvironment(all_eligible(4), **options)
    rollout = {"maxInstancesPerWave": 2, "gate": "everyWave", "gateTimeout": "PT3H"}
    environment.send(request_body(instanceIds=..., rollout=rollout))
    for wave, at in enumerate(LET_GO_AT, start=1):
        environment.send({**request_body(instanceIds=...), "proceed": "req-1", "wave": wave}, message_id=f"go-{wave}")
        environment.bus.requests.messages[-1].due = at
        environment.bus.requests.messages[-1].scheduled = True
    return environment


def limited(**options: Any) -> UnitEnvironment:
    environment = UnitEnvironment(limits=Limits(scale_sets=1, instances_per_scale_set=2), **options)
    environment.send()
    return environment


def ambiguous(**options: Any) -> UnitEnvironment:
    environment = usual(**options)
    environment.arm.post_answers = [LOST]
    return environment


def never_arrived(**options: Any) -> UnitEnvironment:
    environment = usual(**options)
    environment.arm.post_answers = [UNSENT]
    return environment


def lagging(**options: Any) -> UnitEnvironment:
    environment = ambiguous(**options)
    environment.arm.lag = seconds(110)
    return environment


def flexible(**options: Any) -> UnitEnvironment:
    environment = UnitEnvironment([eligible(name) for name in ("vm_a", "vm_b", "vm_c")], **options)
    environment.arm.flexible = True
    environment.send(request_body(instanceIds=...))
    return environment


def flexible_in_doubt(**options: Any) -> UnitEnvironment:
    """One VM is accepted, one answer is lost, one is refused at first."""
    environment = flexible(**options)
    environment.arm.post_answers = [None, LOST, Refused(BUSY, 409)]
    return environment


def earlier_campaign(**options: Any) -> UnitEnvironment:
    """Each instance was maintained in a campaign before this one."""
    before = MaintenanceStatus(True, "maintenancecompleted")
    return usual(instances=[eligible(i, maintenance=before) for i in "012"], **options)


def refused_once(**options: Any) -> UnitEnvironment:
    environment = usual(**options)
    environment.arm.post_answers = [Refused(BUSY, 409)]
    return environment


def flexible_waves(**options: Any) -> UnitEnvironment:
    environment = UnitEnvironment([eligible(name) for name in ("vm_a", "vm_b", "vm_c")], **options)
    environment.arm.flexible = True
    environment.send(request_body(instanceIds=..., rollout={"maxInstancesPerWave": 2}))
    return environment


def throttled(**options: Any) -> UnitEnvironment:
    environment = usual(**options)
    environment.arm.view_answers = [TransientError("list", BUSY, status=503)]
    environment.arm.post_answers = [Throttled(BUSY, seconds(300))]
    environment.arm.poll_answers = [Throttled(BUSY, seconds(300))]
    return environment


def scheduled(**options: Any) -> UnitEnvironment:
    environment = UnitEnvironment(**options)
    environment.send(request_body(notBefore="2026-01-31T12:25:00Z"))
    return environment


def some_not_eligible(**options: Any) -> UnitEnvironment:
    views: list[Instance] = [*all_eligible(1), completed("1"), without_maintenance("2")]
    environment = UnitEnvironment(views, **options)
    environment.send()
    return environment


def nothing_to_do(**options: Any) -> UnitEnvironment:
    environment = UnitEnvironment([without_maintenance("0")], **options)
    environment.send()
    return environment


def dry_run(**options: Any) -> UnitEnvironment:
    environment = UnitEnvironment(**options)
    environment.send(request_body(dryRun=True))
    return environment


def bad_request(**options: Any) -> UnitEnvironment:
    environment = UnitEnvironment(**options)
    environment.send(b"restart everything")
    return environment


def dead_letters(**options: Any) -> UnitEnvironment:
    """Each message is delivered once, and then dead-lettered."""
    environment = usual(**options)
    environment.bus.requests.most_deliveries = environment.bus.operations_queue.most_deliveries = 1
    return environment


def dead_letters_of_rolling(**options: Any) -> UnitEnvironment:
    environment = rolling(**options)
    environment.bus.requests.most_deliveries = environment.bus.operations_queue.most_deliveries = 1
    return environment


@dataclass(frozen=True)
class Story:
    begin: Callable[..., UnitEnvironment]
    statuses: str
    maintained: frozenset[str] = frozenset()
    most_down: int = 99
    may_be_left: bool = False


def of(*ids: str) -> frozenset[str]:
    return frozenset(ids)


FIVE = of(*map(str, range(5)))
STORIES: dict[str, Story] = {
    "usual": Story(usual, "Succeeded", of("0", "1", "2")),
    "whole scale set": Story(whole_scale_set, "Succeeded", of("0", "1", "2")),
    # Without views it is never posted again, and what is not known is said so.
    "without views": Story(without_views, "Succeeded Failed", of("0", "1", "2"), may_be_left=True),
    "rolling": Story(rolling, "Succeeded", FIVE, most_down=2),
    "pausing": Story(pausing, "Succeeded", of("0", "1", "2", "3"), most_down=2),
    "canceled in a pause": Story(canceled_in_a_pause, "Canceled", of("0", "1"), most_down=2, may_be_left=True),
    "at gates": Story(at_gates, "Succeeded", of("0", "1", "2", "3"), most_down=2),
    "limited": Story(limited, "Succeeded", of("0", "1", "2"), most_down=2),
    "ambiguous": Story(ambiguous, "Succeeded", of("0", "1", "2")),
    "never arrived": Story(never_arrived, "Succeeded", of("0", "1", "2")),
    "lagging": Story(lagging, "Succeeded", of("0", "1", "2")),
    "flexible": Story(flexible, "Succeeded", of("vm_a", "vm_b", "vm_c")),
    "flexible in doubt": Story(flexible_in_doubt, "Succeeded", of("vm_a", "vm_b", "vm_c")),
    "flexible waves": Story(flexible_waves, "Succeeded", of("vm_a", "vm_b", "vm_c"), most_down=2),
    "earlier campaign": Story(earlier_campaign, "Succeeded", of("0", "1", "2")),
    "refused once": Story(refused_once, "Succeeded", of("0", "1", "2")),
    "throttled": Story(throttled, "Succeeded", of("0", "1", "2")),
    "scheduled": Story(scheduled, "Succeeded", of("0", "1", "2")),
    "some not eligible": Story(some_not_eligible, "Succeeded", of("0")),
    "nothing to do": Story(nothing_to_do, "NothingToDo"),
    "dry run": Story(dry_run, "NothingToDo"),
    "bad request": Story(bad_request, "Rejected"),
    # A request that was given up before its run had begun is rejected.
    "dead letters": Story(dead_letters, "Succeeded Rejected", of("0", "1", "2"), may_be_left=True),
    "dead letters of rolling": Story(dead_letters_of_rolling, "Succeeded Rejected", FIVE, 2, may_be_left=True),
}


def check(environment: UnitEnvironment, story: Story) -> None:
    bus, arm = environment.bus, environment.arm
    status = environment.end["status"]
    assert status in story.statuses.split(), status
    assert set(arm.maintained.values()) <= {1}, f"maintained twice: {arm.maintained}"
    assert set(arm.maintained) <= story.maintained
    assert story.may_be_left or set(arm.maintained) == story.maintained
    assert status != "Succeeded" or set(arm.maintained) == story.maintained
    assert arm.wrongly_posted == []
    assert arm.most_down <= story.most_down
    contents = defaultdict(set)
    for event in bus.published:
        contents[event.event_id].add(event.to_json())
    assert {event_id: len(bodies) for event_id, bodies in contents.items() if len(bodies) > 1} == {}
    steps = environment.crash_point.steps
    posts = [at for at, step in enumerate(steps) if step == "POST is sent"]
    ends = [at for at, step in enumerate(steps) if step.endswith(":ended is published")]
    assert not posts or posts[-1] < ends[0], "posted after the end was published"
    assert (bus.requests.dead, bus.operations_queue.dead) == ([], [])
    assert environment.failures == []
    assert [each for each in environment.coordination.entries if isinstance(each, Lease)] == []
    for entry in environment.end.get("instances", ()):
        done = entry["outcome"] == "Completed"
        assert not done or arm.maintained[entry["instanceId"]] == 1, "completed by nobody"
    if story.begin is pausing:
        assert all(later - sooner >= PAUSE for sooner, later in pairwise(arm.posted_at))
    if story.begin is at_gates:
        let_go: dict[tuple[str, ...], datetime] = {("0", "1"): LET_GO_AT[0], ("2", "3"): LET_GO_AT[1]}
        assert all(at >= let_go[ids] for ids, at in zip(arm.posted, arm.posted_at, strict=True) if ids)
    if story.begin is canceled_in_a_pause:
        answers = [event for event in bus.published if event.data.get("cancels") == "req-1"]
        assert answers
        assert max(arm.posted_at, default=NOW) < CANCELED_AT


@pytest.mark.parametrize("name", STORIES)
async def test_left_in_peace_the_run_ends_once(name: str) -> None:
    environment = STORIES[name].begin()
    await environment.run()
    check(environment, STORIES[name])
    assert (environment.bus.requests.dropped, environment.bus.operations_queue.dropped) == ([], [])


@pytest.mark.parametrize("name", STORIES)
async def test_killed_after_any_step_the_run_ends_once_and_maintains_each_instance_once(name: str) -> None:
    story = STORIES[name]
    peaceful = story.begin()
    await peaceful.run()
    for number, step in enumerate(peaceful.crash_point.steps, start=1):
        await killed(story, f"killed at step {number}, {step}", die_at=number)


@pytest.mark.parametrize("name", ["usual", "ambiguous", "canceled in a pause", "dead letters"])
async def test_killed_twice_the_run_ends_once_too(name: str) -> None:
    story = STORIES[name]
    peaceful = story.begin()
    await peaceful.run()
    for number in range(1, len(peaceful.crash_point.steps) + 1):
        for later in (1, 6):
            await killed(story, f"killed at steps {number} and {number + later}", die_at=number, then_at=number + later)


async def killed(story: Story, when: str, *, die_at: int, then_at: int | None = None) -> None:
    environment = story.begin(die_at=die_at)
    environment.crash_point.then_at = then_at
    try:
        await environment.run()
        check(environment, story)
    except AssertionError as error:
        raise AssertionError(f"{when}: {error}") from error


async def test_message_delivered_over_and_over_is_one_run() -> None:
    environment = UnitEnvironment()
    environment.send()
    (message,) = environment.bus.requests.messages
    for _ in range(5):
        # Redelivered with a delivery count that did not grow.
        message.locked_until, message.deliveries = environment.clock(), 0
        environment.bus.requests.messages[:] = [message]
        await environment.deliver()
    await environment.run()
    check(environment, STORIES["usual"])
    assert len(environment.arm.posted) == 1
