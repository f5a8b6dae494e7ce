"""The messages of a scan in the operations queue: one for each subscription, which is cut into parts. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from maintenance.domain import message_ids
from maintenance.domain.errors import InvalidRequest, Problem
from maintenance.domain.instances import ScaleSetSummary
from maintenance.domain.messages import Record
from maintenance.domain.resources import parse_scale_set_id, subscription_problem
from maintenance.policies.tags import of_texts, to_texts

# The subject of such a message.
SCAN = "scan"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """Look which scale sets of a subscription may be maintained. `day`: the UTC date of the scan, as ISO 8601: what is
    published of a scale set has an id made of it. `begun`: when the timer fired. `parts`: read these, and list nothing.
    `attempt` counts from 0."""

    subscription_id: str
    day: str
    begun: datetime
    parts: tuple[ScaleSetSummary, ...] | None = None
    attempt: int = 0


def to_scan_record(scan: Scan, due: datetime | None = None) -> Record:
    """The message of a scan. The same scan has the same id, whoever sends it."""
    document: dict[str, Any] = {
        "subscriptionId": scan.subscription_id,
        "day": scan.day,
        "begun": scan.begun.isoformat(),
        "attempt": scan.attempt,
    }
    if scan.parts is not None:
        document["scaleSets"] = [
            {
                "id": each.scale_set.resource_id,
                "location": each.location,
                "flexible": each.flexible,
                "tags": to_texts(each.tags),
            }
            for each in scan.parts
        ]
    body = json.dumps({"schemaVersion": 1, "scan": document}).encode()
    named = ",".join(each.scale_set.key for each in scan.parts) if scan.parts is not None else ""
    message_id = message_ids.scan(scan.day, scan.subscription_id.lower(), named, str(scan.attempt))
    return Record(message_id, body, due, SCAN, correlation_id=f"scan-{scan.day}")


def read_scan(document: Mapping[str, Any]) -> Scan:
    """Raises InvalidRequest for what this app cannot have written."""
    try:
        if document["schemaVersion"] != 1:
            raise ValueError("schemaVersion")
        fields = document["scan"]
        begun = datetime.fromisoformat(fields["begun"])
        if subscription_problem(fields["subscriptionId"]) or begun.tzinfo is None:
            raise ValueError("subscriptionId, begun")
        listed = fields.get("scaleSets")
        parts = None if listed is None else tuple(map(_summary, listed))
        return Scan(
            subscription_id=fields["subscriptionId"],
            day=str(fields["day"])[:10],
            begun=begun,
            parts=parts,
            attempt=int(fields["attempt"]),
        )
    except (LookupError, ValueError, TypeError, AttributeError):
        raise InvalidRequest((Problem("scan", "is not a scan as this app writes it"),)) from None


def _summary(document: Mapping[str, Any]) -> ScaleSetSummary:
    return ScaleSetSummary(
        parse_scale_set_id(document["id"]),
        str(document["location"]),
        flexible=document["flexible"] is True,
        tags=of_texts({str(name): str(text) for name, text in document["tags"].items()}),
    )
