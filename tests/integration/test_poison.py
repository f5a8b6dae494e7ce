"""Malformed records, and records of a newer version, in the operations queue."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from azure.servicebus import ServiceBusMessage

from maintenance.domain.operation import Call, Operation, Phase
from maintenance.domain.resources import ScaleSet
from maintenance.operations.records import write_record
from sandbox.resource_manager import InstanceSeed, ScaleSetSeed
from tests.support.environment import OPERATIONS
from tests.support.secret_scanner import DEAD, SECRET_SCANNER
from tests.support.time_travel import START, Journey, journey, tick

pytestmark = pytest.mark.asyncio(loop_scope="module")

SUBSCRIPTION = "11111111-6666-4666-8666-666666666666"
SIGNED = (
    "https://management.azure.com/subscriptions/1/providers/Microsoft.Compute/x?s=c2lnbmF0dXJlLW9mLWFybQ&c=MIIabcdefgh"
)


def record(**fields: Any) -> bytes:
    """A valid record with changed fields; `...` omits one."""
    operation = Operation(
        request_id="poisoned",
        scale_set=ScaleSet(SUBSCRIPTION, "shop", "web"),
        requested_at=START,
        deadline=START + timedelta(hours=1),
        phase=Phase.TRACKING,
        waves=(("0",),),
        calls=(Call(("0",), SIGNED),),
    )
    document = {**json.loads(write_record(operation)), **fields}
    return json.dumps({name: value for name, value in document.items() if value is not ...}).encode()


# Body, and the expected reason of the dead letter.
POISON = {
    "garbage": (b"\x00\xff\xfe garbage", "NotJson"),
    "empty": (b"", "NotJson"),
    "text": (b"restart everything", "NotJson"),
    "cut off": (record()[:-20], "NotJson"),
    "nested": (b"[" * 20_000, "NotJson"),
    "a list": (b"[1, 2]", "NotARecord"),
    "older": (record(schemaVersion=0), "UnknownSchemaVersion"),
    "newer": (record(schemaVersion=2), "UnknownSchemaVersion"),
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


async def test_malformed_record_is_dead_lettered_and_logged_and_blocks_no_other(
    azure: Journey, caplog: pytest.LogCaptureFixture
) -> None:
    azure.environment.arm.seed(ScaleSetSeed(SUBSCRIPTION, "shop", "web", instances=(InstanceSeed("0"),)))
    await azure.send(SUBSCRIPTION, "healthy", instanceIds=["0"])
    await tick(azure.job)
    messages = [ServiceBusMessage(body, message_id=name) for name, (body, _) in POISON.items()]
    await azure.job.send_operations(*messages)
    azure.clock.advance(timedelta(minutes=2))
    caplog.set_level(logging.INFO, "maintenance")
    await tick(azure.job)

    dead = {message.message_id: message for message in azure.environment.bus.peek(OPERATIONS + DEAD)}
    assert {name: message.dead_letter_reason for name, message in dead.items()} == {
        name: reason for name, (_, reason) in POISON.items()
    }
    errors = [line.getMessage() for line in caplog.records if line.levelno == logging.ERROR]
    for name, message in dead.items():
        assert message.body == POISON[name][0]
        assert message.dead_letter_description
        assert f"Dead-lettered {name}: {message.dead_letter_reason}: {message.dead_letter_description}" in errors
        assert "s=c2ln" not in message.dead_letter_description
    assert "2; this app reads 1" in str(dead["newer"].dead_letter_description)
    assert [event.status for event in azure.environment.events if event.ends] == ["Succeeded"]
    SECRET_SCANNER.scan_queues(azure.environment)
    azure.environment.bus.clear()


async def test_fields_of_newer_version_are_retained_in_every_record(azure: Journey) -> None:
    instances = (InstanceSeed("0", duration=timedelta(minutes=3)),)
    azure.environment.arm.seed(ScaleSetSeed(SUBSCRIPTION, "shop", "web", instances=instances))
    added = {"healthGate": {"until": "2030-01-01", "probes": [1, 2, {"deep": None}]}, "shade": "blue"}
    operation = Operation(
        request_id="from-the-future",
        scale_set=ScaleSet(SUBSCRIPTION, "shop", "web"),
        requested_at=azure.clock(),
        deadline=azure.clock() + timedelta(hours=1),
        targets=("0",),
        revision=0,
    )
    body = {**json.loads(write_record(operation)), **added}
    await azure.job.send_operations(ServiceBusMessage(json.dumps(body), message_id="from-the-future:w0:p0"))
    # Through planning, posting and three polls.
    for _ in range(3):
        await tick(azure.job)
        (carried,) = azure.environment.bus.peek(OPERATIONS)
        document = json.loads(carried.body)
        assert {name: document[name] for name in added} == added
        assert carried.subject == "tracking"
        azure.clock.advance(timedelta(minutes=1))
    ended = await azure.finish("from-the-future")
    assert ended["from-the-future"].status == "Succeeded"
