"""JSON Schemas of the events: the data of each, and the CloudEvent around it."""

from __future__ import annotations

from typing import Any

from contracts.event_models import EVENTS
from contracts.identity import DIALECT, schema_id
from contracts.request_words import RESOURCE_ID, SUBSCRIPTION
from maintenance.lifecycle.events import data_schema, event_type

Schema = dict[str, Any]
_RUN = "0b5e0e84c1f24d6c9a43f7d1a0e2b955"
_NAMES = {
    "requestId": "4f7c0f6e-rolling",
    "runId": _RUN,
    "subscriptionId": SUBSCRIPTION,
    "resourceGroupName": "shop",
    "vmScaleSetName": "web",
    "resourceId": RESOURCE_ID,
}
EXAMPLES: dict[str, tuple[dict[str, Any], ...]] = {
    "accepted": (
        {
            **_NAMES,
            "status": "Accepted",
            "start": "2026-01-31T22:00:04+00:00",
            "deadline": "2026-02-01T04:00:00+00:00",
            "waves": [["0"], ["3"]],
            "reason": "kernel update",
        },
        {**_NAMES, "requestId": "7d1e-cancel", "status": "Accepted", "cancels": "4f7c0f6e-rolling"},
        {
            "requestId": "9a2b-pause",
            "runId": _RUN,
            "status": "Accepted",
            "pauses": f"/subscriptions/{SUBSCRIPTION}",
            "until": "2026-02-02T08:00:00+00:00",
            "reason": "incident 4711",
        },
        {**_NAMES, "requestId": "9a2b-resume", "status": "Accepted", "resumes": RESOURCE_ID},
        {
            **_NAMES,
            "requestId": "5c3d-proceed",
            "status": "Accepted",
            "proceeds": "4f7c0f6e-rolling",
            "wave": 1,
            "reason": "drained",
        },
    ),
    "progressed": (
        {
            **_NAMES,
            "status": "InProgress",
            "wave": 1,
            "waves": 2,
            "done": 1,
            "failed": 0,
            "left": 1,
            "instances": [{"instanceId": "0", "outcome": "Completed", "wave": 1}],
        },
    ),
    "deferred": (
        {
            **_NAMES,
            "status": "Deferred",
            "wave": 1,
            "waitsFor": "Window",
            "message": "No maintenance window is open; the next opens at 2026-01-31T21:00:00+00:00.",
            "until": "2026-01-31T21:00:00+00:00",
            "deadline": "2026-02-01T03:00:00+00:00",
        },
    ),
    "awaiting": (
        {
            **_NAMES,
            "status": "Awaiting",
            "wave": 1,
            "waves": 2,
            "instanceIds": ["0", "3"],
            "until": "2026-01-31T23:00:04+00:00",
            "atTimeout": "stop",
            "deadline": "2026-02-01T04:00:00+00:00",
        },
    ),
    "completed": (
        {
            **_NAMES,
            "status": "PartiallySucceeded",
            "start": "2026-01-31T22:00:04+00:00",
            "end": "2026-01-31T22:21:40+00:00",
            "error": {"code": "HostBroken", "message": "The host broke.", "target": "3", "details": []},
            "instances": [
                {"instanceId": "0", "outcome": "Completed", "wave": 1},
                {"instanceId": "3", "outcome": "Failed", "wave": 2, "message": "The host broke."},
            ],
        },
        {
            **_NAMES,
            "status": "NothingToDo",
            "start": None,
            "end": "2026-01-31T22:00:04+00:00",
            "error": None,
            "instances": [{"instanceId": "0", "outcome": "WouldMaintain", "wave": 1}],
            "dryRun": True,
            "waves": [["0"]],
        },
    ),
    "rejected": (
        {
            "requestId": "4f7c0f6e-rolling",
            "runId": _RUN,
            "status": "Rejected",
            "problems": [
                {
                    "field": "instanceID",
                    "message": "is not a field of a maintenance request; did you mean instanceIds?",
                    "value": '["0"]',
                }
            ],
            "request": '{"requestId": "4f7c0f6e-rolling", "instanceID": ["0"]}',
            "requestBytes": 54,
            "requestCut": False,
        },
    ),
    "duplicate": ({**_NAMES, "status": "Duplicate", "duplicateOf": "5d0a9c7e3b1f4826a1c2d3e4f5061728"},),
    "due": (
        {
            **_NAMES,
            "requestId": "scan-2026-01-31-5f2c7d1a90b3e846",
            "status": "Due",
            "selfServiceUntil": "2026-02-20T00:00:00+00:00",
            "azureBegins": "2026-02-21T00:00:00+00:00",
            "underWay": None,
            "hindrances": [
                {
                    "kind": "Window",
                    "message": "No maintenance window is open; the next opens at 2026-01-31T21:00:00+00:00.",
                    "until": "2026-01-31T21:00:00+00:00",
                }
            ],
            "instances": [{"instanceId": "0", "selfServiceUntil": "2026-02-20T00:00:00+00:00"}],
            "requested": "alert-0b6d1c2e3f405162738a-9d8c7b6a59483726",
        },
    ),
}


