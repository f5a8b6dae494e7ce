"""Reads the services into a picture: plain values by section and key, as the page's scripts take them.

Reading changes nothing: no lock, no delivery count, no token bucket.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from sandbox.page.redaction import shown
from sandbox.page.runs import Run, Span
from sandbox.resource_manager import Fault, FaultReport, LimitLeft, ResourceManager, ScaleSetSeed
from sandbox.servicebus import FaultInForce, ServiceBus

Entries = dict[str, Any]


def moment_text(moment: datetime | None) -> str | None:
    """A time as the scripts read it, to the millisecond."""
    return None if moment is None else moment.isoformat(timespec="milliseconds")


def key_of(seed: ScaleSetSeed) -> str:
    """The key of a scale set, as a run names it."""
    return f"{seed.subscription_id}/{seed.resource_group_name}/{seed.name}"


def scale_sets(arm: ResourceManager) -> tuple[Entries, Entries]:
    """The scale sets, and their instances by `{scale set}\\n{instance id}`."""
    sets: Entries = {}
    instances: Entries = {}
    for order, seed in enumerate(arm.scale_sets):
        key = key_of(seed)
        sets[key] = {
            "order": order,
            "subscription": seed.subscription_id,
            "group": seed.resource_group_name,
            "name": seed.name,
            "location": seed.location,
            "mode": seed.orchestration_mode,
        }
        try:
            reports = arm.instances(seed.subscription_id, seed.resource_group_name, seed.name)
        except LookupError:  # removed since
            continue
        for place, each in enumerate(reports):
            instances[f"{key}\n{each.instance_id}"] = {
                "set": key,
                "id": each.instance_id,
                "place": place,
                "domain": each.update_domain,
                "faultDomain": each.fault_domain,
                "state": each.state,
                "health": each.vm_health,
                "power": each.power_state,
                "provisioning": each.provisioning_state,
                "vm": each.vm_name,
                "begun": each.maintenance_count,
                "outcome": each.last_outcome,
                "message": None if each.message is None else shown(each.message),
            }
    return sets, instances


def entity(bus: ServiceBus, name: str) -> Entries:
    """A queue, a topic or a subscription: its counts and its next due time."""
    report = bus.report(name)
    topic, _, subscription = name.partition("/Subscriptions/")
    counts = report.counts
    return {
        "name": name,
        "label": f"{topic} → {subscription}" if subscription else name,
        "active": counts.active,
        "scheduled": counts.scheduled,
        "deferred": counts.deferred,
        "locked": counts.locked,
        "dead": counts.dead_lettered,
        "nextDue": moment_text(report.next_due),
    }


def limits(left: Iterable[LimitLeft]) -> Entries:
    """The limits by name, of each the fullest use: what is counted per operation alone would be hundreds."""
    found: Entries = {}
    for each in left:
        entry = found.get(each.name)
        if entry is None or each.left < entry["left"]:
            found[each.name] = {"name": each.name, "owner": each.owner, "left": each.left, "bucket": each.bucket}
    return found


def faults(arm: Iterable[FaultReport], bus: Iterable[FaultInForce], of_sets: Mapping[str, str]) -> Entries:
    """The faults in force, by the key under which they are cleared. `of_sets`: texts by key, of views and instances."""
    found: Entries = {}
    for report in arm:
        if report.left != 0:
            text = f"{_fault(report.fault)}, {_times(report.left)}"
            found[f"arm:{report.number}"] = {"text": shown(text), "hits": report.hits}
    for each in bus:
        where = each.entity or "Service Bus"
        found[f"bus:{each.kind}:{each.entity or ''}"] = {
            "text": f"{where}: {each.kind}",
            "until": moment_text(each.until),
            "hits": None,
        }
    for key, text in of_sets.items():
        found[key] = {"text": text, "hits": None}
    return found


def run(each: Run) -> Entries:
    """A run, for its row in the timeline."""
    return {
        "id": each.run_id,
        "request": each.request_id,
        "set": each.scale_set,
        "requested": moment_text(each.requested_at),
        "deadline": moment_text(each.deadline),
        "waves": [list(wave) for wave in each.waves],
        "wave": each.wave,
        "due": moment_text(each.due),
        "why": shown(each.why),
        "trace": each.trace,
        "status": each.status,
        "spans": [_span(span) for span in each.spans],
    }


def _span(span: Span) -> Entries:
    return {
        "kind": span.kind,
        "wave": span.wave,
        "from": moment_text(span.begun),
        "to": moment_text(span.ended),
    }


def _fault(fault: Fault) -> str:
    """A fault in a few words."""
    path = fault.path if isinstance(fault.path, str) else fault.path.pattern
    where = f"{fault.method} {path}" if (fault.method, path) != ("*", "*") else "every call"
    what: list[str] = []
    if fault.status is not None:
        what.append(str(fault.status))
    if fault.cut:
        what.append(f"connection cut {fault.cut} the work")
    delay = fault.delay + fault.delay_response
    if delay:
        what.append(f"{delay.total_seconds():g} s late")
    what += [f"{name}: {value}" for name, value in fault.headers.items() if value is not None]
    if fault.operation_status is not None:
        what.append(f"status {fault.operation_status}")
    what += [f"{word} {', '.join(ids)}" for word, ids in (("gone:", fault.scale_in), ("updated:", fault.update)) if ids]
    # A status has a body of its own kind.
    if fault.status is None and (fault.body, fault.json, fault.body_size) != (None, None, None):
        what.append("another body")
    share = f" ({fault.rate:.0%} of them)" if fault.rate < 1 else ""
    return f"{where}{share} → {', '.join(what) or 'nothing'}"


def _times(left: int | None) -> str:
    return "until cleared" if left is None else "once more" if left == 1 else f"{left} times more"
