"""Messages, apart from the library that sends or receives them: what comes in, records, events. Pure.

Source of the events' form: CloudEvents 1.0.2 JSON format, as `azure.core.messaging.CloudEvent` reads and writes it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from maintenance.domain import message_ids
from maintenance.domain.formats import read_json, refuse

# 1,000 instances, the most a scale set holds, with names of the longest kind, and room for the rest.
MAX_BODY = 100_000
# As much as a message of the queue can hold, in the Standard tier.
MAX_ALERT = 256 * 1024
# What older .NET clients put before text, in .NET's binary XML: an element `string`, and the name of its namespace.
_DATA_CONTRACT = b"@\x06string\x08"
CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
# Under the 256 KB that a message may have in the Standard tier, with room for its properties.
MAX_EVENT = 200_000
# What is cut in an event that would be larger, and to how much.
CUTTABLE = ("error", "problems", "request", "reason")
MAX_CUT_TEXT = 400
MAX_CUT_LIST = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A message of the requests queue, apart from the library that received it.

    `delivery_count` is 1 on the first delivery. `properties` are the application properties with string keys; only the
    trace context among them is read. `sequence_number` and `enqueued_at` are Service Bus's own. `of_alert`: the app
    itself sent it, to the operations queue.
    """

    body: bytes
    message_id: str | None = None
    sequence_number: int | None = None
    delivery_count: int = 1
    enqueued_at: datetime | None = None
    correlation_id: str | None = None
    properties: Mapping[str, Any] = field(default_factory=dict)
    of_alert: bool = False

    @property
    def run_id(self) -> str:
        return message_ids.run(self.sequence_number, self.enqueued_at, of_alert=self.of_alert)


def trace_of(properties: Mapping[str, Any]) -> dict[str, str]:
    """The trace context among a message's properties (W3C Trace Context; `Diagnostic-Id` is Azure's older name)."""
    names = ("traceparent", "tracestate", "Diagnostic-Id")
    trace = {name: str(properties[name])[:512] for name in names if properties.get(name)}
    if "traceparent" not in trace and "Diagnostic-Id" in trace:
        trace["traceparent"] = trace["Diagnostic-Id"]
    return trace


def read_document(envelope: Envelope) -> dict[str, Any]:
    """The JSON object in a message's body. Raises InvalidRequest as `read_json` does.

    An alert may be larger than a request: it says the same in HTML, more than once.
    """
    if envelope.body.startswith(_DATA_CONTRACT):
        refuse("body", "is text that .NET's DataContract serializer wrote; send the JSON itself, as UTF-8 bytes", None)
    # In a CloudEvent it may be text, in which quotes are escaped, or base64.
    alert = b"schemaId" in envelope.body or b'"data_base64"' in envelope.body
    return read_json(envelope.body, MAX_ALERT if alert else MAX_BODY)


@dataclass(frozen=True, slots=True)
class Record:
    """A message for the operations queue: delivered at `due`, or at once where that is None (an unscheduled message
    keeps its sequence number). `subject` says what it is: a record's phase, `reply`, `request` or `discovery`."""

    message_id: str
    body: bytes
    due: datetime | None
    subject: str
    correlation_id: str | None = None
    properties: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A locked message, received by the app itself. `delivery_count` is 1 on the first delivery; `sequence_number` and
    `enqueued_at` are Service Bus's own. `section`: the AMQP section that held the body, `data`, `value` or `sequence`.
    `dead_letter_reason` where it comes from a dead-letter queue; `from_requests`: from that of the requests queue.
    `locked_ago`: for how many seconds it had been locked when it was received here. `handle` is the library's
    message."""

    body: bytes
    message_id: str = ""
    subject: str = ""
    delivery_count: int = 1
    sequence_number: int | None = None
    enqueued_at: datetime | None = None
    correlation_id: str | None = None
    properties: Mapping[str, str] = field(default_factory=dict)
    section: str = "data"
    dead_letter_reason: str | None = None
    from_requests: bool = False
    locked_ago: float = 0.0
    handle: Any = None

    @property
    def envelope(self) -> Envelope:
        """The same, in the form in which the trigger of the requests queue hands messages over."""
        return Envelope(
            body=self.body,
            message_id=self.message_id or None,
            sequence_number=self.sequence_number,
            delivery_count=self.delivery_count,
            enqueued_at=self.enqueued_at,
            correlation_id=self.correlation_id,
            properties=self.properties,
            of_alert=not self.from_requests,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MaintenanceEvent:
    """One CloudEvent, with the plain properties that subscription filters use. `data_schema`: what describes its
    data, the `$id` of a JSON Schema in `contracts/`."""

    type: str
    data_schema: str
    event_id: str
    source: str
    subject: str
    time: datetime
    data: Mapping[str, Any]
    properties: Mapping[str, str]
    correlation_id: str | None = None
    trace: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> bytes:
        """The structured form, never over `MAX_EVENT` bytes: the messages of instances are left out first, then the
        ends of long texts and lists are, then instances are (`instancesCut` counts them)."""
        body = self._encode(self.data)
        if len(body) <= MAX_EVENT:
            return body
        instances = self.data.get("instances") or []
        short = [{name: value for name, value in entry.items() if name != "message"} for entry in instances]
        data = {**self.data, **({"instances": short} if short else {})}
        body = self._encode(data)
        if len(body) > MAX_EVENT:
            data.update({name: _cut(self.data[name]) for name in CUTTABLE if name in self.data})
            body = self._encode(data)
        kept = len(short)
        while len(body) > MAX_EVENT and kept:
            kept //= 2
            body = self._encode({**data, "instances": short[:kept], "instancesCut": len(short) - kept})
        return body

    def _encode(self, data: Mapping[str, Any]) -> bytes:
        document: dict[str, Any] = {
            "specversion": "1.0",
            "id": self.event_id,
            "source": self.source,
            "type": self.type,
            "subject": self.subject,
            "time": self.time.isoformat(),
            "datacontenttype": "application/json",
            "dataschema": self.data_schema,
            "data": data,
        }
        document.update({name: self.trace[name] for name in ("traceparent", "tracestate") if name in self.trace})
        # A lone surrogate, which JSON can smuggle in, has no UTF-8 form.
        return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def _cut(value: Any) -> Any:
    match value:
        case str():
            return value if len(value) <= MAX_CUT_TEXT else value[:MAX_CUT_TEXT] + "…"
        case list():
            return [_cut(item) for item in value[:MAX_CUT_LIST]]
        case dict():
            return {name: _cut(item) for name, item in value.items()}
    return value
