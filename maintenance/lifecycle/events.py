"""The events that subscribers receive, rebuilt from records, each with a deterministic id and content. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from maintenance.domain import message_ids
from maintenance.domain.calendars import Deferral
from maintenance.domain.messages import MaintenanceEvent
from maintenance.domain.observations import ErrorDetail
from maintenance.domain.operation import Operation, Owed, Phase, Reply, Result, Status
from maintenance.domain.redaction import redact
from maintenance.domain.resources import ScaleSet
from maintenance.policies.gates import gate_until

TYPE_PREFIX = "vmss.maintenance"
# Names a schema and never changes once an event carried it: a change of the data gets the next number. Nothing is
# served there, and by nobody: the domain is reserved (RFC 2606).
DATA_SCHEMA = "https://vmss-maintenance.example/schemas/maintenance-{kind}/{number}/schema.json"
# Those that have changed since they were first published.
DATA_NUMBERS = {"accepted": 2}
MAX_PROBLEMS = 100
MAX_VALUE = 200


def event_type(kind: str) -> str:
    return f"{TYPE_PREFIX}.{kind}.v1"


def data_schema(kind: str) -> str:
    """The `$id` of the schema that describes the data of events of a kind."""
    return DATA_SCHEMA.format(kind=kind, number=DATA_NUMBERS.get(kind, 1))


def owed_events(operation: Operation) -> tuple[MaintenanceEvent, ...]:
    """What a delivery of the record publishes before it does anything else, in this order."""
    events = tuple(_owed(operation, owed) for owed in operation.owed)
    return (*events, ended(operation)) if operation.phase is Phase.END else events


def _owed(operation: Operation, owed: Owed) -> MaintenanceEvent:
    if owed.deferral is not None:
        return deferred(operation, owed.wave, owed.deferral, owed.at)
    if owed.kind == "awaiting":
        return awaiting(operation, owed.wave, owed.at)
    return accepted(operation, owed.at) if owed.kind == "accepted" else progressed(operation, owed.wave, owed.at)


def accepted(operation: Operation, at: datetime) -> MaintenanceEvent:
    """ARM has taken something. What is said of instances is what planning found: it does not change any more."""
    data = {
        "status": "Accepted",
        "start": _iso(operation.started_at or at),
        "deadline": _iso(operation.deadline),
        "waves": [list(wave) for wave in operation.waves],
    }
    return _event(operation, "accepted", message_ids.accepted(operation.run_id), at, data)


def progressed(operation: Operation, wave: int, at: datetime) -> MaintenanceEvent:
    """A wave ended and another follows. Counts what was known then, so that it says the same whenever it is rebuilt."""
    known = [outcome for outcome in operation.outcomes.values() if outcome.wave is None or outcome.wave <= wave]
    done = sum(outcome.result in (Result.COMPLETED, Result.ALREADY_COMPLETED) for outcome in known)
    data = {
        "status": "InProgress",
        "wave": wave + 1,
        "waves": len(operation.waves),
        "done": done,
        "failed": sum(outcome.result in (Result.FAILED, Result.UNKNOWN) for outcome in known),
        "left": sum(len(each) for each in operation.waves[wave + 1 :]),
        "instances": _instances(operation, wave),
    }
    return _event(operation, "progressed", message_ids.progressed(operation.run_id, wave), at, data)


def deferred(operation: Operation, wave: int, why: Deferral, at: datetime) -> MaintenanceEvent:
    """A wave waits, and for what. Told once for each thing that it waits for."""
    data = {
        "status": "Deferred",
        "wave": wave + 1,
        "waitsFor": why.waits_for,
        "message": redact(why.message),
        "until": _iso(why.until),
        "deadline": _iso(operation.deadline),
    }
    return _event(operation, "deferred", message_ids.deferred(operation.run_id, wave, why.waits_for), at, data)


def awaiting(operation: Operation, wave: int, at: datetime) -> MaintenanceEvent:
    """A wave waits at its gate since `at`: which instances are to be maintained in it, and what happens when.

    Nothing is done to them before this is published; an end that came first calls them not attempted.
    """
    outcomes = ((each, operation.outcomes.get(each)) for ids in operation.waves[wave : wave + 1] for each in ids)
    to_do = [each for each, outcome in outcomes if outcome is None or outcome.result is Result.NOT_ATTEMPTED]
    data = {
        "status": "Awaiting",
        "wave": wave + 1,
        "waves": len(operation.waves),
        "instanceIds": to_do,
        "until": _iso(gate_until(operation, at)),
        "atTimeout": operation.gate.at_timeout if operation.gate else "stop",
        "deadline": _iso(operation.deadline),
    }
    return _event(operation, "awaiting", message_ids.awaiting(operation.run_id, wave), at, data)


def ended(operation: Operation) -> MaintenanceEvent:
    """The run ended, as `completed`, `rejected` or `duplicate`; `operation` is an END record."""
    now = operation.ended_at
    if now is None or operation.status is None:
        raise ValueError(f"operation {operation.message_id} has not ended")
    event_id = message_ids.ended(operation.run_id)
    match operation.status:
        case Status.REJECTED:
            details = operation.error.details if operation.error else ()
            problems = [_problem(each.code, each.message, each.target) for each in details[:MAX_PROBLEMS]]
            refusal = {"status": Status.REJECTED.value, "problems": problems, "instances": _instances(operation)}
            return _event(operation, "rejected", event_id, now, refusal)
        case Status.DUPLICATE:
            same = {"status": Status.DUPLICATE.value, "duplicateOf": operation.duplicate_of}
            return _event(operation, "duplicate", event_id, now, same)
    data: dict[str, Any] = {
        "status": operation.status.value,
        "start": _iso(operation.started_at),
        "end": _iso(now),
        "error": _error(operation.error),
        "instances": _instances(operation),
    }
    if operation.dry_run:
        data.update(dryRun=True, waves=[list(wave) for wave in operation.waves])
    return _event(operation, "completed", event_id, now, data)


def replied(reply: Reply) -> MaintenanceEvent:
    """The end of a message that started no run: `rejected`, or `accepted` for what starts none."""
    data: dict[str, Any] = {"requestId": reply.request_id, "runId": reply.run_id, **_names(reply.scale_set)}
    accepts = reply.accepts
    if accepts:
        kind, status = "accepted", "Accepted"
        data.update(status=status, **accepts)
        if reply.until is not None:
            data["until"] = _iso(reply.until)
        if reply.wave is not None:
            data["wave"] = reply.wave
    else:
        kind, status = "rejected", Status.REJECTED.value
        data.update(
            status=status,
            problems=[_problem(*problem) for problem in reply.problems[:MAX_PROBLEMS]],
            request=redact(reply.quoted),
            requestBytes=reply.size,
            requestCut=reply.size > len(reply.quoted.encode(errors="replace")),
        )
    if reply.reason is not None:
        data["reason"] = redact(reply.reason)
    return MaintenanceEvent(
        type=event_type(kind),
        data_schema=data_schema(kind),
        event_id=message_ids.accepted(reply.run_id) if accepts else message_ids.ended(reply.run_id),
        source=reply.scale_set.resource_id if reply.scale_set else reply.source,
        subject=reply.request_id,
        time=reply.at,
        data=data,
        properties=_properties(kind, status, reply.request_id, reply.scale_set),
        correlation_id=reply.correlation_id or reply.request_id,
        trace=reply.trace,
    )


def _event(operation: Operation, kind: str, event_id: str, now: datetime, data: Mapping[str, Any]) -> MaintenanceEvent:
    scale_set = operation.scale_set
    document = {"requestId": operation.request_id, "runId": operation.run_id, **_names(scale_set), **data}
    if operation.reason is not None:
        document["reason"] = redact(operation.reason)
    return MaintenanceEvent(
        type=event_type(kind),
        data_schema=data_schema(kind),
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


def _problem(name: str, message: str, value: str | None) -> dict[str, str]:
    document = {"field": name, "message": redact(message)}
    if value is not None:
        document["value"] = redact(value[:MAX_VALUE])
    return document


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