def event_schema(kind: str) -> Schema:
    """The schema of the data of an event. Fields may be added to it later, so none is forbidden."""
    model = EVENTS[kind]
    generated = _plain(model.model_json_schema(by_alias=True, mode="serialization"))
    return {
        "$schema": DIALECT,
        "$id": data_schema(kind),
        "title": f"Data of {event_type(kind)}",
        "description": generated.pop("description"),
        **{name: value for name, value in generated.items() if name != "title"},
        "examples": list(EXAMPLES[kind]),
    }


def cloud_event_schema() -> Schema:
    """The envelope of every event: a CloudEvent 1.0 in structured JSON, as the worker writes it."""
    text = {"type": "string", "minLength": 1}
    return {
        "$schema": DIALECT,
        "$id": schema_id("maintenance-event"),
        "title": "Maintenance event",
        "description": "CloudEvent 1.0 (structured JSON) around the data of every event of the worker.",
        "type": "object",
        "properties": {
            "specversion": {"const": "1.0", "description": "Version of CloudEvents."},
            "id": {**text, "description": "The same for the same event, however often it is delivered."},
            "source": {
                **text,
                "format": "iri-reference",
                "description": "The scale set's resource id, or the queue of a message that names none.",
            },
            "type": {"enum": [event_type(kind) for kind in EVENTS], "description": "What happened."},
            "subject": {**text, "description": "The requestId."},
            "time": {"type": "string", "format": "date-time", "description": "When it happened."},
            "datacontenttype": {"const": "application/json", "description": "The data is JSON."},
            "dataschema": {
                "enum": [data_schema(kind) for kind in EVENTS],
                "description": "The $id of the JSON Schema of the data. It is a name: nothing is served there.",
            },
            "data": {"type": "object", "description": "As the schema that dataschema names describes it."},
            "traceparent": {"type": "string", "description": "The request's trace (W3C Trace Context)."},
            "tracestate": {"type": "string", "description": "The request's trace (W3C Trace Context)."},
        },
        "required": ["specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema", "data"],
        "examples": [cloud_event(kind) for kind in EVENTS],
    }


def cloud_event(kind: str, number: int = 0) -> dict[str, Any]:
    """An example of a whole event."""
    data = EXAMPLES[kind][number]
    ids = {"progressed": "progressed:w0", "deferred": "deferred:w0:window", "awaiting": "awaiting:w0", "due": "due"}
    end = {"accepted": "accepted", **ids}.get(kind, "ended")
    return {
        "specversion": "1.0",
        "id": f"{data['runId']}:{end}",
        "source": data.get("resourceId", "/queues/maintenance-requests"),
        "type": event_type(kind),
        "subject": data["requestId"],
        "time": data.get("end", data.get("start", "2026-01-31T22:00:04+00:00")) or "2026-01-31T22:00:04+00:00",
        "datacontenttype": "application/json",
        "dataschema": data_schema(kind),
        "data": data,
    }


def _plain(schema: Any) -> Any:
    """Without what pydantic adds: titles made of names, and null as the default of what may be left out."""
    match schema:
        case dict():
            # Under `properties` the names are the contract's own: one of them could be "title".
            return {
                name: {each: _plain(below) for each, below in value.items()} if name == "properties" else _plain(value)
                for name, value in schema.items()
                if not (name == "title" and isinstance(value, str)) and (name, value) != ("default", None)
            }
        case list():
            return [_plain(each) for each in schema]
        case str():
            return " ".join(schema.split())
    return schema
