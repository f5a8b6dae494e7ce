"""X"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

# How long a cancellation is remembered: a request may wait for its notBefore, or behind another.
CANCELLATION_LASTS = timedelta(days=7)
# Past its deadline a rollout still ends its last poll and publishes that it timed out.
ROLLOUT_OUTLASTS_DEADLINE = timedelta(minutes=30)


class NoticeKind(StrEnum):
    """What a notice says: this request rolls out here, or this request was canceled."""

    ROLLOUT = "rollout"
    CANCELLATION = "cancellation"


@dataclass(frozen=True, slots=True)
class Notice:
    """`scale_set` is a `ScaleSet.key`. `number` is Service Bus's sequence number; 0 before it has one."""

    kind: NoticeKind
    request_id: str
    scale_set: str
    until: datetime
    number: int = 0
    reason: str | None = None


def holder(notices: Iterable[Notice], scale_set: str, request_id: str, now: datetime) -> Notice | None:
    """The rollout of another request that this one must wait for; None where the scale set is free.

    Of several, the one whose notice Service Bus numbered first. A request's own notice comes before all later ones.
    """
    rollouts = [
        notice
        for notice in notices
        if notice.kind is NoticeKind.ROLLOUT and notice.scale_set == scale_set and notice.until > now
    ]
    first = min(rollouts, key=lambda notice: notice.number, default=None)
    return first if first is not None and first.request_id != request_id else None


def own_rollout(notices: Iterable[Notice], request_id: str) -> bool:
    """Whether the request's notice is up."""
    return any(notice.kind is NoticeKind.ROLLOUT and notice.request_id == request_id for notice in notices)


def cancellation(notices: Iterable[Notice], scale_set: str, request_id: str) -> Notice | None:
    """The notice that cancels the request. It must name the same scale set: whoever may cancel there, may here."""
    for notice in notices:
        if notice.kind is NoticeKind.CANCELLATION and (notice.scale_set, notice.request_id) == (scale_set, request_id):
            return notice
    return None


def write_notice(notice: Notice) -> bytes:
    """The notice as JSON."""
    document = {
        "schemaVersion": 1,
        "kind": notice.kind.value,
        "requestId": notice.request_id,
        "scaleSet": notice.scale_set,
        "until": notice.until.isoformat(),
        "reason": notice.reason,
    }
    return json.dumps(document).encode()


def read_notice(body: bytes, number: int) -> Notice | None:
    """The notice in a message; None where it is none that this version can read."""
    try:
        document = json.loads(body)
        return Notice(
            kind=NoticeKind(document["kind"]),
            request_id=str(document["requestId"]),
            scale_set=str(document["scaleSet"]),
            until=datetime.fromisoformat(document["until"]),
            number=number,
            reason=str(document["reason"])[:1000] if document.get("reason") else None,
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
