"""What keeps the next wave from starting now, and how a run waits for it: in slices, as all waits. Pure.

Each thing that a wave waits for is published once, a gate as `awaiting`. Dry runs start nothing, so nothing keeps them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import islice

from maintenance.coordination.entries import Entry, Lease, own_leases
from maintenance.coordination.pauses import deferral_of, pause_of
from maintenance.domain.calendars import Deferral
from maintenance.domain.errors import Problem
from maintenance.domain.observations import ErrorDetail
from maintenance.domain.operation import Operation, Owed, Status
from maintenance.lifecycle.actions import Continue, StateRead
from maintenance.lifecycle.ending import end, proceed, reject
from maintenance.lifecycle.rules import Rules
from maintenance.policies.calendar import Calendar
from maintenance.policies.gates import gate_until, is_awaiting, is_told, word
from maintenance.policies.limits import turn
from maintenance.policies.tags import TagPolicy, in_words, narrowed, narrowed_gate

# What is over at a time that is known beforehand.
BY_CALENDAR = ("Window", "Blackout")
# What the coordination queue alone tells: no views are read until it is over.
BY_ENTRIES = ("Pause", "Limit")


def calendar_of(rules: Rules, operation: Operation) -> Calendar:
    """When waves of this run may start."""
    return rules.calendar.narrowed(operation.windows).narrowed(operation.tag_windows)


def is_kept_waiting(rules: Rules, operation: Operation, now: datetime) -> bool:
    """Whether nothing can be started now, for all that is known before anything is read."""
    if operation.dry_run:
        return False
    by_entries = operation.deferral is not None and operation.deferral.waits_for in BY_ENTRIES
    by_entries = by_entries or is_awaiting(operation)
    return rules.paused or by_entries or calendar_of(rules, operation).closed(now) is not None


def deferral(rules: Rules, operation: Operation, entries: Sequence[Entry], now: datetime) -> Deferral | None:
    """Why this run starts nothing now, for all that the coordination queue and the calendar say; None: it may."""
    if operation.dry_run:
        return None
    if rules.paused:
        return Deferral("Pause", "The app is paused (MAINTENANCE_PAUSED).")
    if (pause := pause_of(entries, operation.scale_set.key)) is not None:
        return deferral_of(pause)
    if (closed := calendar_of(rules, operation).closed(now)) is not None:
        return closed
    leases = [each for each in entries if isinstance(each, Lease)] if rules.limits.across else []
    own = own_leases(leases, operation.run_id)
    return turn(rules.limits, leases, own[0], now) if own else None


def defer(rules: Rules, operation: Operation, why: Deferral, now: datetime) -> Continue:
    """The run waits and looks again. Where it would wait beyond its deadline for what is known to last: the end."""
    if why.waits_for in BY_CALENDAR and (why.until is None or why.until >= operation.deadline):
        return _never(rules, operation, why, now)
    error = ErrorDetail(f"WaitsFor{why.waits_for}", why.message)
    told = f"w{operation.wave}:{why.waits_for}"
    waiting = replace(planned_anew(operation), deferral=why, transient_error=error, failures=0)
    if told not in operation.deferred:
        # Published at once, not when it is over.
        owed = (*operation.owed, Owed("deferred", now, operation.wave, deferral=why))
        return proceed(replace(waiting, deferred=(*operation.deferred, told), owed=owed), now)
    look = _look(rules, operation.leased_at, now) if why.waits_for == "Limit" else rules.timing.slice
    # A clock that is ahead sees the end of a pause before Service Bus does.
    until = max(why.until or operation.deadline, now + rules.timing.min_poll)
    due = min(until, now + look, operation.deadline)
    return proceed(waiting, now, due)


def ask(operation: Operation, now: datetime) -> Continue:
    """The wave could start, and somebody is to say that it may: published at once. What is planned stays, since it was
    told."""
    owed = (*operation.owed, Owed("awaiting", now, operation.wave))
    return proceed(_at_gate(replace(operation, awaiting_since=now, owed=owed), now), now)


def _wait_at_gate(rules: Rules, operation: Operation, now: datetime) -> Continue:
    """Nobody has said yet that the wave may start."""
    since = operation.awaiting_since or now
    look = now + _look(rules, since, now)
    due = min(gate_until(operation, since) if is_told(operation) else operation.deadline, look)
    return proceed(_at_gate(operation, now), now, due)


def _at_gate(operation: Operation, now: datetime) -> Operation:
    until = gate_until(operation, operation.awaiting_since or now)
    message = f"Wave {operation.wave + 1} waits for a proceed, until {until.isoformat()} at the latest."
    error = ErrorDetail("WaitsForGate", message)
    return replace(operation, deferral=Deferral("Gate", message, until), transient_error=error, failures=0)


def _stop(operation: Operation, now: datetime) -> Continue:
    until = gate_until(operation, operation.awaiting_since or now)
    message = f"Nobody sent a proceed for wave {operation.wave + 1} by {until.isoformat()}; nothing more is started."
    return end(replace(operation, error=ErrorDetail("GateTimedOut", message)), now)


def _look(rules: Rules, since: datetime | None, now: datetime) -> timedelta:
    """How soon a run looks again that waits for its turn, or at a gate: it may come at any time. The longer it has
    waited the less often, so that hundreds cost little: a tenth of that time, between a minute and one slice."""
    waited = now - (since or now)
    return min(max(waited / 10, rules.timing.default_poll), rules.timing.slice)


def planned_anew(operation: Operation) -> Operation:
    """The run waits before it starts anything: what is planned now is planned anew then, unless an event has told of
    it. What is known stays: its end may come first."""
    told = operation.started_at or operation.wave or operation.awaiting_since
    return operation if told else replace(operation, planned=False, waves=())


def unless_kept(rules: Rules, operation: Operation, state_read: StateRead, now: datetime) -> Operation | Continue:
    """The operation, in its place in line, where nothing keeps its next wave from starting; else how it waits, or ends.

    A gate that is open is only one thing less that the wave waits for.
    """
    if state_read.tags is not None:
        if state_read.tags.problems:
            return _kept_out(operation, state_read.tags, now)
        operation = tagged(operation, state_read.tags)
    entries = state_read.entries
    if is_awaiting(operation):
        match word(operation, entries, now):
            case "proceed":
                operation = replace(operation, gate_open=True)
            case "stop":
                return _stop(operation, now)
    operation = in_line(rules, operation, entries, now)
    if (why := deferral(rules, operation, entries, now)) is not None:
        return defer(rules, operation, why, now)
    if is_awaiting(operation):
        return _wait_at_gate(rules, operation, now)
    return replace(operation, deferral=None, transient_error=None) if operation.deferral else operation


def in_line(rules: Rules, operation: Operation, entries: Sequence[Entry], now: datetime) -> Operation:
    """The operation, with the time at which its run took its place among all that the limits bound."""
    if not rules.limits.across or operation.leased_at is not None or not own_leases(entries, operation.run_id):
        return operation
    return replace(operation, leased_at=now)


def _never(rules: Rules, operation: Operation, why: Deferral, now: datetime) -> Continue:
    if operation.leased_at is None:
        return reject(operation, [no_start(calendar_of(rules, operation), now, operation.deadline)], now)
    message = f"The next wave cannot start before the deadline, {operation.deadline.isoformat()}: {why.message}"
    return end(replace(operation, error=ErrorDetail("NoWindow", message)), now, Status.TIMED_OUT)


def no_start(calendar: Calendar, now: datetime, deadline: datetime) -> Problem:
    """What is wrong with a request for which the calendar is closed until its deadline, with what helps."""
    starts = [start.isoformat() for start in islice(calendar.starts(now), 3)]
    then = f"the next three openings are at {', '.join(starts)}" if starts else "none opens within a year"
    message = f"no maintenance window is open before the deadline, {deadline.isoformat()}; {then}"
    return Problem("windows", message)


def tagged(operation: Operation, tags: TagPolicy) -> Operation:
    """The operation as the tags of its scale set narrow it. Windows count for each wave anew; the rollout is settled
    once the run has started anything, or asked somebody whether it may."""
    operation = replace(operation, tag_windows=tags.windows)
    if tags.rollout is None or operation.started_at or operation.wave or operation.awaiting_since:
        return operation
    rollout, gate = narrowed(operation.rollout, tags.rollout), narrowed_gate(operation.gate, tags.rollout.gate)
    if (rollout, gate) == (operation.rollout, operation.gate):
        return operation
    return replace(operation, rollout=rollout, gate=gate, planned=False, waves=())


def _kept_out(operation: Operation, tags: TagPolicy, now: datetime) -> Continue:
    """The tags of the scale set let nothing start."""
    if operation.started_at is None:
        return reject(operation, list(tags.problems), now)
    message = f"Nothing more is started on the scale set: {in_words(tags.problems)}."
    return end(replace(operation, error=ErrorDetail("KeptOut", message)), now)
