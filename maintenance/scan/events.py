"""The event of a scan for one scale set: one each day, however often it is published. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from maintenance.domain import message_ids
from maintenance.domain.messages import MaintenanceEvent
from maintenance.domain.redaction import redact
from maintenance.lifecycle.events import data_schema, event_type
from maintenance.scan.decisions import Due

KIND, STATUS = "due", "Due"


def due_event(due: Due, day: str, now: datetime, *, requested: str | None) -> MaintenanceEvent:
    """What a scan of that day found. `requested`: the requestId under which it asks for maintenance."""
    scale_set = due.summary.scale_set
    names = {
        "subscriptionId": scale_set.subscription_id,
        "resourceGroupName": scale_set.resource_group_name,
        "vmScaleSetName": scale_set.name,
    }
    run_id, request_id = message_ids.scan_run(day, scale_set.key), message_ids.scan_request(day, scale_set.key)
    data: dict[str, Any] = {
        "requestId": request_id,
        "runId": run_id,
        **names,
        "resourceId": scale_set.resource_id,
        "status": STATUS,
        "selfServiceUntil": _iso(due.self_service_until),
        "azureBegins": _iso(due.azure_begins),
        "underWay": None if due.under_way is None else due.under_way.request_id,
        "hindrances": [
            {"kind": each.waits_for, "message": redact(each.message), "until": _iso(each.until)}
            for each in due.hindrances
        ],
        "instances": [
            {"instanceId": each.instance_id, "selfServiceUntil": _iso(each.self_service_until)}
            for each in due.instances
        ],
    }
    if requested is not None:
        data["requested"] = requested
    return MaintenanceEvent(
        type=event_type(KIND),
        data_schema=data_schema(KIND),
        event_id=message_ids.due(run_id),
        source=scale_set.resource_id,
        subject=request_id,
        time=now,
        data=data,
        properties={"type": event_type(KIND), "status": STATUS, "requestId": request_id, **names},
        correlation_id=requested or request_id,
    )


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
