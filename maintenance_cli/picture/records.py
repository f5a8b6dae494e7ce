"""The runs in the operations queue, made of their records. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from maintenance.coordination.entries import Entry, Lease, cancellation, leases_of
from maintenance.domain.errors import UnreadableRecord
from maintenance.domain.operation import Operation, Phase, Result
from maintenance.domain.redaction import redact
from maintenance.domain.resources import ScaleSet, parse_scale_set_id
from maintenance.operations.records import ABOUT, read_record
from maintenance_cli.picture.messages import Peeked
from maintenance_cli.picture.runs import InstanceShown, Run, State, Wave

# A timer takes what is due every 30 s. What is due for longer was overlooked, or nobody is there to take it.
OVERDUE = timedelta(minutes=5)
BAD = (Result.FAILED, Result.UNKNOWN)
_OF_PHASE = {
    Phase.PLAN: State.PLANNING,
    Phase.POST: State.POSTING,
    Phase.JUDGE: State.JUDGING,
    Phase.TRACK: State.TRACKING,
    Phase.END: State.ENDING,
    Phase.REST: State.ENDED,
}
SUBJECTS = tuple(phase.value for phase in Phase)


@dataclass(frozen=True, slots=True)
class Record:
    """The newest record of a run that was peeked; `operation` is None where this version cannot read it."""

    message: Peeked
    operation: Operation | None
    problem: str | None = None


def newest_records(messages: Iterable[Peeked], wanted: str | None = None) -> list[Record]:
    """Of each run in the operations queue the newest record: two are there while a delivery is under way, or a POST is
    judged. `wanted`: only of this request or run id; other records are then not even read."""
    newest: dict[str, tuple[int, Peeked]] = {}
    for message in messages:
        if message.subject not in SUBJECTS:
            continue
        run_id, _, number = message.message_id.partition(":s")
        if wanted is not None and wanted not in (run_id, requested(message)):
            continue
        at = int(number) if number.isascii() and number.isdigit() and len(number) < 10 else 0
        if run_id not in newest or newest[run_id][0] <= at:
            newest[run_id] = (at, message)
    return [_read(message) for _, message in newest.values()]


def requested(message: Peeked) -> str:
    """The request id that a record's message names beside its body."""
    return message.properties.get(ABOUT, "").partition(" ")[0]


def _read(message: Peeked) -> Record:
    try:
        return Record(message, read_record(message.body))
    except UnreadableRecord as error:
        return Record(message, None, str(error))


def run_of(record: Record, entries: Sequence[Entry] | None, now: datetime) -> Run:
    """The run of a record. `entries` of the coordination queue, None where they are not known."""
    message, operation = record.message, record.operation
    if operation is None:
        return _unreadable(message, record.problem or "", now)
    state = _OF_PHASE[operation.phase]
    holder = _holder(operation, entries)
    marker = _is_canceled(operation, entries)
    overdue = is_overdue(message, now)
    over = state is State.ENDED
    return Run(
        request_id=operation.request_id,
        run_id=operation.run_id,
        scale_set=operation.scale_set,
        state=state,
        status=operation.status.value if operation.status else None,
        dry_run=operation.dry_run,
        reason=redact(operation.reason) if operation.reason else None,
        correlation_id=operation.correlation_id,
        requested_at=operation.requested_at,
        started_at=operation.started_at,
        ended_at=operation.ended_at,
        deadline=operation.deadline,
        next_at=message.due or message.enqueued_at,
        why=() if over else tuple(_why(operation, holder, message, now, marker=marker, overdue=overdue)),
        held_by=holder.request_id if holder else None,
        canceled=marker,
        overdue=overdue,
        waves=tuple(_wave(operation, at) for at in range(len(operation.waves))),
        others=_others(operation),
        error=_text(operation.error.code, operation.error.message) if operation.error else None,
        duplicate_of=operation.duplicate_of,
        record=operation.number,
    )


def is_overdue(message: Peeked, now: datetime) -> bool:
    """Whether a record should have been taken long ago."""
    since = message.due or message.enqueued_at
    return since is not None and now > since + OVERDUE


def _unreadable(message: Peeked, problem: str, now: datetime) -> Run:
    request_id, _, rest = message.properties.get(ABOUT, "").partition(" ")
    deadline, _, resource_id = rest.partition(" ")
    try:
        scale_set: ScaleSet | None = parse_scale_set_id(resource_id)
    except ValueError:
        scale_set = None
    try:
        until: datetime | None = datetime.fromisoformat(deadline)
    except ValueError:
        until = None
    run_id, _, number = message.message_id.partition(":s")
    return Run(
        request_id=request_id or "unknown",
        run_id=run_id or None,
        scale_set=scale_set,
        state=State.UNREADABLE,
        deadline=until,
        next_at=message.due or message.enqueued_at,
        why=(f"Its record cannot be read by this version, so its waves are unknown: {problem}",),
        overdue=is_overdue(message, now),
        record=int(number) if number.isascii() and number.isdigit() else None,
    )


