"""The events that subscribers receive, each with a deterministic id. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from maintenance.domain import message_ids
from maintenance.domain.errors import Problem
from maintenance.domain.messages import MaintenanceEvent
from maintenance.domain.observations import ErrorDetail
from maintenance.domain.operation import Operation, Result, Status
from maintenance.domain.redaction import redact
from maintenance.domain.resources import ScaleSet

TYPE_PREFIX = "vmss.maintenance"
MAX_QUOTED_BODY = 4_096
MAX_PROBLEMS = 100
MAX_VALUE = 200


def accepted(operation: Operation, now: datetime) -> MaintenanceEvent:
    """ARM has taken the first wave."""
    data = {
        "status": "Accepted",
        "start": _iso(operation.started_at or now),
        "deadline": _iso(operation.deadline),
        "waves": [list(wave) for wave in operation.waves],
        "instances": _instances(operation),
    }
    return _event(operation, "accepted", message_ids.accepted(operation.request_id), now, data)


def progressed(operation: Operation, now: datetime) -> MaintenanceEvent:
    """A wave ended and another follows."""
    left = sum(i not in operation.outcomes for wave in operation.waves[operation.wave + 1 :] for i in wave)
    data = {
        "status": "InProgress",
        "wave": operation.wave + 1,
        "waves": len(operation.waves),
        "done": operation.count(Result.COMPLETED, Result.ALREADY_COMPLETED),
        "failed": operation.count(Result.FAILED, Result.UNKNOWN),
        "left": left,
        "instances": _instances(operation, operation.wave),
    }
    return _event(operation, "progressed", message_ids.progressed(operation.request_id, operation.wave), now, data)


def ended(operation: Operation) -> MaintenanceEvent:
    """The request ended, as `completed` or as `rejected`; `operation` is in its last phase."""
    now = operation.ended_at
    if now is None or operation.status is None:
        raise ValueError(f"operation {operation.message_id} has not ended")
    if operation.status is Status.REJECTED:
        details = operation.error.details if operation.error else ()
        problems = [_problem(Problem(detail.code, detail.message, detail.target)) for detail in details[:MAX_PROBLEMS]]
        refusal = {"status": Status.REJECTED.value, "problems": problems, "instances": _instances(operation)}
        return _event(operation, "rejected", message_ids.ended(operation.request_id), now, refusal)
    data: dict[str, Any] = {
        "status": operation.status.value,
        "start": _iso(operation.started_at),
        "end": _iso(now),
        "error": _error(operation.error),
        "instances": _instances(operation),
    }
    if operation.dry_run:
        data.update(dryRun=True, waves=[list(wave) for wave in operation.waves])
    return _event(operation, "completed", message_ids.ended(operation.request_id), now, data)


def rejected(
    *,
    request_id: str,
    problems: Sequence[Problem],
    body: bytes,
    now: datetime,
    source: str,
    correlation_id: str | None,
    trace: Mapping[str, str],
    scale_set: ScaleSet | None = None,
    reason: str | None = None,
) -> MaintenanceEvent:
    """A message that is no request, or one that is not allowed; quotes its body up to `MAX_QUOTED_BODY` bytes."""
    data: dict[str, Any] = {
        "requestId": request_id,
        **_names(scale_set),
        "status": Status.REJECTED.value,
        "problems": [_problem(problem) for problem in problems[:MAX_PROBLEMS]],
        "request": redact(body[:MAX_QUOTED_BODY].decode("utf-8", errors="backslashreplace")),
        "requestBytes": len(body),
        "requestCut": len(body) > MAX_QUOTED_BODY,
    }
    if reason is not None:
        data["reason"] = redact(reason)
    return MaintenanceEvent(
        type=f"{TYPE_PREFIX}.rejected.v1",
        event_id=message_ids.ended(request_id),
        source=scale_set.resource_id if scale_set else source,
        subject=request_id,
        time=now,
        data=data,
        properties=_properties("rejected", Status.REJECTED.value, request_id, scale_set),
        correlation_id=correlation_id or request_id,
        trace=trace,
    )


def cancellation_accepted(
    *,
    request_id: str,
    cancels: str,
    scale_set: ScaleSet,
    now: datetime,
    reason: str | None,
    correlation_id: str | None,
    trace: Mapping[str, str],
) -> MaintenanceEvent:
    """A cancellation will be met by the request `cancels` before its next wave, if it is not over yet."""
    data: dict[str, Any] = {"requestId": request_id, **_names(scale_set), "status": "Accepted", "cancels": cancels}
    if reason is not None:
        data["reason"] = redact(reason)
    return MaintenanceEvent(
        type=f"{TYPE_PREFIX}.accepted.v1",
        event_id=message_ids.accepted(request_id),
        source=scale_set.resource_id,
        subject=request_id,
        time=now,
        data=data,
        properties=_properties("accepted", "Accepted", request_id, scale_set),
        correlation_id=correlation_id or request_id,
        trace=trace,
    )


def _event(operation: Operation, kind: str, event_id: str, now: datetime, data: Mapping[str, Any]) -> MaintenanceEvent:
    scale_set = operation.scale_set
    document = {"requestId": operation.request_id, **_names(scale_set), **data}
    if operation.reason is not None:
        document["reason"] = redact(operation.reason)
    return MaintenanceEvent(
        type=f"{TYPE_PREFIX}.{kind}.v1",
        event_id=event_id,
        source=scale_set.resource_id,
        subject=operation.request_id,
        time=now,
        data=document,
        properties=_properties(kind, str(data["status"]), operation.request_id, scale_set),
        correlation_id=operation.correlation_id or operation.request_id,
        trace=operation.trace,
    )


def _properties(kind: str, status: str, request_id: str, scale_set: ScaleSet | None) -> dict[str, str]:
    names = {name: value for name, value in _names(scale_set).items() if name != "resourceId"}
    return {"type": f"{TYPE_PREFIX}.{kind}.v1", "status": status, "requestId": request_id, **names}


def _names(scale_set: ScaleSet | None) -> dict[str, str]:
    if scale_set is None:
        return {}
    return {
        "subscriptionId": scale_set.subscription_id,
        "resourceGroupName": scale_set.resource_group_name,
        "vmScaleSetName": scale_set.name,
        "resourceId": scale_set.resource_id,
    }


def _instances(operation: Operation, wave: int | None = None) -> list[dict[str, Any]]:
    return [
        {
            "instanceId": instance_id,
            "outcome": outcome.result.value,
            **({"wave": outcome.wave + 1} if outcome.wave is not None else {}),
            **({"message": redact(outcome.message)} if outcome.message else {}),
        }
        for instance_id, outcome in operation.outcomes.items()
        if wave is None or outcome.wave == wave
    ]


def _error(error: ErrorDetail | None) -> dict[str, Any] | None:
    if error is None:
        return None
    return {
        "code": redact(error.code),
        "message": redact(error.message),
        "target": redact(error.target) if error.target is not None else None,
        "details": [_error(detail) for detail in error.details],
    }


def _problem(problem: Problem) -> dict[str, str]:
    document = {"field": problem.field, "message": redact(problem.message)}
    if problem.value is not None:
        document["value"] = redact(problem.value[:MAX_VALUE])
    return document


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
