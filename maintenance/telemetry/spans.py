"""The spans of a run as values, rebuilt from its records: whoever emits one again emits the same. Pure.

A span is exported when it ends, and one that is left open is lost with its process. So the spans of a run and of its
waves, which outlast processes, are emitted once, at their end, with explicit times; until then only their ids exist.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from maintenance.domain.errors import UntrustedUrl
from maintenance.domain.observations import (
    Accepted,
    Ambiguous,
    Failed,
    Refused,
    Submission,
    Succeeded,
    Throttled,
)
from maintenance.domain.operation import Operation, Phase, Result, Status
from maintenance.domain.redaction import redact
from maintenance.telemetry.trace_context import SpanContext, run_trace

# Application Insights drops what began more than 48 hours ago.
OLDEST = timedelta(hours=47)
SUCCESSFUL = (Status.SUCCEEDED, Status.NOTHING_TO_DO, Status.PARTIALLY_SUCCEEDED)
POST = "POST performMaintenance"
SET_TEMPLATE = (
    "/subscriptions/{subscriptionId}/resourceGroups/{resourceGroupName}/providers/Microsoft.Compute/"
    "virtualMachineScaleSets/{vmScaleSetName}/performMaintenance"
)
VM_TEMPLATE = (
    "/subscriptions/{subscriptionId}/resourceGroups/{resourceGroupName}/providers/Microsoft.Compute/"
    "virtualMachines/{vmName}/performMaintenance"
)

AttributeValue = str | int | float | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanValue:
    """A span that has ended. `context` holds its ids; where its `span_id` is 0 it gets one of its own. `events` are
    names with their times. `error`: what failed; None where nothing did."""

    name: str
    context: SpanContext
    parent: SpanContext | None
    start: datetime
    end: datetime
    attributes: Mapping[str, AttributeValue]
    kind: Literal["internal", "client", "consumer"] = "internal"
    events: Sequence[tuple[str, datetime]] = ()
    error: str | None = None


def owed_spans(operation: Operation) -> tuple[SpanValue, ...]:
    """The spans of what ended with this record: the waves that it owes an event for, and, where it is an END, its last
    wave and the run. Those that the backend would drop for their age are left out."""
    spans = [
        _wave(operation, owed.wave, owed.began_at, owed.confirmed_at, owed.at, recovered=True)
        for owed in operation.owed
        if owed.kind == "progressed" and owed.began_at is not None
    ]
    if operation.phase is Phase.END and operation.ended_at is not None:
        if operation.wave_began_at is not None:
            began_at, confirmed_at = operation.wave_began_at, operation.wave_confirmed_at
            recovered = operation.status in SUCCESSFUL and operation.recovering_since is None
            spans.append(
                _wave(operation, operation.wave, began_at, confirmed_at, operation.ended_at, recovered=recovered)
            )
        spans.append(_maintenance(operation, operation.ended_at))
    return tuple(span for span in spans if span.end - span.start <= OLDEST)


def _maintenance(operation: Operation, ended_at: datetime) -> SpanValue:
    trace = run_trace(operation.run_id, operation.trace)
    error = operation.error
    return SpanValue(
        name=f"maintenance {operation.scale_set.name}",
        context=trace.maintenance,
        parent=trace.sender,
        start=min(operation.requested_at, ended_at),
        end=ended_at,
        attributes={
            **operation.attributes(),
            "vmss.maintenance.waves": len(operation.waves),
            "vmss.maintenance.dry_run": operation.dry_run,
            **({"vmss.maintenance.error_code": redact(error.code)} if error is not None else {}),
            **_counts(operation, None),
        },
        error=redact(error.code) if error is not None and operation.status not in SUCCESSFUL else None,
    )


def _wave(
    operation: Operation,
    number: int,
    began_at: datetime,
    confirmed_at: datetime | None,
    ended_at: datetime,
    *,
    recovered: bool,
) -> SpanValue:
    trace = run_trace(operation.run_id, operation.trace)
    counts = _counts(operation, number)
    failed = sum(counts.get(attribute_of(result), 0) for result in (Result.FAILED, Result.UNKNOWN))
    attributes = {name: value for name, value in operation.attributes().items() if name != "vmss.maintenance.status"}
    events = [("posted", began_at)]
    if confirmed_at is not None:
        events.append(("confirmed", confirmed_at))
        if recovered and not failed:
            events.append(("healthy", ended_at))
    return SpanValue(
        name=f"wave {number + 1}",
        context=trace.wave(number),
        parent=trace.maintenance,
        start=began_at,
        end=max(began_at, ended_at),
        attributes={**attributes, "vmss.maintenance.wave": number + 1, **counts},
        events=tuple(events),
        error=f"{failed} of {sum(counts.values())} instances failed" if failed else None,
    )


def attribute_of(result: Result) -> str:
    """The attribute that counts the instances with a result."""
    words = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in result.value)
    return f"vmss.maintenance.instances{words.replace('_', '.', 1)}"


def _counts(operation: Operation, wave: int | None) -> dict[str, int]:
    found = Counter(outcome.result for outcome in operation.outcomes.values() if wave is None or outcome.wave == wave)
    return {attribute_of(result): count for result, count in found.items()}


@dataclass(frozen=True, slots=True)
class Response:
    """What a response of ARM's says beside its content; no `status` where there was none."""

    status: int | None
    request_id: str | None = None


def post_span(
    operation: Operation,
    ids: Sequence[str] | None,
    submission: Submission | UntrustedUrl,
    response: Response,
    *,
    server: str,
    start: datetime,
    end: datetime,
) -> SpanValue:
    """One call of performMaintenance. `operation` is the POST record, or the JUDGE record that found out about it."""
    trace = run_trace(operation.run_id, operation.trace)
    wave = trace.wave(operation.wave)
    vm_name = ids[0] if operation.flexible and ids else ""
    error = error_of(submission)
    attributes = {name: value for name, value in operation.attributes().items() if name != "vmss.maintenance.status"}
    return SpanValue(
        name=POST,
        kind="client",
        context=trace.post(operation.number - (operation.phase is Phase.JUDGE), vm_name),
        parent=wave,
        start=start,
        end=max(start, end),
        attributes={
            **attributes,
            "vmss.maintenance.wave": operation.wave + 1,
            "vmss.maintenance.posted": len(ids or ()),
            "vmss.maintenance.submission": type(submission).__name__.lower(),
            **({"vmss.maintenance.error_code": error} if error is not None else {}),
            "http.request.method": "POST",
            "url.template": VM_TEMPLATE if vm_name else SET_TEMPLATE,
            "server.address": server,
            "azure.resource_provider.namespace": "Microsoft.Compute",
            "azure.resource_group.name": operation.scale_set.resource_group_name,
            **({"http.response.status_code": response.status} if response.status is not None else {}),
            **({"azure.service.request.id": response.request_id} if response.request_id else {}),
            **({"error.type": str(response.status or error)} if error is not None else {}),
        },
        error=error,
    )


def error_of(submission: Submission | UntrustedUrl) -> str | None:
    """The code of what went wrong with a submission; None where ARM took it."""
    match submission:
        case Accepted() | Succeeded():
            return None
        case Failed(error=error) | Throttled(error=error) | Refused(error=error) | Ambiguous(error=error):
            return redact(error.code)
    return "UntrustedUrl"
