"""Records in the operations queue that this version cannot read, or only in part."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from azure.servicebus import ServiceBusMessage

from maintenance.domain import message_ids
from maintenance.domain.operation import Call, Operation, Phase
from maintenance.domain.resources import ScaleSet
from maintenance.operations.records import to_record, write_record
from sandbox.resource_manager import InstanceSeed, ScaleSetSeed
from tests.support.entities import OPERATIONS
from tests.support.secret_scanner import SECRET_SCANNER
from tests.support.time_travel import START, Journey, journey, tick

pytestmark = pytest.mark.asyncio(loop_scope="module")

SUBSCRIPTION = "11111111-6666-4666-8666-666666666666"
SIGNED = (
    "https://management.azure.com/subscriptions/1/providers/Microsoft.Compute/x?s=c2lnbmF0dXJlLW9mLWFybQ&c=MIIabcdefgh"
)


DEADLINE = START + timedelta(hours=1)


def run_of(name: str) -> str:
    return message_ids.short_hash(name, length=32)


def operation_of(name: str, **fields: Any) -> Operation:
    return Operation(
        run_id=run_of(name),
        request_id=name.replace(" ", "-"),
        scale_set=ScaleSet(SUBSCRIPTION, "shop", "web"),
        requested_at=START,
        deadline=DEADLINE,
        **fields,
    )


def record(**fields: Any) -> bytes:
    """The body of a readable record, with other fields; a field of `...` is left out."""
    operation = operation_of("poison", phase=Phase.TRACK, waves=(("0",),), calls=(Call(("0",), SIGNED),))
    document = {**json.loads(write_record(operation)), **fields}
    return json.dumps({name: value for name, value in document.items() if value is not ...}).encode()


def message(name: str, body: bytes) -> ServiceBusMessage:
    """The body in the message of a record of a run of that name."""
    readable = to_record(operation_of(name), None)
    return ServiceBusMessage(
        body,
        message_id=readable.message_id,
        subject="track",
        application_properties={name.encode(): str(value) for name, value in readable.properties.items()},
    )


# With the reason that the log and the end give.
POISON = {
    "garbage": (b"\x00\xff\xfe garbage", "NotJson"),
    "empty": (b"", "NotJson"),
    "text": (b"restart everything", "NotJson"),
    "cut off": (record()[:-20], "NotJson"),
    "nested": (b"[" * 20_000, "NotJson"),
    "a list": (b"[1, 2]", "NotARecord"),
    "older": (record(schemaVersion=0), "UnknownSchemaVersion"),
    "newer": (record(schemaVersion=99), "UnknownSchemaVersion"),
    "no version": (record(schemaVersion=...), "UnknownSchemaVersion"),
    "version as text": (record(schemaVersion="1"), "UnknownSchemaVersion"),
    "no scale set": (record(scale_set=...), "InvalidRecord"),
    "no such phase": (record(phase=SIGNED), "InvalidRecord"),
    "calls of another kind": (record(calls=[{"url": SIGNED, "kind": SIGNED}]), "InvalidRecord"),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def azure() -> AsyncIterator[Journey]:
    async with journey([SUBSCRIPTION]) as azure:
        yield azure


async def test_unreadable_record_is_passed_on_until_its_deadline_and_then_ended(
    azure: Journey, caplog: pytest.LogCaptureFixture
) -> None:
    azure.environment.arm.seed(ScaleSetSeed(SUBSCRIPTION, "shop", "web", instances=(InstanceSeed("0"),)))
    await azure.send(SUBSCRIPTION, "healthy", instanceIds=["0"])
    await azure.job.send_operations(*[message(name, body) for name, (body, _) in POISON.items()])
    caplog.set_level(logging.INFO, "maintenance")
    await tick(azure.job)

    waiting = {each.message_id: each for each in azure.environment.bus.peek(OPERATIONS)}
    for name, (body, reason) in POISON.items():
        passed_on = waiting[f"{run_of(name)}:s1"]
        assert passed_on.body == body
        assert passed_on.scheduled_for == azure.clock() + timedelta(minutes=10)
        assert any(f"Passed record {run_of(name)}:s0 on unread: {reason}" in line for line in caplog.messages)
    ended = await azure.finish("healthy", *(name.replace(" ", "-") for name in POISON))

    assert ended.pop("healthy").status == "Succeeded"
    assert azure.clock() >= DEADLINE
    for name, (_, reason) in POISON.items():
        event = ended[name.replace(" ", "-")]
        assert (event.kind, event.status, event.run_id) == ("completed", "Failed", run_of(name))
        assert event.data["error"]["code"] == "UnreadableRecord"
        assert reason in event.data["error"]["message"]
    assert azure.environment.bus.counts(OPERATIONS).dead_lettered == 0
    SECRET_SCANNER.scan_queues(azure.environment)


async def test_message_that_no_run_owns_is_dropped_and_logged(azure: Journey, caplog: pytest.LogCaptureFixture) -> None:
    events = len(azure.environment.events)
    caplog.set_level(logging.INFO, "maintenance")
    await azure.job.send_operations(ServiceBusMessage(b"restart everything", message_id="stray"))
    await tick(azure.job)
    assert azure.environment.left_over() == []
    assert len(azure.environment.events) == events
    assert any("Dropped message stray, which no run owns" in line for line in caplog.messages)


async def test_fields_of_newer_version_are_retained_in_every_record(azure: Journey) -> None:
    azure.environment.bus.clear()
    instances = (InstanceSeed("0", duration=timedelta(minutes=3)),)
    azure.environment.arm.seed(ScaleSetSeed(SUBSCRIPTION, "shop", "web", instances=instances))
    added = {"healthGate": {"until": "2030-01-01", "probes": [1, 2, {"deep": None}]}, "shade": "blue"}
    name = "from-the-future"
    operation = replace(
        operation_of(name, targets=("0",)), requested_at=azure.clock(), deadline=azure.clock() + timedelta(hours=1)
    )
    body = {**json.loads(write_record(operation)), **added}
    await azure.job.send_operations(ServiceBusMessage(json.dumps(body), message_id=f"{run_of(name)}:s0"))
    # Through planning, posting and three polls.
    for _ in range(3):
        await tick(azure.job)
        (carried,) = azure.records(SUBSCRIPTION)
        document = json.loads(carried.body)
        assert {name: document[name] for name in added} == added
        assert carried.subject == "track"
        azure.clock.advance(timedelta(minutes=1))
    ended = await azure.finish(name)
    assert ended[name].status == "Succeeded"
