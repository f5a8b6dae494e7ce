"""Proceeds on the requests queue, and gates of requests, through to what runs do about them."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from maintenance.coordination.documents import read_entry, write_entry
from maintenance.coordination.proceeds import Proceed
from maintenance.domain.calendars import Gate
from maintenance.domain.errors import InvalidRequest
from maintenance.domain.messages import Envelope
from maintenance.domain.operation import Rollout
from maintenance.requests.schema import MaintenanceRequest, read_request
from tests.support.samples import NOW, OTHER_SUBSCRIPTION, request_body
from tests.support.unit_environment import UnitEnvironment

NAMES = {name: request_body()[name] for name in ("subscriptionId", "resourceGroupName", "vmScaleSetName")}
PROCEED = {**NAMES, "proceed": "r", "wave": 1, "reason": "drained"}


def gated(**rollout: Any) -> dict[str, Any]:
    return request_body(requestId="r", rollout={"gate": "everyWave", "maxInstancesPerWave": 2, **rollout})


async def sent(environment: UnitEnvironment, body: object, message_id: str) -> None:
    environment.send(body, message_id=message_id)
    await environment.deliver()
    await environment.tick()


async def until_asked(environment: UnitEnvironment, wave: int) -> None:
    """Until the run waits at the gate of this wave."""
    for _ in range(100):
        if any(event_id.endswith(f":awaiting:w{wave - 1}") for event_id in environment.bus.events):
            return
        environment.clock.time += timedelta(minutes=1)
        await environment.tick()
    raise AssertionError(f"nobody was asked: {sorted(environment.bus.events)}")


async def test_proceed_is_answered_and_puts_up_its_entry() -> None:
    environment = UnitEnvironment()
    await sent(environment, PROCEED, "p")
    (event,) = environment.bus.events.values()
    assert (event.type, event.subject) == ("vmss.maintenance.accepted.v1", "p")
    assert (event.data["status"], event.data["proceeds"], event.data["wave"]) == ("Accepted", "r", 1)
    (entry,) = environment.coordination.entries
    assert isinstance(entry, Proceed)
    assert (entry.request_id, entry.wave, entry.reason) == ("r", 1, "drained")
    read = read_entry(write_entry(entry), number=entry.number, until=entry.until, now=NOW)
    assert read == entry


async def test_each_wave_starts_after_its_own_proceed_only() -> None:
    environment = UnitEnvironment()
    await sent(environment, gated(), "r")
    await until_asked(environment, 1)
    looks = environment.arm.looks
    for _ in range(5):
        environment.clock.time += timedelta(minutes=4)
        await environment.tick()
    assert (environment.arm.posted, environment.arm.looks) == ([], looks), "no views are read at a gate"
    await sent(environment, PROCEED, "p1")
    await until_asked(environment, 2)
    assert environment.arm.posted == [("0", "1")]
    await sent(environment, {**PROCEED, "wave": 2}, "p2")
    await environment.run()
    assert environment.end["status"] == "Succeeded"
    assert environment.arm.posted == [("0", "1"), ("2",)]
    asked = [event.data["wave"] for event in environment.bus.events.values() if event.data["status"] == "Awaiting"]
    assert asked == [1, 2]


async def test_later_request_of_the_same_id_needs_its_own_proceed() -> None:
    environment = UnitEnvironment()
    await sent(environment, {**gated(gate="first"), "instanceIds": ["0"]}, "r")
    await sent(environment, PROCEED, "p")
    await environment.run()
    assert environment.end["status"] == "Succeeded"
    await sent(environment, {**gated(gate="first"), "instanceIds": ["1"]}, "r2")
    await environment.run()
    assert environment.bus.ends[-1].data["error"]["code"] == "GateTimedOut"
    assert environment.arm.posted == [("0",)]


async def test_gate_that_nobody_opens_stops_what_is_not_done() -> None:
    environment = UnitEnvironment()
    await sent(environment, gated(gateTimeout="PT20M"), "r")
    await sent(environment, PROCEED, "p")
    await environment.run()
    assert environment.end["status"] == "PartiallySucceeded"
    assert environment.outcomes == {"0": "Completed", "1": "Completed", "2": "NotAttempted"}
    assert environment.end["error"]["code"] == "GateTimedOut"


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({**PROCEED, "subscriptionId": OTHER_SUBSCRIPTION}, "scale set"),
        ({**PROCEED, "wave": 0}, "wave"),
        ({**PROCEED, "wave": 1001}, "wave"),
        ({**PROCEED, "wave": "1"}, "wave"),
        ({**PROCEED, "wave": True}, "wave"),
        ({**PROCEED, "wave": None}, "wave"),
        ({**PROCEED, "proceed": ""}, "proceed"),
        ({"proceed": "r", "wave": 1}, "subscriptionId"),
        ({**PROCEED, "cancel": "r"}, "proceed"),
        ({**PROCEED, "instanceIds": ["0"]}, "instanceIds"),
    ],
)
async def test_proceed_that_is_none_or_not_allowed_is_rejected(asked: dict[str, Any], field: str) -> None:
    environment = UnitEnvironment()
    await sent(environment, asked, "p")
    assert environment.end["status"] == "Rejected"
    assert field in [problem["field"] for problem in environment.end["problems"]]
    assert environment.coordination.entries == []


@pytest.mark.parametrize("change", [{"wave": 0}, {"wave": True}, {"wave": "1"}, {"wave": None}, {"enqueuedAt": "x"}])
def test_entry_that_no_app_can_have_written_lets_nothing_proceed(change: dict[str, Any]) -> None:
    until = NOW + timedelta(days=1)
    entry = Proceed(run_id="a" * 32, request_id="r", scale_set="s", wave=1, enqueued_at=NOW, until=until)
    body = json.dumps({**json.loads(write_entry(entry)), **change}).encode()
    assert read_entry(body, number=1, until=until, now=NOW) is None


def read(**rollout: Any) -> MaintenanceRequest:
    return read_request(Envelope(body=b"", message_id="m", sequence_number=1), request_body(rollout=rollout))


def test_gate_of_a_request_is_read_with_what_is_left_out() -> None:
    assert read(gate="first").gate == Gate("first", timedelta(hours=1), "stop")
    assert read(gate="first", gateTimeout=None, atGateTimeout=None).gate == Gate("first")
    full = read(gate="everyWave", gateTimeout="PT0S", atGateTimeout="proceed")
    assert full.gate == Gate("everyWave", timedelta(0), "proceed")
    assert (read().gate, read(gate=None).gate) == (None, None)


@pytest.mark.parametrize(
    ("rollout", "field"),
    [
        ({"gate": "every"}, "rollout.gate"),
        ({"gate": True}, "rollout.gate"),
        ({"gate": "first", "gateTimeout": "P8D"}, "rollout.gateTimeout"),
        ({"gate": "first", "atGateTimeout": "wait"}, "rollout.atGateTimeout"),
        ({"gateTimeout": "PT1H"}, "rollout.gateTimeout"),
        ({"gate": None, "atGateTimeout": "stop"}, "rollout.atGateTimeout"),
    ],
)
def test_gate_that_is_none_is_refused(rollout: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read(**rollout)
    assert [problem.field for problem in refused.value.problems] == [field]


def test_requests_differ_by_their_gates_and_agree_with_older_apps_without() -> None:
    assert read(gate="first").content != read(gate="everyWave").content != read().content
    assert "gate" not in repr(Rollout())
