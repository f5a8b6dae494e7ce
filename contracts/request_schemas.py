"""JSON Schemas of requests and cancellations, from the worker's models."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

from pydantic import BaseModel

from contracts import request_words
from contracts.identity import DIALECT, schema_id
from contracts.request_words import Words
from maintenance.requests.calendar_fields import MAX_WINDOWS, OTHER_CALENDAR_RULES, WindowFields
from maintenance.requests.control_schema import PauseFields, PauseOfFields, ProceedFields, ResumeFields, ResumeOfFields
from maintenance.requests.field_types import OTHER_RULES
from maintenance.requests.schema import SCALE_SET_FIELDS, CancellationFields, RequestFields, RolloutFields

Schema = dict[str, Any]
# Everywhere else, null means "left out".
NEVER_NULL = ("instanceIds", "cancel", "proceed", "wave")


def request_schema() -> Schema:
    schema = _message(RequestFields, request_words.REQUEST)
    rollout = _nullable({**_object(RolloutFields, request_words.ROLLOUT), "type": "object"})
    schema["properties"]["rollout"] = {**_words(request_words.REQUEST["rollout"]), **rollout}
    windows = {
        "type": ["array", "null"],
        "items": _object(WindowFields, request_words.WINDOW, never_null=("schedule", "duration")),
        "minItems": 1,
        "maxItems": MAX_WINDOWS,
    }
    schema["properties"]["windows"] = {**_words(request_words.REQUEST["windows"]), **windows}
    return {
        "$schema": DIALECT,
        "$id": schema_id("maintenance-request"),
        "title": "Maintenance request",
        "description": "See to it that these instances of a VM scale set have had their maintenance.",
        "$comment": "What no schema can say: " + "; ".join((*OTHER_CALENDAR_RULES, *OTHER_RULES)) + ".",
        **schema,
        "examples": list(request_words.REQUEST_EXAMPLES),
    }


def cancellation_schema() -> Schema:
    return {
        "$schema": DIALECT,
        "$id": schema_id("maintenance-cancellation"),
        "title": "Cancellation of a maintenance request",
        "description": "Start nothing more of this request, which is for this scale set.",
        "$comment": "What no schema can say: " + "; ".join(OTHER_RULES[-2:]) + ".",
        **_message(CancellationFields, request_words.CANCELLATION),
        "examples": list(request_words.CANCELLATION_EXAMPLES),
    }


def proceed_schema() -> Schema:
    return {
        "$schema": DIALECT,
        "$id": schema_id("maintenance-proceed"),
        "title": "Proceed with a wave of a maintenance request",
        "description": "As far as its gate is concerned, this wave of this request for this scale set may start.",
        "$comment": "What no schema can say: " + "; ".join(OTHER_RULES[-2:]) + ".",
        **_message(ProceedFields, request_words.PROCEED),
        "examples": list(request_words.PROCEED_EXAMPLES),
    }


def pause_schema() -> Schema:
    return _control(
        "pause",
        title="Pause of maintenance",
        description="Start nothing new in this scope.",
        outer=(PauseFields, request_words.PAUSE),
        inner=(PauseOfFields, request_words.PAUSE_OF),
        examples=request_words.PAUSE_EXAMPLES,
    )


def resume_schema() -> Schema:
    return _control(
        "resume",
        title="End of a pause of maintenance",
        description="The pauses of this scope, and of scopes within it, are over.",
        outer=(ResumeFields, request_words.RESUME),
        inner=(ResumeOfFields, request_words.RESUME_OF),
        examples=request_words.RESUME_EXAMPLES,
    )


def _control(
    name: str,
    *,
    title: str,
    description: str,
    outer: tuple[type[BaseModel], Mapping[str, Words]],
    inner: tuple[type[BaseModel], Mapping[str, Words]],
    examples: tuple[dict[str, Any], ...],
) -> Schema:
    """A message that starts nothing, with one object in it."""
    schema = _object(*outer, never_null=(name,))
    below = {**_object(*inner, never_null=("scope",)), "type": "object"}
    schema["properties"][name] = {**_words(outer[1][name]), **below}
    return {
        "$schema": DIALECT,
        "$id": schema_id(f"maintenance-{name}"),
        "title": title,
        "description": description,
        "$comment": "What no schema can say: " + "; ".join(OTHER_RULES[-2:]) + ".",
        **schema,
        "examples": list(examples),
    }


def _message(model: type[BaseModel], words: Mapping[str, Words]) -> Schema:
    by_names = {name: {"type": "string"} for name in SCALE_SET_FIELDS}
    no_names = {name: {"type": "null"} for name in SCALE_SET_FIELDS}
    return {
        **_object(model, words),
        "oneOf": [
            {
                "title": "The scale set by its names",
                "required": list(SCALE_SET_FIELDS),
                "properties": {**by_names, "resourceId": {"type": "null"}},
            },
            {
                "title": "The scale set by its resource id",
                "required": ["resourceId"],
                "properties": {"resourceId": {"type": "string"}, **no_names},
            },
        ],
    }


def _object(model: type[BaseModel], words: Mapping[str, Words], *, never_null: Container[str] = NEVER_NULL) -> Schema:
    """The schema of a model whose unknown fields are refused. Raises KeyError for a field without words."""
    generated = model.model_json_schema(by_alias=True)
    properties = {}
    # In the order of the words, which is the order for readers; then whatever has none, which fails.
    for name in [*words, *(each for each in generated["properties"] if each not in words)]:
        field = _without_null(generated["properties"][name])
        properties[name] = {**_words(words[name]), **(field if name in never_null else _nullable(field))}
    schema: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**schema, "required": generated["required"]} if "required" in generated else schema


def _words(words: Words) -> Schema:
    schema: Schema = {"title": words.title, "description": words.description}
    return {**schema, "examples": list(words.examples)} if words.examples else schema


def _without_null(field: Schema) -> Schema:
    """The schema of a field, without the null and the default of a field that may be left out."""
    found = {name: value for name, value in field.items() if name != "title" and (name, value) != ("default", None)}
    if "anyOf" in found:
        (only,) = (each for each in found.pop("anyOf") if each != {"type": "null"})
        found = {**only, **found}
    return found


def _nullable(field: Schema) -> Schema:
    found = dict(field)
    if "const" in found:
        found["enum"] = [found.pop("const"), None]
    elif "enum" in found:
        found["enum"] = [*found["enum"], None]
        found.pop("type", None)
    elif "oneOf" in found:
        found["oneOf"] = [*found["oneOf"], {"type": "null"}]
    elif "type" in found:
        found["type"] = [found["type"], "null"]
    return found
