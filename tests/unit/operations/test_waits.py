"""Whatever a run waits for: it meets a cancellation, a pause and the end of one within 15 minutes, by counting."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from maintenance.coordination.entries import LEASE_OUTLASTS_DEADLINE
from maintenance.domain.calendars import Window
from maintenance.policies.calendar import Calendar
from maintenance.policies.limits import Limits
from tests.support.machine import OTHER_RUN, lease
from tests.support.samples import NOW, SUBSCRIPTION, request_body
from tests.support.unit_environment import UnitEnvironment

MEETS = timedelta(minutes=15)
# NOW is noon. What is waited for is over two hours later; what is sent comes in between, at no round time.
OVER = NOW + timedelta(hours=2)
SENT = NOW + timedelta(hours=1, minutes=3, seconds=7)
RESUMED = NOW + timedelta(hours=3, minutes=4, seconds=8)


def later(environment: UnitEnvironment, body: object, message_id: str, at: datetime) -> None:
    """A message that is sent then."""
    environment.send(body, message_id=message_id)
    environment.bus.requests.messages[-1].due = at
    environment.bus.requests.messages[-1].scheduled = True


def between_waves() -> UnitEnvironment:
    environment = UnitEnvironment()
    environment.send(request_body(rollout={"maxInstancesPerWave": 2, "pauseBetweenWaves": "PT2H"}))
    return environment


def not_before() -> UnitEnvironment:
    environment = UnitEnvironment()
    environment.send(request_body(notBefore=OVER.isoformat()))
    return environment


def window() -> UnitEnvironment:
    environment = UnitEnvironment(calendar=Calendar(((Window("0 14 * * *", timedelta(hours=4)),),)))
    environment.send()
    return environment


def gate() -> UnitEnvironment:
    environment = UnitEnvironment()
    environment.send(request_body(rollout={"gate": "first", "gateTimeout": "PT5H"}))
    later(environment, {**request_body(instanceIds=...), "proceed": "req-1", "wave": 1}, "go", OVER)
    return environment


async def others_lease() -> UnitEnvironment:
    environment = UnitEnvironment()
    await environment.coordination.put(lease(OTHER_RUN, request_id="other", until=OVER))
    environment.send()
    return environment


async def limit() -> UnitEnvironment:
    environment = UnitEnvironment(limits=Limits(scale_sets=1))
    elsewhere = f"/subscriptions/{SUBSCRIPTION}/resourcegroups/g/other".lower()
    until = OVER + LEASE_OUTLASTS_DEADLINE
    await environment.coordination.put(lease(OTHER_RUN, scale_set=elsewhere, until=until))
    environment.send()
    return environment


WAITS: dict[str, Callable[[], object]] = {
    each.__name__: each for each in (between_waves, not_before, window, gate, others_lease, limit)
}


async def waiting(name: str) -> UnitEnvironment:
    """An environment whose run waits when something is sent."""
    made = WAITS[name]()
    environment = made if isinstance(made, UnitEnvironment) else await made  # type: ignore[misc]
    assert isinstance(environment, UnitEnvironment)
    return environment


async def go_on(environment: UnitEnvironment, until: datetime, *, done: Callable[[], bool] = lambda: False) -> None:
    """Whatever falls due, when it does, until then or until it is done."""
    while True:
        await environment.deliver()
        await environment.tick()
        queues = (environment.bus.requests, environment.bus.operations_queue)
        upcoming = min((at for queue in queues if (at := queue.next_at) is not None), default=until)
        if done() or max(upcoming, environment.clock()) > until:
            break
        environment.clock.time = max(environment.clock(), upcoming)
        if environment.clock() >= until:
            break
    if not done():
        environment.clock.time = max(environment.clock(), until)


@pytest.mark.parametrize("name", WAITS)
async def test_cancellation_is_met_within_fifteen_minutes_by_whatever_waits(name: str) -> None:
    environment = await waiting(name)
    later(environment, {**request_body(instanceIds=...), "cancel": "req-1"}, "stop", SENT)
    await go_on(environment, SENT)
    posted = list(environment.arm.posted)
    assert environment.bus.ends == []
    await go_on(environment, SENT + MEETS, done=lambda: bool(environment.bus.ends))
    assert environment.end["status"] == "Canceled"
    assert environment.arm.posted == posted


@pytest.mark.parametrize("name", WAITS)
async def test_pause_holds_and_its_end_is_met_within_fifteen_minutes_by_whatever_waits(name: str) -> None:
    environment = await waiting(name)
    later(environment, {"pause": {"scope": SUBSCRIPTION}}, "pause", SENT)
    later(environment, {"resume": {"scope": SUBSCRIPTION}}, "resume", RESUMED)
    await go_on(environment, SENT)
    posted = len(environment.arm.posted)
    # Long after what was waited for is over.
    await go_on(environment, RESUMED - timedelta(seconds=1))
    assert len(environment.arm.posted) == posted
    reasons = [event.data["waitsFor"] for event in environment.bus.published if event.data["status"] == "Deferred"]
    assert reasons[-1] == "Pause"
    await go_on(environment, RESUMED + MEETS, done=lambda: len(environment.arm.posted) > posted)
    assert len(environment.arm.posted) == posted + 1
    await environment.run()
    assert environment.end["status"] == "Succeeded"
