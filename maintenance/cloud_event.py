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
        """The structured form, never over `MAX_EVENT` bytes: what instances were told is left out first, then
        instances are (`instancesCut` counts them)."""
        body = self._encode(self.data)
        instances = self.data.get("instances")
        if len(body) <= MAX_EVENT or not isinstance(instances, list):
            return body
        short = [{name: value for name, value in entry.items() if name != "message"} for entry in instances]
        body = self._encode({**self.data, "instances": short})
        kept = len(short)
        while len(body) > MAX_EVENT and kept:
            kept //= 2
            body = self._encode({**self.data, "instances": short[:kept], "instancesCut": len(short) - kept})
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
