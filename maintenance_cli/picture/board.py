"""All that was read of the namespace, as one picture: what waits, what is under way, what ended. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from maintenance.coordination.documents import read_entry
from maintenance.coordination.entries import Entry, Lease
from maintenance.coordination.pauses import Pause, Resume, deferral_of
from maintenance.domain import message_ids
from maintenance.domain.errors import ProblemsError
from maintenance.domain.messages import Envelope
from maintenance.domain.redaction import redact
from maintenance.domain.resources import ScaleSet, fold, parse_scale_set_id
from maintenance.requests.envelopes import document_of
from maintenance_cli.picture.events import Event, concerns, ended_run, read_events, with_times
from maintenance_cli.picture.messages import Peeked, Read, Unknown, messages_of, reason_of
from maintenance_cli.picture.records import newest_records, run_of
from maintenance_cli.picture.runs import Run, State

# Fields that only messages have which start nothing; those of maintenance.requests.controls, which imports pydantic.
CONTROLS = ("cancel", "pause", "resume", "proceed")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was peeked. `audit` is None where it was not asked for. `dead`: the dead letters of requests and of
    operations, empty where they were not asked for."""

    requests: Read
    operations: Read
    coordination: Read
    audit: Read | None
    now: datetime
    dead: tuple[Read, Read] | tuple[()] = ()

    @property
    def unknown(self) -> list[Unknown]:
        parts = (self.requests, self.operations, self.coordination, self.audit, *self.dead)
        return [part for part in parts if isinstance(part, Unknown)]


@dataclass(frozen=True, slots=True)
class Board:
    """The runs: those under way by when they were requested, those that wait, those that ended, the newest first.

    `leases`: None where they are not known. `audited`: whether ends could be read. `paused`: what starts nothing new,
    each pause in force as a sentence.
    """

    runs: tuple[Run, ...]
    leases: tuple[Lease, ...] | None
    events: tuple[Event, ...] = ()
    audited: bool = False
    paused: tuple[str, ...] = ()

    def of(self, wanted: str) -> list[Run]:
        """The runs of a request or run id: all that are not over, else the one that ended last."""
        found = [run for run in self.runs if wanted in (run.request_id, run.run_id)]
        return [run for run in found if not run.is_over] or found[:1]

    def on(self, scale_set: ScaleSet) -> list[Run]:
        return [run for run in self.runs if run.scale_set is not None and run.scale_set.key == scale_set.key]


def board_of(snapshot: Snapshot, wanted: str | None = None) -> Board:
    """The picture. `wanted`: only of this request or run id."""
    entries = entries_of(snapshot.coordination, snapshot.now)
    events = [event for event in read_events(messages_of(snapshot.audit)) if wanted is None or concerns(event, wanted)]
    records = newest_records(messages_of(snapshot.operations), wanted)
    runs = {run.run_id: run for run in (run_of(record, entries, snapshot.now) for record in records)}
    by_run: dict[str, list[Event]] = {}
    for event in events:
        by_run.setdefault(event.run_id, []).append(event)
    ended: list[Run] = []
    for end in sorted((event for event in events if event.ends), key=lambda event: event.time, reverse=True):
        if end.run_id in runs and not runs[end.run_id].is_over and runs[end.run_id].state is not State.ENDING:
            # An end is published by a delivery of a record that then is in the queue no more: what was peeked of the
            # queue is older.
            del runs[end.run_id]
        if end.run_id not in runs:
            ended.append(ended_run(end, by_run[end.run_id]))
    under_way = [replace(run, waves=with_times(run.waves, by_run.get(run.run_id or "", ()))) for run in runs.values()]
    over = [run for run in under_way if run.is_over]
    active = sorted((run for run in under_way if not run.is_over), key=_requested_at)
    over_by_now = {run.run_id for run in ended}
    waiting = [
        run
        for run in (*_waiting(snapshot, wanted), *_dead(snapshot, wanted))
        if run.run_id not in runs and run.run_id not in over_by_now
    ]
    newest = sorted((*over, *ended), key=_ended_at, reverse=True)
    leases = None if entries is None else tuple(each for each in entries if isinstance(each, Lease))
    runs_shown = (*active, *waiting, *newest)
    audited = isinstance(snapshot.audit, tuple)
    return Board(runs_shown, leases, tuple(events), audited=audited, paused=_paused(entries or ()))


