"""A stranger's validator: JSON Schema alone, with the committed schemas in a local registry, by their `$id`."""

from __future__ import annotations

import functools
import json
import re
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, ValidationError

from maintenance.domain.errors import InvalidRequest
from maintenance.domain.messages import Envelope, read_document
from maintenance.domain.resources import fold
from maintenance.policies.windows import schedule_problem, zone_problem
from maintenance.requests.control_schema import read_pause, read_proceed, read_resume
from maintenance.requests.field_types import MAX_NAMES
from maintenance.requests.schema import SCALE_SET_FIELDS, read_cancellation, read_request
from sandbox.message_schemas import ENVELOPE, MessageSchemas, schema_of

SCHEMAS = Path(__file__).parents[2] / "contracts" / "schemas"
# How many messages of each type were checked, for the summary of a run.
CHECKED: Counter[str] = Counter()


@functools.cache
def _committed() -> MessageSchemas:
    return MessageSchemas(SCHEMAS)


def schemas() -> dict[str, dict[str, Any]]:
    """Every committed schema by its `$id`."""
    return _committed().by_id


@functools.cache
def validator(identifier: str, *, closed: bool = False) -> Draft202012Validator:
    """The validator of a schema. `closed`: fields that the schema does not name are wrong."""
    schema = schemas()[identifier]
    return _committed().validator(_closed(schema) if closed else schema)


def named(name: str) -> Draft202012Validator:
    """The validator of the first schema of a name."""
    return validator(_committed().named(name)["$id"])


def check_event(document: dict[str, Any]) -> None:
    """Raise ValidationError unless the event, and its data by its `dataschema`, are what the schemas say, no more and
    no less."""
    named(ENVELOPE).validate(document)
    validator(document["dataschema"], closed=True).validate(document["data"])
    assert document["dataschema"].split("/")[-3] == f"maintenance-{document['type'].split('.')[-2]}"
    CHECKED[document["type"]] += 1


def schema_problem(body: bytes) -> str | None:
    """What is wrong with an event by the schemas; None: nothing."""
    try:
        check_event(json.loads(body))
    except (ValidationError, AssertionError, ValueError, LookupError) as error:
        return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
    return None


def worker_accepts(document: Mapping[str, Any]) -> bool:
    envelope = Envelope(body=json.dumps(document).encode(), message_id="m", sequence_number=1)
    try:
        if "cancel" in document:
            read_cancellation(read_document(envelope))
        elif "pause" in document:
            read_pause(read_document(envelope))
        elif "resume" in document:
            read_resume(read_document(envelope))
        elif "proceed" in document:
            read_proceed(read_document(envelope))
        else:
            read_request(envelope, read_document(envelope))
    except InvalidRequest:
        return False
    return True


def schema_accepts(document: Mapping[str, Any]) -> bool:
    accepts: bool = named(schema_of(document)).is_valid(document)
    return accepts


def other_rule_broken(document: Mapping[str, Any]) -> bool:
    """Whether one of the rules is broken that no schema can say, of a document that the schema accepts."""
    ids = document.get("instanceIds") or []
    begin, end = (document.get(name) and _moment(document[name]) for name in ("notBefore", "deadline"))
    scope = (document.get("pause") or document.get("resume") or {}).get("scope", "")
    of_resource_id = (document.get("resourceId") or scope).split("/")[4:5]
    group = "".join((document.get("resourceGroupName") or "", *of_resource_id))
    rollout = document.get("rollout") or {}
    return (
        bool(begin and end and end <= begin)
        or len({fold(each) for each in ids}) < len(ids)
        or sum(map(len, ids)) > MAX_NAMES
        or any(not each.isascii() and not each.isalnum() for each in group)
        or (not rollout.get("gate") and any(rollout.get(name) for name in ("gateTimeout", "atGateTimeout")))
        or any(map(_window_rule_broken, document.get("windows") or ()))
    )


def _window_rule_broken(window: Mapping[str, Any]) -> bool:
    zone = window.get("timeZone") or "UTC"
    return bool(
        schedule_problem(window["schedule"]) or zone_problem(zone) or not re.search("[1-9]", window["duration"])
    )


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.upper())


def check_verdict(document: Mapping[str, Any]) -> None:
    """Assert that worker and schema say the same of the form of a document."""
    by_schema = schema_accepts(document)
    if by_schema and other_rule_broken(document):
        assert not worker_accepts(document), document
    else:
        assert worker_accepts(document) == by_schema, document


def check_sent(body: bytes) -> None:
    """Assert the same of what a test sends to the requests queue, where it names a scale set or a request at all."""
    try:
        document = json.loads(body)
    except ValueError:
        return
    if isinstance(document, dict) and document.keys() & {*SCALE_SET_FIELDS, "resourceId", "requestId"}:
        check_verdict(document)
        CHECKED["accepted by its form" if worker_accepts(document) else "refused for its form"] += 1


def _closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _closed(value) for name, value in schema.items()}
    return {**found, "additionalProperties": False} if "properties" in schema and "type" in schema else found
