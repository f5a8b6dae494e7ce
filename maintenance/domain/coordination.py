"""Entries of the coordination queue that every worker can see: who holds a scale set, and what was canceled. Pure.

An entry is a scheduled message. Scheduled messages can be peeked and canceled by anyone, are numbered by Service Bus in
one order for all, and are never delivered before their time. So a request puts its lease into the queue, looks whose
was first, and releases it at its end. A lease whose worker and records were lost expires after its request's deadline.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

# How long a cancellation is remembered: a request may wait for its notBefore, or behind another.
MARKER_LASTS = timedelta(days=7)
# Past its deadline a rollout still ends its last poll and publishes that it timed out.
LEASE_OUTLASTS_DEADLINE = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class Lease:
    """This request maintains this scale set, in several waves, until then at the latest.

    `scale_set` is a `ScaleSet.key`. `number` is Service Bus's sequence number; 0 before it has one.
    """

    request_id: str
    scale_set: str
    until: datetime
    number: int = 0


@dataclass(frozen=True, slots=True)
class CancellationMarker:
    """This request was canceled. Remembered until then; the other fields as in a lease."""

    request_id: str
    scale_set: str
    until: datetime
    number: int = 0
    reason: str | None = None


Entry = Lease | CancellationMarker


def lease_holder(entries: Iterable[Entry], scale_set: str, request_id: str, now: datetime) -> Lease | None:
    """The lease of another request that this one must wait for; None where the scale set is free.

    Of several, the one that Service Bus numbered first. A request's own lease comes before all later ones.
    """
    leases = [each for each in entries if isinstance(each, Lease) and each.scale_set == scale_set and each.until > now]
    first = min(leases, key=lambda lease: lease.number, default=None)
    return first if first is not None and first.request_id != request_id else None


def has_lease(entries: Iterable[Entry], request_id: str) -> bool:
    """Whether the request's lease is in the queue."""
    return any(isinstance(each, Lease) and each.request_id == request_id for each in entries)


def cancellation(entries: Iterable[Entry], scale_set: str, request_id: str) -> CancellationMarker | None:
    """The marker that cancels the request. It must name the same scale set: whoever may cancel there, may here."""
    for each in entries:
        if isinstance(each, CancellationMarker) and (each.scale_set, each.request_id) == (scale_set, request_id):
            return each
    return None


def write_entry(entry: Entry) -> bytes:
    """The entry as JSON."""
    document = {
        "schemaVersion": 1,
        "kind": kind_of(entry),
        "requestId": entry.request_id,
        "scaleSet": entry.scale_set,
        "until": entry.until.isoformat(),
    }
    if isinstance(entry, CancellationMarker):
        document["reason"] = entry.reason
    return json.dumps(document).encode()


def kind_of(entry: Entry) -> str:
    """`lease` or `cancellation`, as the message's subject says it."""
    return "lease" if isinstance(entry, Lease) else "cancellation"


def read_entry(body: bytes, number: int) -> Entry | None:
    """The entry in a message; None where it is none that this version can read."""
    try:
        document = json.loads(body)
        request_id, scale_set = str(document["requestId"]), str(document["scaleSet"])
        until = datetime.fromisoformat(document["until"])
        match document["kind"]:
            case "lease":
                return Lease(request_id, scale_set, until, number)
            case "cancellation":
                reason = str(document["reason"])[:1000] if document.get("reason") else None
                return CancellationMarker(request_id, scale_set, until, number, reason)
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    return None
