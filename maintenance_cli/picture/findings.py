"""What the doctor finds: each with what it means and what to do about it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from maintenance.coordination.entries import Lease
from maintenance.domain.errors import SettingsError
from maintenance.settings import read_settings
from maintenance_cli.exits import Code
from maintenance_cli.picture.board import Snapshot, board_of, entries_of
from maintenance_cli.picture.messages import Entity, Peeked, Read, Unknown, messages_of
from maintenance_cli.picture.records import SUBJECTS, is_overdue, requested
from maintenance_cli.picture.runs import State

# The worker reckons with clocks that differ by as much.
MOST_SKEW = timedelta(minutes=5)
NOTED_SKEW = timedelta(seconds=30)
# Of a permission that was found: doctor runs with a login of its own.
_WHOSE = "of this login; the worker has an identity of its own"
KEEPING_SAMPLERS = ("always_on", "parentbased_always_on")


class Verdict(StrEnum):
    OK = "ok"
    NOTE = "note"
    UNKNOWN = "unknown"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """`advice`: what to do; None where nothing is to be done."""

    area: str
    verdict: Verdict
    text: str
    advice: str | None = None

    def to_document(self) -> dict[str, Any]:
        return {"area": self.area, "verdict": self.verdict.value, "text": self.text, "advice": self.advice}


def settings_findings(environment: Mapping[str, str], *, by_option: bool) -> Iterator[Finding]:
    """The worker's own settings, where this process has them. `by_option`: the namespace was named by an option."""
    if by_option and not environment.get("MAINTENANCE_ALLOWED_SCOPES"):
        yield Finding("settings", Verdict.UNKNOWN, "this process has no settings of the worker, only --namespace")
        return
    try:
        read_settings(environment)
    except SettingsError as error:
        for problem in error.problems:
            yield Finding("settings", Verdict.PROBLEM, str(problem), "Correct it where the app has its settings.")
    else:
        yield Finding("settings", Verdict.OK, "all are valid")


