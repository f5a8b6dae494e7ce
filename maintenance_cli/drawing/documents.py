"""Runs and events as JSON, with the names that events have. Times are RFC 3339; what is not known is null. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from maintenance_cli.picture.events import Event
from maintenance_cli.picture.runs import InstanceShown, Run


def run_document(run: Run) -> dict[str, Any]:
    return {
        "requestId": run.request_id,
        "runId": run.run_id,
        "resourceId": run.scale_set.resource_id if run.scale_set else None,
        "state": run.state.value,
        "status": run.status,
        "dryRun": run.dry_run,
        "reason": run.reason,
        "correlationId": run.correlation_id,
        "requestedAt": _iso(run.requested_at),
        "startedAt": _iso(run.started_at),
        "endedAt": _iso(run.ended_at),
        "deadline": _iso(run.deadline),
        "nextAt": None if run.is_over else _iso(run.next_at),
        "overdue": run.overdue,
        "why": list(run.why),
        "heldBy": run.held_by,
        "canceled": run.canceled,
        "waves": [
            {
                "wave": wave.number,
                "state": wave.state,
                "postedAt": _iso(wave.posted_at),
                "endedAt": _iso(wave.ended_at),
                "instances": _instances(wave.instances),
            }
            for wave in run.waves
        ],
        "instances": _instances(run.others),
        "error": run.error,
        "duplicateOf": run.duplicate_of,
        "record": run.record,
    }


def event_document(event: Event) -> dict[str, Any]:
    return {
        "time": _iso(event.time),
        "kind": event.kind,
        "status": event.status,
        "requestId": event.request_id,
        "runId": event.run_id,
        "resourceId": event.scale_set.resource_id if event.scale_set else None,
        "cancels": event.cancels,
        "reason": event.reason,
        "correlationId": event.correlation_id,
        "data": dict(event.data),
    }


def _instances(instances: Sequence[InstanceShown]) -> list[dict[str, Any]]:
    return [
        {"instanceId": each.instance_id, "state": each.state, **({"message": each.message} if each.message else {})}
        for each in instances
    ]


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