def entries_of(read: Read, now: datetime) -> list[Entry] | None:
    """The entries of the coordination queue; None where they are not known."""
    if isinstance(read, Unknown):
        return None
    found = (
        read_entry(each.body, number=each.number, until=each.due, now=now) for each in read if each.due is not None
    )
    return [entry for entry in found if entry is not None]


def _paused(entries: Sequence[Entry]) -> tuple[str, ...]:
    resumes = [each for each in entries if isinstance(each, Resume)]
    pauses = [each for each in entries if isinstance(each, Pause) and not any(end.lifts(each) for end in resumes)]
    return tuple(redact(deferral_of(each).message) for each in sorted(pauses, key=lambda pause: pause.enqueued_at))


def _waiting(snapshot: Snapshot, wanted: str | None) -> list[Run]:
    """Requests that no worker has handled yet, in their order; and those from alerts, on the operations queue."""
    from_alerts = [each for each in messages_of(snapshot.operations) if each.subject == "request"]
    found = [
        run for message in (*messages_of(snapshot.requests), *from_alerts) if (run := waiting_run(message)) is not None
    ]
    return [run for run in found if wanted is None or wanted in (run.request_id, run.run_id)]


def _dead(snapshot: Snapshot, wanted: str | None) -> list[Run]:
    """What Service Bus gave up delivering: requests, requests of alerts, and records."""
    requests, operations = (messages_of(read) for read in (snapshot.dead or ((), ())))
    from_alerts = [message for message in operations if message.subject == "request"]
    found = [(waiting_run(message), message) for message in (*requests, *from_alerts)]
    found += [(run_of(record, None, snapshot.now), record.message) for record in newest_records(operations, wanted)]
    runs = [_given_up(run, message) for run, message in found if run is not None]
    return [run for run in runs if wanted is None or wanted in (run.request_id, run.run_id)]


def _given_up(run: Run, message: Peeked) -> Run:
    why = f"Service Bus gave up delivering it: {reason_of(message)}. The worker ends it by an event in five minutes."
    return replace(run, state=State.DEAD, next_at=None, overdue=False, why=(why,))


def waiting_run(message: Peeked) -> Run | None:
    """The run that a message of the requests queue will be; None for what starts nothing: a cancellation, a
    pause, a resume."""
    document = document_of(envelope_of(message)) or {}
    if any(kind in document for kind in CONTROLS):
        return None
    why = ["No worker has taken it yet."]
    if message.delivery_count:
        why.append(f"{message.delivery_count} deliveries have failed; after 10 it is a dead letter.")
    return Run(
        request_id=message_ids.request(document.get("requestId"), message.message_id or None, message.number),
        run_id=message_ids.run(message.number, message.enqueued_at),
        scale_set=_scale_set(document),
        state=State.WAITING,
        dry_run=document.get("dryRun") is True,
        reason=redact(str(document["reason"])) if document.get("reason") else None,
        correlation_id=message.correlation_id,
        requested_at=message.enqueued_at,
        next_at=message.due,
        why=tuple(why),
    )


def envelope_of(message: Peeked) -> Envelope:
    """The message as the worker's trigger would hand it over."""
    return Envelope(
        body=message.body,
        message_id=message.message_id or None,
        sequence_number=message.number,
        delivery_count=message.delivery_count + 1,
        enqueued_at=message.enqueued_at,
        correlation_id=message.correlation_id,
        properties=message.properties,
    )


def _scale_set(document: dict[str, object]) -> ScaleSet | None:
    try:
        if document.get("resourceId"):
            return parse_scale_set_id(str(document["resourceId"]))
        names = [document.get(name) for name in ("subscriptionId", "resourceGroupName", "vmScaleSetName")]
        return ScaleSet(*map(str, names)) if all(names) else None
    except (ValueError, ProblemsError):
        return None


def held_sets(board: Board, runs: Sequence[Run]) -> dict[str, str]:
    """By scale set, which request holds it, of the scale sets of these runs."""
    holders: dict[str, str] = {}
    for lease in sorted(board.leases or (), key=lambda lease: lease.number):
        holders.setdefault(fold(lease.scale_set), lease.request_id)
    keys = {run.scale_set.key for run in runs if run.scale_set}
    return {key: holder for key, holder in holders.items() if key in keys}


def _requested_at(run: Run) -> float:
    return run.requested_at.timestamp() if run.requested_at else 0.0


def _ended_at(run: Run) -> float:
    return run.ended_at.timestamp() if run.ended_at else 0.0
