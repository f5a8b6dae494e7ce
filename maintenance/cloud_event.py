"""A CloudEvent 1.0 on its way to the events topic. Pure.

Source of the form: CloudEvents 1.0.2 JSON format, as `azure.core.messaging.CloudEvent` reads and writes it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
# Under the 256 KB that a message may have in the Standard tier, with room for its properties.
MAX_EVENT = 200_000
# What is cut in an event that would be larger, and to how much.
CUTTABLE = ("error", "problems", "request", "reason")
MAX_CUT_TEXT = 400
MAX_CUT_LIST = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class MaintenanceEvent:
    """One CloudEvent, with the plain properties that subscription filters look at."""

    type: str
    event_id: str
    source: str
    subject: str
    time: datetime
    data: Mapping[str, Any]
    properties: Mapping[str, str]
    correlation_id: str | None = None
    trace: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> bytes:
        """The structured form, never over `MAX_EVENT` bytes: what instances were told is left out first, then the
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
