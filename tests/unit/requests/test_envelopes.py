"""Envelopes of other systems: ours is opened, every other one is refused with one reason."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from maintenance.operations.records import read_record
from tests.support.samples import request_body
from tests.support.unit_environment import UnitEnvironment

REQUEST = "vmss.maintenance.request.v1"
CANCELLATION = "vmss.maintenance.cancellation.v1"
NAMES = {name: value for name, value in request_body().items() if name != "instanceIds"}
CANCEL = {**NAMES, "cancel": "req-1"}
BINARY = {"cloudEvents:specversion": "1.0", "cloudEvents:id": "1", "cloudEvents:source": "shop"}


def _case(name: str) -> object:
    found: object = json.loads((Path(__file__).parents[2] / "data" / name).read_text())
    return found


def cloud_event(kind: str = REQUEST, **content: Any) -> dict[str, Any]:
    return {"specversion": "1.0", "id": "1", "source": "shop", "type": kind, **content}


async def handled(body: object, **properties: str) -> UnitEnvironment:
    environment = UnitEnvironment()
    environment.send(body, **properties)
    await environment.deliver()
    return environment


async def rejected(body: object, **properties: str) -> list[dict[str, str]]:
    environment = await handled(body, **properties)
    await environment.run()
    assert environment.end["status"] == "Rejected"
    assert environment.arm.looks == 0
    problems: list[dict[str, str]] = environment.end["problems"]
    return problems


TEXT = json.dumps(request_body(requestId="own"))


@pytest.mark.parametrize(
    "content",
    [
        {"data": request_body(requestId="own")},
        {"data": TEXT, "datacontenttype": "application/json"},
        {"data_base64": base64.b64encode(TEXT.encode()).decode()},
    ],
    ids=["object", "text", "base64"],
)
async def test_request_is_taken_out_of_a_cloud_event_of_our_type(content: dict[str, Any]) -> None:
    environment = await handled(cloud_event(**content))
    (message,) = environment.bus.operations_queue.messages
    operation = read_record(message.body)
    assert (operation.request_id, operation.targets) == ("own", ("0", "1", "2"))


@pytest.mark.parametrize("prefix", ["cloudEvents:", "cloudEvents_"])
async def test_request_in_a_binary_cloud_event_of_our_type_is_carried_out(prefix: str) -> None:
    environment = await handled(request_body(), **{f"{prefix}specversion": "1.0", f"{prefix}type": REQUEST})
    (message,) = environment.bus.operations_queue.messages
    assert read_record(message.body).targets == ("0", "1", "2")


async def test_cancellation_is_taken_out_of_a_cloud_event_of_its_type() -> None:
    environment = await handled(cloud_event(CANCELLATION, data=CANCEL))
    await environment.run()
    assert [event.data.get("cancels") for event in environment.bus.published] == ["req-1"]


OTHERS: dict[str, tuple[object, dict[str, str], str, str]] = {
    "dapr": (cloud_event("com.dapr.event.sent", data=request_body()), {}, "type", "cloudevent.type=" + REQUEST),
    "event of another kind": (cloud_event("Microsoft.Storage.BlobCreated", data={}), {}, "type", "ignored"),
    "event without a type": ({"specversion": "1.0", "data": request_body()}, {}, "type", "ignored"),
    "binary event of another kind": (request_body(), {**BINARY, "cloudEvents:type": "a.b"}, "type", "ignored"),
    "health event of a VM": (_case("alerts/refused/event_grid_health_annotation.json"), {}, "type", "ignored"),
    "list of Event Grid": (_case("alerts/refused/event_grid_array_of_one.json"), {}, "body", "deliver to the requests"),
    "sidecar": (_case("requests/cloudevent_of_a_sidecar.json"), {}, "type", "cloudevent.type=" + REQUEST),
    "Event Grid": ({"eventType": "a.b", "data": {}, "subject": "x"}, {}, "eventType", "ignored"),
    "MassTransit": ({"messageType": ["urn:message:A"], "message": request_body()}, {}, "messageType", "MassTransit"),
    "list": ([request_body()], {}, "body", "a message of its own"),
    "encoded twice": (json.dumps(request_body()), {}, "body", "encoded twice"),
    "cancellation as request": (cloud_event(data=CANCEL), {}, "type", "has no `cancel`"),
    "request as cancellation": (cloud_event(CANCELLATION, data=request_body()), {}, "type", "has `cancel`"),
    "no data": (cloud_event(), {}, "data", "must be the request"),
    "not base64": (cloud_event(data_base64="{}"), {}, "data_base64", "must be base64"),
    "text that is no JSON": (cloud_event(data="{"), {}, "data.body", "must be JSON"),
}


@pytest.mark.parametrize("name", OTHERS)
async def test_any_other_envelope_is_refused_with_the_one_reason_that_helps(name: str) -> None:
    body, properties, field, hint = OTHERS[name]
    (problem,) = await rejected(body, **properties)
    assert problem["field"] == field
    assert hint in problem["message"]


async def test_request_in_a_cloud_event_is_rejected_by_its_own_request_id() -> None:
    environment = await handled(cloud_event(data=request_body(requestId="own", unknown=1)))
    await environment.run()
    assert (environment.end["status"], environment.end["requestId"]) == ("Rejected", "own")


async def test_repeated_name_within_the_data_is_refused() -> None:
    body = json.dumps(cloud_event(data="here")).replace('"here"', '{"a": 1, "a": 2}').encode()
    (problem,) = await rejected(body)
    assert problem["message"] == "appears more than once"
