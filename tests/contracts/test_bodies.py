"""Bodies that other AMQP clients send (JMS, older .NET): each ends in exactly one event, which says what helps."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from azure.servicebus.amqp import AmqpAnnotatedMessage, AmqpMessageProperties

from sandbox.resource_manager import InstanceSeed, ScaleSetSeed
from tests.support.entities import OPERATIONS, REQUESTS
from tests.support.time_travel import Journey, journey

pytestmark = pytest.mark.asyncio(loop_scope="module")

CASES = Path(__file__).parents[1] / "data" / "requests"
SUBSCRIPTION = "11111111-1111-4111-8111-111111111111"
REQUEST = {"subscriptionId": SUBSCRIPTION, "resourceGroupName": "shop", "vmScaleSetName": "web", "instanceIds": ["0"]}
DATA_SECTION = "data section"

# By message id: the section of the body, and what the reason says.
BODIES: dict[str, tuple[dict[str, Any], str]] = {
    "text": ({"value_body": json.loads((CASES / "amqp_value_text.json").read_text())["value"]}, DATA_SECTION),
    "map": ({"value_body": {"vmScaleSetName": "web", "instanceIds": ["0"]}}, DATA_SECTION),
    "number": ({"value_body": 7}, DATA_SECTION),
    "nothing": ({"value_body": None}, DATA_SECTION),
    "sequence": ({"sequence_body": [[1, "two"], [{"three": 3}]]}, DATA_SECTION),
    "two-data-sections": ({"data_body": [json.dumps(REQUEST)[:20].encode(), b"]"]}, "must be JSON"),
    "data-contract": (
        {"data_body": base64.b64decode(json.loads((CASES / "datacontract_text.json").read_text())["base64"])},
        "DataContract",
    ),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def azure() -> AsyncIterator[Journey]:
    async with journey([SUBSCRIPTION]) as azure:
        azure.environment.arm.seed(ScaleSetSeed(SUBSCRIPTION, "shop", "web", instances=(InstanceSeed("0"),)))
        yield azure


async def send(azure: Journey, message_id: str, **body: Any) -> None:
    message = AmqpAnnotatedMessage(**body)
    message.properties = AmqpMessageProperties(message_id=message_id)
    async with azure.job.client.get_queue_sender(REQUESTS) as sender:
        await sender.send_messages(message)


async def test_body_of_another_client_ends_in_one_event_that_says_which_body_is_needed(azure: Journey) -> None:
    for message_id, (body, _) in BODIES.items():
        await send(azure, message_id, **body)
    await azure.job.send(REQUEST, message_id="right")
    while azure.environment.bus.counts(REQUESTS).active or azure.environment.handles_requests:
        await azure.job.worker.poll()
    # What the host could not hand over was delivered ten times; the timer of dead letters reads it.
    assert await azure.job.worker.read_dead_letters() == sum(hint == DATA_SECTION for _, hint in BODIES.values())
    await azure.finish("right", *BODIES)

    ends = [event for event in azure.environment.events if event.ends]
    assert sorted(event.data["requestId"] for event in ends) == sorted(["right", *BODIES])
    for event in ends:
        if event.data["requestId"] == "right":
            assert event.status == "Succeeded"
            continue
        (problem,) = event.data["problems"]
        assert (event.kind, problem["field"]) == ("rejected", "body")
        assert BODIES[event.data["requestId"]][1] in problem["message"], event.data
    assert [azure.environment.bus.counts(queue).dead_lettered for queue in (REQUESTS, OPERATIONS)] == [0, 0]


async def test_rejected_amqp_value_is_quoted_and_known_by_its_own_request_id(azure: Journey) -> None:
    await send(azure, "quoted", value_body=json.dumps({**REQUEST, "requestId": "own"}))
    while azure.environment.bus.counts(REQUESTS).active or azure.environment.handles_requests:
        await azure.job.worker.poll()
    assert await azure.job.worker.read_dead_letters() == 1
    event = (await azure.finish("own"))["own"]
    assert json.loads(event.data["request"]) == {**REQUEST, "requestId": "own"}
    assert event.data["requestBytes"] == len(json.dumps({**REQUEST, "requestId": "own"}))
