"""Entries as JSON, written and read back as suspiciously as any input. Pure."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from maintenance.coordination.entries import CancellationMarker, Entry, Lease, StaleViews, kind_of
from maintenance.coordination.pauses import OPEN_ENDED, Pause, Resume
from maintenance.coordination.proceeds import Proceed
from maintenance.domain import message_ids
from maintenance.domain.formats import parse_json

# What is further ahead than any entry of this app's is passed over, whoever wrote it.
FURTHEST = timedelta(days=37)


def write_entry(entry: Entry) -> bytes:
    """The entry as JSON. `until` is there for people: only the message's own due time is read back."""
    document: dict[str, object] = {
        "schemaVersion": 1,
        "kind": kind_of(entry),
        "runId": entry.run_id,
        "until": entry.until.isoformat(),
    }
    if isinstance(entry, Pause | Resume):
        document |= {"scope": entry.scope, "enqueuedAt": entry.enqueued_at.isoformat(), "order": entry.order}
    else:
        document |= {"requestId": entry.request_id, "scaleSet": entry.scale_set}
    match entry:
        case Pause():
            document |= {"openEnded": entry.open_ended, "reason": entry.reason}
        case Lease():
            document |= {"content": entry.content, "limit": entry.limit}
            if entry.instances is not None or entry.region is not None:
                document |= {"instances": entry.instances, "region": entry.region}
        case CancellationMarker():
            document |= {"enqueuedAt": entry.enqueued_at.isoformat(), "reason": entry.reason}
        case Proceed():
            document |= {
                "wave": entry.wave,
                "enqueuedAt": entry.enqueued_at.isoformat(),
                "reason": entry.reason,
            }
        case StaleViews():
            document["instances"] = entry.instances
    return json.dumps(document).encode()


def read_entry(body: bytes, *, number: int, until: datetime, now: datetime) -> Entry | None:
    """The entry in a scheduled message that is due at `until`; None where this app cannot have written it."""
    entry = _read(body, number, until)
    return entry if entry is not None and within(entry, now) else None


def within(entry: Entry, now: datetime) -> bool:
    """Whether this app can have put it for so long."""
    ahead = OPEN_ENDED + FURTHEST if isinstance(entry, Pause | Resume) else FURTHEST
    return now - FURTHEST < entry.until < now + ahead


def _read(body: bytes, number: int, until: datetime) -> Entry | None:
    try:
        document = parse_json(body.decode())
        if document["kind"] in ("pause", "resume"):
            return _read_pause(document, number=number, until=until)
        run_id, request_id = document["runId"], document["requestId"]
        if not message_ids.RUN_ID.fullmatch(run_id) or not message_ids.REQUEST_ID.fullmatch(request_id):
            return None
        scale_set = str(document["scaleSet"])
        match document["kind"]:
            case "lease":
                return Lease(
                    run_id=run_id,
                    request_id=request_id,
                    scale_set=scale_set,
                    until=until,
                    content=str(document.get("content") or "")[:64],
                    limit=_limit(document.get("limit")),
                    instances=_limit(document.get("instances")),
                    region=str(document["region"])[:64] if document.get("region") else None,
                    number=number,
                )
            case "cancellation":
                return CancellationMarker(
                    run_id=run_id,
                    request_id=request_id,
                    scale_set=scale_set,
                    enqueued_at=_moment(document["enqueuedAt"]),
                    until=until,
                    number=number,
                    reason=_reason(document),
                )
            case "proceed" if document["wave"] and document["wave"] == _limit(document["wave"]):
                return Proceed(
                    run_id=run_id,
                    request_id=request_id,
                    scale_set=scale_set,
                    wave=document["wave"],
                    enqueued_at=_moment(document["enqueuedAt"]),
                    until=until,
                    number=number,
                    reason=_reason(document),
                )
            case "stale-views":
                named = document.get("instances")
                return StaleViews(
                    run_id=run_id,
                    request_id=request_id,
                    scale_set=scale_set,
                    until=until,
                    # What is not a list of ids counts as all instances.
                    instances=tuple(map(str, named)) if isinstance(named, list) else None,
                    number=number,
                )
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        pass
    return None


def _read_pause(document: dict[str, Any], *, number: int, until: datetime) -> Pause | Resume | None:
    run_id, scope, order = document["runId"], document["scope"], document["order"]
    if not message_ids.RUN_ID.fullmatch(run_id) or not isinstance(scope, str) or not isinstance(order, int):
        return None
    enqueued_at = _moment(document["enqueuedAt"])
    if document["kind"] == "resume":
        return Resume(run_id=run_id, scope=scope, enqueued_at=enqueued_at, order=order, until=until, number=number)
    return Pause(
        run_id=run_id,
        scope=scope,
        enqueued_at=enqueued_at,
        order=order,
        until=until,
        open_ended=document.get("openEnded") is True,
        reason=_reason(document),
        number=number,
    )


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _reason(document: dict[str, Any]) -> str | None:
    return str(document["reason"])[:1000] if document.get("reason") else None


def _limit(value: object) -> int | None:
    """At least 1, so that no entry can hold up all others; None where there is none."""
    return max(value, 1) if isinstance(value, int) and not isinstance(value, bool) else None
