"""Envelopes that other systems put around a body: ours is opened, others are refused with the one reason that helps.

A CloudEvent comes in two modes (CloudEvents 1.0.2, AMQP binding): structured, where the body is the event, and binary,
where the body is its data and application properties name its type. Pure.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, NoReturn

from maintenance.domain.errors import InvalidRequest, Problem
from maintenance.domain.formats import read_json, refuse, shown
from maintenance.domain.messages import MAX_BODY, Envelope, read_document

REQUEST_TYPE = "vmss.maintenance.request.v1"
CANCELLATION_TYPE = "vmss.maintenance.cancellation.v1"
PAUSE_TYPE = "vmss.maintenance.pause.v1"
RESUME_TYPE = "vmss.maintenance.resume.v1"
PROCEED_TYPE = "vmss.maintenance.proceed.v1"
# What has this field is of this type; what has none of them is a request.
_FIELDS = {CANCELLATION_TYPE: "cancel", PAUSE_TYPE: "pause", RESUME_TYPE: "resume", PROCEED_TYPE: "proceed"}
_NAMES = {
    CANCELLATION_TYPE: "a cancellation",
    PAUSE_TYPE: "a pause",
    RESUME_TYPE: "the end of a pause",
    PROCEED_TYPE: "a proceed",
}
# The binding's prefix, and the one for clients whose properties may not have a colon in their names (JMS).
_PREFIXES = ("cloudEvents:", "cloudEvents_")
_DAPR = "com.dapr.event.sent"
_TYPES = " or ".join((REQUEST_TYPE, *_FIELDS))


def open_envelope(envelope: Envelope, document: dict[str, Any]) -> dict[str, Any]:
    """The request or cancellation in a document, which is the document itself where it has no envelope.

    Raises InvalidRequest with one problem for any other envelope, and for what is wrong with ours.
    """
    if "specversion" in document:
        return _checked(document.get("type"), _data(_of_our_type(document)))
    if _has(document, "messageType", list) and "message" in document:
        refuse("messageType", "is MassTransit's envelope; send the request itself, as raw JSON", None)
    if _has(document, "eventType", str) and "data" in document:
        _ignore("eventType", document["eventType"])
    kind = _attribute(envelope.properties, "type")
    if _attribute(envelope.properties, "specversion") is None or kind is None:
        return document
    if kind != REQUEST_TYPE and kind not in _FIELDS:
        _ignore("type", kind)
    return _checked(kind, document)


def document_of(envelope: Envelope) -> dict[str, Any] | None:
    """The request or cancellation in a message, as far as it can be read; None where it cannot."""
    try:
        document = read_document(envelope)
    except InvalidRequest:
        return None
    try:
        return open_envelope(envelope, document)
    except InvalidRequest:
        return document


def _of_our_type(document: dict[str, Any]) -> dict[str, Any]:
    kind = document.get("type")
    if kind == _DAPR:
        hint = f"publish with the metadata cloudevent.type={REQUEST_TYPE}, or rawPayload=true"
        refuse("type", f"is that of Dapr's envelope, which does not say what is in it; {hint}", shown(kind))
    if kind != REQUEST_TYPE and kind not in _FIELDS:
        _ignore("type", kind)
    return document


def _ignore(name: str, kind: object) -> NoReturn:
    message = f"is that of an event of another kind, which is ignored; a request has the type {_TYPES}, or no envelope"
    refuse(name, message, shown(kind))


def _data(event: Mapping[str, Any]) -> dict[str, Any]:
    """The data of a CloudEvent: an object, JSON text, or JSON text in base64."""
    data = event.get("data")
    if isinstance(data, dict):
        return data
    if isinstance(data, str):
        return _read("data", data.encode(errors="surrogatepass"))
    encoded = event.get("data_base64")
    if data is not None or not isinstance(encoded, str):
        refuse("data", "must be the request, a JSON object", None if data is None else shown(data))
    try:
        decoded = base64.b64decode("".join(encoded.split()), validate=True)
    except ValueError:
        refuse("data_base64", "must be base64 of a JSON object", None)
    return _read("data_base64", decoded)


def _read(name: str, text: bytes) -> dict[str, Any]:
    try:
        return read_json(text, MAX_BODY)
    except InvalidRequest as error:
        raise InvalidRequest(
            tuple(Problem(f"{name}.{each.field}", each.message, each.value) for each in error.problems)
        ) from None


def _checked(kind: object, document: dict[str, Any]) -> dict[str, Any]:
    """What one type says must not turn out to be the other."""
    field = _FIELDS.get(str(kind))
    fits = field in document if field else not any(each in document for each in _FIELDS.values())
    if not fits:
        other = next((each for each in _FIELDS.values() if each in document), "")
        meant = f"{_NAMES[str(kind)]}, which has `{field}`" if field else f"a request, which has no `{other}`"
        refuse("type", f"says that the data is {meant}; it is not", shown(kind))
    return document


def _attribute(properties: Mapping[str, Any], name: str) -> object:
    return next((properties[each + name] for each in _PREFIXES if each + name in properties), None)


def _has(document: Mapping[str, Any], name: str, kind: type) -> bool:
    return isinstance(document.get(name), kind)