def _holder(operation: Operation, entries: Sequence[Entry] | None) -> Lease | None:
    """Who holds the lease of the scale set, where that is another run."""
    leases = leases_of(entries or (), operation.scale_set.key)
    return leases[0] if leases and leases[0].run_id != operation.run_id else None


def _is_canceled(operation: Operation, entries: Sequence[Entry] | None) -> bool:
    found = cancellation(entries or (), operation.scale_set.key, operation.request_id, operation.requested_at)
    return found is not None


def _why(
    operation: Operation, holder: Lease | None, message: Peeked, now: datetime, *, marker: bool, overdue: bool
) -> Iterable[str]:
    if overdue:
        yield "Overdue: no worker has taken it. Is the app up, and is its timer poll_operations enabled?"
    if marker:
        yield "A cancellation was accepted: nothing more is started."
    yield from _why_planning(operation, holder, now) if operation.phase is Phase.PLAN else _why_later(operation)
    if message.delivery_count:
        yield f"{message.delivery_count} deliveries of its record have failed."


def _why_planning(operation: Operation, holder: Lease | None, now: datetime) -> Iterable[str]:
    if operation.resume_at is not None and now < operation.resume_at:
        what = "Pauses between waves" if operation.started_at else "Does not start before the time asked for"
        yield f"{what}, until {_time(operation.resume_at)}."
    elif operation.deferral is not None:
        yield redact(operation.deferral.message)
        return
    elif holder is not None:
        yield f"Request {holder.request_id} holds the scale set, until {_time(holder.until)} at the latest."
        return
    if operation.transient_error is not None and operation.failures:
        yield _text(operation.transient_error.code, operation.transient_error.message)
    if not operation.planned and not operation.failures and holder is None and operation.resume_at is None:
        yield "Instance views are read and waves are planned at the next delivery."


def _why_later(operation: Operation) -> Iterable[str]:
    match operation.phase:
        case Phase.POST:
            yield "The next wave is about to be started."
        case Phase.JUDGE:
            yield "Whether Azure took the call is not known yet; the instance views will show it."
        case Phase.TRACK:
            yield "Azure is at work."
            if operation.transient_error is not None and operation.failures:
                yield _text(operation.transient_error.code, operation.transient_error.message)
            if operation.recovering_since is not None:
                yield f"Waits for the wave to recover, since {_time(operation.recovering_since)}."
        case Phase.END:
            yield "Its end is about to be published."


def _wave(operation: Operation, at: int) -> Wave:
    shown = tuple(_instance(operation, each, at) for each in operation.waves[at])
    current = at == operation.wave and operation.phase in (Phase.JUDGE, Phase.TRACK)
    return Wave(at + 1, _wave_state(operation, at), shown, operation.posted_at if current else None)


def _wave_state(operation: Operation, at: int) -> str:
    ids = operation.waves[at]
    outcomes = [operation.outcomes[each] for each in ids if each in operation.outcomes]
    if ids and len(outcomes) == len(ids):
        results = {each.result for each in outcomes}
        if results == {Result.NOT_ATTEMPTED}:
            return "not started"
        return "failed" if results & set(BAD) else "done"
    if operation.status is not None:
        return "not started" if not outcomes else "partly done"
    if at != operation.wave:
        return "planned"
    match operation.phase:
        case Phase.POST:
            return "starting"
        case Phase.JUDGE:
            return "unclear"
        case Phase.TRACK:
            return "under way"
    return "partly done" if outcomes else "next"


def _instance(operation: Operation, instance_id: str, at: int) -> InstanceShown:
    outcome = operation.outcomes.get(instance_id)
    if outcome is not None:
        return InstanceShown(instance_id, outcome.result.value, redact(outcome.message) if outcome.message else None)
    at_work = at == operation.wave and (not operation.batch or instance_id in operation.batch)
    if at_work and operation.status is None:
        states = {Phase.POST: "Starting", Phase.JUDGE: "Unclear", Phase.TRACK: "InMaintenance"}
        return InstanceShown(instance_id, states.get(operation.phase, "Planned"))
    return InstanceShown(instance_id, "Planned")


def _others(operation: Operation) -> tuple[InstanceShown, ...]:
    in_waves = {instance_id for wave in operation.waves for instance_id in wave}
    return tuple(
        InstanceShown(instance_id, outcome.result.value, redact(outcome.message) if outcome.message else None)
        for instance_id, outcome in operation.outcomes.items()
        if instance_id not in in_waves
    )


def _time(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")


def _text(code: str, message: str) -> str:
    text = redact(message)
    return text if text.startswith(code) else f"{code}: {text}"