def telemetry_findings(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Sampler, log and tracing of the SDKs, as the app's settings have them (docs/observability.md)."""
    disabled = _is_on(environment, "OTEL_SDK_DISABLED")
    to_monitor = _is_on(environment, "PYTHON_APPLICATIONINSIGHTS_ENABLE_TELEMETRY") and not disabled
    to_collector = bool(environment.get("OTEL_EXPORTER_OTLP_ENDPOINT", "").strip()) and not disabled
    sampler = environment.get("OTEL_TRACES_SAMPLER", "").strip()
    found = []
    if _is_on(environment, "PYTHON_ENABLE_OPENTELEMETRY") and not to_monitor and not to_collector:
        text = "the host drops the worker's log, since PYTHON_ENABLE_OPENTELEMETRY is on and nothing exports it"
        found.append(Finding("telemetry", Verdict.PROBLEM, text, "Set an exporter too, or leave the setting out."))
    # Without a sampler Azure Monitor keeps five traces a second; OpenTelemetry itself keeps all.
    if (to_monitor or (to_collector and sampler)) and sampler not in KEEPING_SAMPLERS:
        named = f"the sampler {sampler}" if sampler else "the default sampler, five traces a second,"
        advice = "Set OTEL_TRACES_SAMPLER to parentbased_always_on."
        found.append(Finding("telemetry", Verdict.PROBLEM, f"{named} drops most of what the worker does", advice))
    if environment.get("AZURE_SDK_TRACING_IMPLEMENTATION", "").strip().lower() == "opentelemetry":
        text = "tracing of the Azure SDKs doubles the cost of each message, by four spans"
        found.append(Finding("telemetry", Verdict.NOTE, text, "Leave AZURE_SDK_TRACING_IMPLEMENTATION out."))
    if not found:
        where = [name for name, on in (("Application Insights", to_monitor), ("a collector", to_collector)) if on]
        text = f"goes to {' and '.join(where)}, every trace" if where else "none is exported; the log goes to the host"
        found.append(Finding("telemetry", Verdict.OK, text))
    yield from found


def _is_on(environment: Mapping[str, str], name: str) -> bool:
    return environment.get(name, "").strip().lower() in ("true", "1")


def clock_finding(theirs: datetime | None, ours: datetime) -> Finding:
    """This machine's clock against the `Date` of a response, which counts whole seconds."""
    if theirs is None:
        return Finding("clock", Verdict.UNKNOWN, "no response of Resource Manager tells the time")
    skew = ours - theirs
    text = f"{abs(skew.total_seconds()):.0f} s {'ahead of' if skew > timedelta(0) else 'behind'} Resource Manager's"
    if abs(skew) > MOST_SKEW:
        return Finding("clock", Verdict.PROBLEM, f"this machine's is {text}", "Set the clock of this machine.")
    if abs(skew) > NOTED_SKEW:
        return Finding("clock", Verdict.NOTE, f"this machine's is {text}; the worker has a clock of its own")
    return Finding("clock", Verdict.OK, "this machine's and Resource Manager's agree")


def queue_findings(snapshot: Snapshot, dead: Mapping[Entity, Read]) -> Iterator[Finding]:
    """Overdue records, leases without a run, dead letters."""
    if isinstance(snapshot.operations, tuple):
        yield _overdue(snapshot)
        yield from _unreadable(snapshot)
    leases = entries_of(snapshot.coordination, snapshot.now)
    if leases is not None and isinstance(snapshot.operations, tuple):
        yield _orphaned([each for each in leases if isinstance(each, Lease)], snapshot.operations)
    waiting = [each for each in messages_of(snapshot.requests) if is_overdue(each, snapshot.now)]
    if waiting:
        yield Finding(
            "requests",
            Verdict.PROBLEM,
            f"{len(waiting):,} wait for more than five minutes: nobody takes them",
            "Is the app up, and is receive_request enabled? Look at its log.",
        )
    found = False
    for entity, read in dead.items():
        if isinstance(read, tuple) and read:
            found = True
            yield _dead(entity, read)
    if not found and all(isinstance(read, tuple) for read in dead.values()):
        yield Finding("dead letters", Verdict.OK, "none")


def _overdue(snapshot: Snapshot) -> Finding:
    records = [each for each in messages_of(snapshot.operations) if each.subject in SUBJECTS]
    late = [each for each in records if is_overdue(each, snapshot.now)]
    if not late:
        return Finding("operations", Verdict.OK, f"{len(records):,} records, none overdue")
    names = ", ".join(sorted({requested(each) for each in late})[:5])
    return Finding(
        "operations",
        Verdict.PROBLEM,
        f"{len(late):,} of {len(records):,} records are overdue: {names}",
        "Is the app up, and is its timer poll_operations enabled? Look at its log.",
    )


def _unreadable(snapshot: Snapshot) -> Iterator[Finding]:
    names = [run.request_id for run in board_of(snapshot).runs if run.state is State.UNREADABLE]
    if names:
        yield Finding(
            "operations",
            Verdict.NOTE,
            f"{len(names):,} records are of another version than this command line: {', '.join(names[:5])}",
            "Install the command line of the version that is deployed.",
        )


def _orphaned(leases: Sequence[Lease], operations: Sequence[Peeked]) -> Finding:
    """Leases whose run has no record: they hold up others until they run out."""
    runs = {each.message_id.partition(":s")[0] for each in operations}
    alone = [lease for lease in leases if lease.run_id not in runs]
    if not alone:
        return Finding("leases", Verdict.OK, f"{len(leases):,}, each of a run that is under way")
    held = ", ".join(f"{lease.scale_set.rpartition('/')[2]} by {lease.request_id}" for lease in alone[:5])
    last = max(lease.until for lease in alone)
    return Finding(
        "leases",
        Verdict.PROBLEM,
        f"{len(alone):,} of {len(leases):,} are of runs that have no record: {held}",
        f"Nothing starts on these scale sets until they run out, the last at {last.isoformat()}.",
    )


def _dead(entity: Entity, read: Sequence[Peeked]) -> Finding:
    if entity.topic:
        text, advice = "the reader gave them up", f"vmss-maintenance dlq show {entity.path}"
    else:
        text = "the worker ends each within five minutes by an event"
        advice = f"If they stay, look at the log of read_dead_letters; vmss-maintenance dlq list {entity.path}"
    return Finding("dead letters", Verdict.PROBLEM, f"{len(read):,} of {entity.path}: {text}", advice)


def entity_findings(read: Mapping[Entity, Read]) -> Iterator[Finding]:
    """Whether each queue and subscription is there, and may be read."""
    for entity, found in read.items():
        if not isinstance(found, Unknown):
            if not entity.dead:
                yield Finding("entities", Verdict.OK, f"{entity} is there, and may be read")
            continue
        if entity.dead and entity.topic and found.code is Code.NOT_FOUND:
            # Readers have subscriptions of their own.
            continue
        advice = "Make it as docs/namespace.md says." if found.code is Code.NOT_FOUND else None
        yield Finding("entities", Verdict.PROBLEM, found.why, advice)


def permission_findings(
    scope: str, granted: Sequence[Mapping[str, Any]] | None, *, needed: Iterable[str]
) -> Iterator[Finding]:
    """What a login may do at a scope. `granted`: what `Microsoft.Authorization/permissions` says, a document for each
    role that is assigned; None where it does not respond."""
    for action in needed:
        if granted is None:
            yield Finding(
                "permissions", Verdict.UNKNOWN, f"{action} on {scope}: Azure does not tell what this login may do"
            )
        elif any(_allows(role, action) for role in granted):
            yield Finding("permissions", Verdict.OK, f"{action} on {scope}, {_WHOSE}")
        else:
            text = f"{action} on {scope} is not {_WHOSE}"
            yield Finding("permissions", Verdict.NOTE, text, "Only the worker's identity needs it (docs/security.md).")


def _allows(role: Mapping[str, Any], action: str) -> bool:
    return _matches(role.get("actions"), action) and not _matches(role.get("notActions"), action)


def _matches(patterns: object, action: str) -> bool:
    return any(
        re.fullmatch(re.escape(str(pattern)).replace(r"\*", ".*"), action, re.IGNORECASE)
        for pattern in (patterns if isinstance(patterns, list) else ())
    )


def worst(findings: Iterable[Finding]) -> Verdict:
    """PROBLEM where there is any, else OK: what is unknown is none, and said."""
    return Verdict.PROBLEM if any(each.verdict is Verdict.PROBLEM for each in findings) else Verdict.OK
