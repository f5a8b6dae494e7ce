"""Calls and events in one line each for the page's lists, and whole when one is opened."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from sandbox.page.picture import Entries, moment_text
from sandbox.page.redaction import shown, shown_body, shown_values
from sandbox.page.runs import trace_id
from sandbox.resource_manager import Call
from sandbox.servicebus import MessageSent, PeekedMessage

_LONGEST = 300


def call(number: int, each: Call) -> Entries:
    """A call in one line. `status` None: the connection was cut."""
    return {
        "n": number,
        "at": moment_text(each.time),
        "method": each.method,
        "path": shown(each.path),
        "status": each.status,
        "trace": trace_id(each.headers.get("traceparent", "")),
    }


def whole_call(number: int, each: Call) -> Entries:
    """A call with what came with it: of its query only the names, and no token."""
    return {
        **call(number, each),
        "query": list(each.query),
        "headers": shown_values(each.headers),
        "tokenSeen": each.token_seen,
        "authorized": each.authorized,
        "body": shown_body(each.body),
    }


def event(number: int, each: MessageSent) -> Entries:
    """An event in one line: what of it is a CloudEvent of the worker's is read, anything else is shown by its id."""
    document = _json(each.body)
    data = document.get("data")
    data = data if isinstance(data, dict) else {}
    names = [data.get(name) for name in ("subscriptionId", "resourceGroupName", "vmScaleSetName")]
    kind = _text(document.get("type")).split(".")
    return {
        "n": number,
        "at": moment_text(each.at),
        "id": shown(each.message_id),
        "kind": kind[-2] if len(kind) > 1 else "message",
        "request": _text(data.get("requestId")),
        "run": _text(data.get("runId")),
        "set": "/".join(map(_text, names)) if all(names) else "",
        "status": _text(data.get("status")),
        "detail": _detail(data),
        "trace": trace_id(_text(document.get("traceparent"))),
    }


def whole_event(number: int, each: MessageSent) -> Entries:
    """An event with its body."""
    return {**event(number, each), "entity": each.entity, "body": shown_body(each.body)}


def message(each: PeekedMessage) -> Entries:
    """A message of a queue in one line."""
    return {
        "number": each.sequence_number,
        "id": shown(each.message_id),
        "subject": None if each.subject is None else shown(each.subject),
        "state": each.state,
        "enqueued": moment_text(each.enqueued_at),
        "due": moment_text(each.scheduled_for),
        "deliveries": each.delivery_count,
        "bytes": len(each.body),
        "reason": None if each.dead_letter_reason is None else shown(each.dead_letter_reason),
    }


def whole_message(each: PeekedMessage) -> Entries:
    """A message with its body and properties."""
    return {
        **message(each),
        "correlation": None if each.correlation_id is None else shown(each.correlation_id),
        "properties": shown_values(each.application_properties),
        "description": None if each.dead_letter_description is None else shown(each.dead_letter_description),
        "body": shown_body(each.body),
    }


def _detail(data: dict[str, Any]) -> str:
    """What an event says besides its status: the wave, the first problem, the outcomes, the first message."""
    parts: list[str] = []
    if isinstance(data.get("wave"), int):
        parts.append(f"wave {data['wave']} of {data.get('waves')}: {data.get('done')} done, {data.get('left')} left")
    problems = data.get("problems")
    if isinstance(problems, list) and problems and isinstance(problems[0], dict):
        parts.append(f"{_text(problems[0].get('field'))}: {_text(problems[0].get('message'))}")
    listed = data.get("instances")
    instances = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    if "wave" not in data:
        outcomes = Counter(_text(each.get("outcome")) for each in instances)
        parts += [", ".join(f"{count} {outcome}" for outcome, count in outcomes.items())] if outcomes else []
    error = data.get("error")
    if isinstance(error, dict):
        parts.append(f"{_text(error.get('code'))}: {_text(error.get('message'))}")
    parts += [message for each in instances if (message := _text(each.get("message")))][:1]
    return " · ".join(parts)[:_LONGEST]


def _json(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _text(value: object) -> str:
    return shown(value)[:_LONGEST] if isinstance(value, str) else ""
