"""Dead letters: which were chosen, what a replay sends in their place, and how it is known again. Pure.

A replay that is killed between sending the copy and completing the dead letter finds the dead letter there again. So
the copy carries a mark that is the same each time: as its message id, and in its `tracestate`, which the worker carries
into the records and events of the run. Where the mark is found, the copy was sent, and only the completion is left.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from maintenance.domain import message_ids
from maintenance.domain.errors import InvalidRequest
from maintenance.domain.formats import read_json
from maintenance.domain.messages import MAX_BODY
from maintenance.domain.redaction import redact
from maintenance.requests.envelopes import open_envelope
from maintenance.requests.schema import SCALE_SET_FIELDS
from maintenance_cli.picture.board import envelope_of
from maintenance_cli.picture.messages import Entity, Peeked, reason_of

# A member of W3C's tracestate: name=value.
MEMBER = "vmss-replay"
# What the worker keeps of it.
LONGEST_TRACE_STATE = 512
DEAD_LETTER_PROPERTIES = ("DeadLetterReason", "DeadLetterErrorDescription")


@dataclass(frozen=True, slots=True)
class Copy:
    """What is sent in place of a dead letter. `properties`: to be set beside those that the dead letter has.
    `remark`: what is to be expected of it, None where nothing speaks against it."""

    message_id: str
    mark: bytes
    body: bytes
    properties: Mapping[str, str]
    remark: str | None = None


def request_id_of(message: Peeked) -> str:
    """The id under which people know the request in a message."""
    return message_ids.request(_own_id(message), message.message_id or None, message.number)


def chosen(messages: Iterable[Peeked], ids: Sequence[str] | None, reason: str | None) -> list[Peeked]:
    """Those with one of these message ids, request ids or sequence numbers, and with this in their reason."""
    return [
        message
        for message in messages
        if (ids is None or not set(ids).isdisjoint((message.message_id, request_id_of(message), str(message.number))))
        and (reason is None or reason.lower() in reason_of(message).lower())
    ]


def copy_of(message: Peeked, entity: Entity, now: datetime, *, of_requests: bool) -> Copy:
    """What a replay sends. `of_requests`: the dead letter is of the requests queue, so its request id goes along."""
    moment = int(message.enqueued_at.timestamp() * 1000) if message.enqueued_at else 0
    digest = hashlib.sha256(f"{entity.path.lower()}\n{message.number}\n{moment}".encode()).hexdigest()
    mark = f"{MEMBER}={digest[:16]}"
    body, remark = _body(message, now) if of_requests else (message.body, None)
    return Copy(f"replay-{digest[:32]}", mark.encode(), body, _trace(message, mark, digest), remark)


def _trace(message: Peeked, mark: str, digest: str) -> dict[str, str]:
    """The trace context with the mark in it: a dead letter without one gets one, by which `tracestate` may be there."""
    others = [
        member.strip()
        for member in message.properties.get("tracestate", "").split(",")
        if member.strip() and not member.strip().startswith(f"{MEMBER}=")
    ]
    state = mark
    for member in others:
        if len(state) + 1 + len(member) > LONGEST_TRACE_STATE:
            break
        state += f",{member}"
    found = {"tracestate": state}
    if not any(message.properties.get(name) for name in ("traceparent", "Diagnostic-Id")):
        found["traceparent"] = f"00-{digest[:32]}-{digest[32:48]}-01"
    return found


def _body(message: Peeked, now: datetime) -> tuple[bytes, str | None]:
    """The body with the request id in it, since the copy has another message id."""
    try:
        document = read_json(message.body, MAX_BODY)
        request = open_envelope(envelope_of(message), document)
    except InvalidRequest as error:
        return message.body, f"it will be rejected again: {error}"
    remark = _remark(request, now)
    if not _is_request(request) or request.get("requestId") is not None:
        return message.body, remark
    named = {**request, "requestId": request_id_of(message)}
    if "specversion" in document:
        named = {**{name: value for name, value in document.items() if name != "data_base64"}, "data": named}
    return json.dumps(named, ensure_ascii=False).encode(errors="replace"), remark


def _remark(request: Mapping[str, Any], now: datetime) -> str | None:
    try:
        deadline = datetime.fromisoformat(str(request.get("deadline")))
    except ValueError:
        return None
    if deadline.tzinfo is not None and deadline <= now:
        return f"it will be rejected: its deadline, {deadline.isoformat()}, has passed"
    return None


def _is_request(document: Mapping[str, Any]) -> bool:
    """Not an alert, nor a cancellation, which have no requestId."""
    return "cancel" not in document and any(name in document for name in (*SCALE_SET_FIELDS, "resourceId"))


def _own_id(message: Peeked) -> object:
    try:
        return open_envelope(envelope_of(message), read_json(message.body, MAX_BODY)).get("requestId")
    except InvalidRequest:
        return None


def was_sent(copy: Copy, messages: Iterable[Peeked]) -> Peeked | None:
    """The copy, or what came of it, among messages that were read."""
    return next(
        (message for message in messages if message.message_id == copy.message_id or copy.mark in message.body), None
    )


def dead_document(message: Peeked, entity: Entity, *, body: bool) -> dict[str, Any]:
    """A dead letter as JSON. What is secret in it is left out."""
    document: dict[str, Any] = {
        "queue": entity.path,
        "sequenceNumber": message.number,
        "messageId": message.message_id,
        "requestId": request_id_of(message),
        "subject": message.subject or None,
        "correlationId": message.correlation_id,
        "enqueuedAt": message.enqueued_at.isoformat() if message.enqueued_at else None,
        "deliveryCount": message.delivery_count,
        "reason": reason_of(message),
    }
    if body:
        document["properties"] = {
            name: redact(value) for name, value in message.properties.items() if name not in DEAD_LETTER_PROPERTIES
        }
        document["bodySection"] = message.section
        document["body"] = redact(message.body.decode(errors="backslashreplace"))
    return document
