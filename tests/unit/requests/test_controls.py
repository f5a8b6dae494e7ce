"""Pauses and their ends on the requests queue, through to what runs do about them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from maintenance.coordination.pauses import Pause
from maintenance.domain.errors import BusUnavailable
from maintenance.domain.resources import parse_scope
from maintenance.requests.handler import MAX_DELIVERIES
from tests.support.fake_bus import envelope_of
from tests.support.samples import NOW, OTHER_SUBSCRIPTION, SUBSCRIPTION, request_body
from tests.support.unit_environment import UnitEnvironment

SCOPE = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/WEB-RG"
PAUSE = {"pause": {"scope": SCOPE, "reason": "incident 4711"}}
RESUME = {"resume": {"scope": f"/subscriptions/{SUBSCRIPTION}"}}


async def sent(environment: UnitEnvironment, body: object, message_id: str) -> None:
    environment.send(body, message_id=message_id)
    await environment.deliver()
    await environment.tick()


async def test_pause_is_answered_and_puts_up_its_entry() -> None:
    environment = UnitEnvironment()
    await sent(environment, PAUSE, "p")
    (event,) = environment.bus.events.values()
    assert (event.type, event.subject) == ("vmss.maintenance.accepted.v1", "p")
    assert (event.data["status"], event.data["pauses"], event.data["reason"]) == ("Accepted", SCOPE, "incident 4711")
    assert "until" not in event.data
    (entry,) = environment.coordination.entries
    assert isinstance(entry, Pause)
    assert (entry.scope, entry.open_ended) == (SCOPE.lower(), True)


async def test_what_is_paused_waits_and_goes_on_after_the_resume() -> None:
    environment = UnitEnvironment()
    await sent(environment, PAUSE, "p")
    await sent(environment, request_body(requestId="r"), "r")
    for _ in range(4):
        await environment.tick()
        environment.clock.time += timedelta(minutes=10)
    assert environment.arm.posted == []
    # Once, together with the first reading of the coordination queue.
    assert environment.arm.looks == 1
    deferred = [event for event in environment.bus.events.values() if event.data["status"] == "Deferred"]
    assert [(event.data["waitsFor"], event.data["until"]) for event in deferred] == [("Pause", None)]
    assert "incident 4711" in deferred[0].data["message"]
    await sent(environment, RESUME, "q")
    assert environment.coordination.entries and not any(isinstance(e, Pause) for e in environment.coordination.entries)
    await environment.run()
    assert environment.end["status"] == "Succeeded"


async def test_wave_that_follows_is_not_started_in_a_pause() -> None:
    environment = UnitEnvironment()
    await sent(environment, request_body(requestId="r", rollout={"maxInstancesPerWave": 1}), "r")
    while not environment.arm.posted:
        await environment.tick()
        environment.clock.time += timedelta(seconds=30)
    await sent(environment, PAUSE, "p")
    posted = len(environment.arm.posted)
    for _ in range(12):
        environment.clock.time += timedelta(minutes=10)
        await environment.tick()
    assert len(environment.arm.posted) == posted
    await environment.run()
    assert environment.end["status"] == "TimedOut"
    (last,) = environment.end["error"]["details"]
    assert last["code"] == "WaitsForPause"


async def test_pause_with_an_end_is_over_by_itself() -> None:
    environment = UnitEnvironment()
    until = NOW + timedelta(hours=1)
    await sent(environment, {"pause": {"scope": SUBSCRIPTION, "until": until.isoformat()}}, "p")
    await sent(environment, request_body(requestId="r"), "r")
    await environment.run()
    assert environment.end["status"] == "Succeeded"
    assert environment.end["start"] >= until.isoformat()


async def test_late_delivery_of_a_pause_does_not_undo_its_resume() -> None:
    environment = UnitEnvironment()
    environment.send(PAUSE, message_id="p")
    (pause,) = environment.bus.requests.take(1)
    await environment.handler.handle(envelope_of(pause))
    environment.clock.time += timedelta(seconds=1)
    await sent(environment, RESUME, "q")
    # Its first delivery was never completed; by now duplicate detection has forgotten its entry.
    environment.clock.time += timedelta(days=2)
    await environment.handler.handle(envelope_of(pause))
    await sent(environment, request_body(requestId="r"), "r")
    await environment.run(hours=200)
    assert [event.data["status"] for event in environment.bus.ends] == ["Succeeded"]


async def test_app_that_is_paused_starts_nothing() -> None:
    environment = UnitEnvironment(paused=True)
    await sent(environment, request_body(requestId="r"), "r")
    await environment.run()
    assert environment.end["status"] == "TimedOut"
    assert (environment.arm.posted, environment.arm.looks) == ([], 0)


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"pause": {"scope": OTHER_SUBSCRIPTION}}, "scope"),
        ({"resume": {"scope": OTHER_SUBSCRIPTION}}, "scope"),
        ({"pause": {"scope": SUBSCRIPTION, "until": "2026-01-31T11:59:59Z"}}, "pause.until"),
        ({"pause": {"scope": SUBSCRIPTION, "until": "2026-03-31T11:59:59Z"}}, "pause.until"),
        ({"pause": {"scope": "web-rg"}}, "pause.scope"),
        ({"pause": {}}, "pause.scope"),
        ({"pause": None}, "pause"),
        ({"pause": {"scope": SUBSCRIPTION, "Until": "x"}}, "pause.Until"),
        ({**PAUSE, **request_body()}, "subscriptionId"),
        ({**PAUSE, **RESUME}, "resume"),
    ],
)
async def test_pause_that_is_none_or_not_allowed_is_rejected(asked: dict[str, Any], field: str) -> None:
    environment = UnitEnvironment()
    await sent(environment, asked, "p")
    assert environment.end["status"] == "Rejected"
    assert field in [problem["field"] for problem in environment.end["problems"]]
    assert environment.coordination.entries == []


async def test_pause_may_name_whatever_the_app_may_touch_and_no_more() -> None:
    scope = f"/subscriptions/{SUBSCRIPTION}"
    environment = UnitEnvironment(allowed_scopes=(parse_scope(SCOPE),))
    await sent(environment, {"pause": {"scope": scope}}, "p")
    assert environment.end["problems"][0]["field"] == "scope"
    await sent(environment, PAUSE, "q")
    assert len(environment.coordination.entries) == 1


async def test_resume_whose_entry_could_not_be_put_is_delivered_again() -> None:
    environment = UnitEnvironment()
    await sent(environment, PAUSE, "p")
    environment.clock.time += timedelta(seconds=1)
    environment.coordination.down = True
    environment.send(RESUME, message_id="q")
    await environment.deliver()
    assert [type(each) for each in environment.failures] == [BusUnavailable]
    environment.coordination.down = False
    await environment.run()
    assert not any(isinstance(each, Pause) for each in environment.coordination.entries)


async def test_dead_lettered_pause_says_that_it_may_hold_already() -> None:
    environment = UnitEnvironment()
    environment.bus.down.add("operations")
    environment.send(PAUSE, message_id="p")
    for _ in range(MAX_DELIVERIES):
        await environment.deliver()
    assert len(environment.coordination.entries) == 1
    environment.bus.down.clear()
    await environment.run()
    (problem,) = environment.end["problems"]
    assert problem["message"].endswith("; what it asks for may hold already, send it again")
