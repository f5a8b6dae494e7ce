"""X"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from maintenance.domain.instances import Instance, InstanceState
from maintenance.domain.observations import ErrorDetail
from maintenance.domain.operation import Call, Operation, Outcome, Result

# Azure's clocks and ours may differ; an earlier campaign lies days back, so a wide margin mistakes nothing.
CLOCK_SKEW = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Verdict:
    """`settled` have their outcome; `pending` need another look; `again` were never started and may be."""

    settled: Mapping[str, Outcome] = field(default_factory=dict)
    pending: tuple[str, ...] = ()
    again: tuple[str, ...] = ()


def judge(operation: Operation, instances: Mapping[str, Instance], *, grace_over: bool) -> Verdict:
    """What the views say of the current wave.

    `instances` holds those of the wave that the view shows. `grace_over`: ARM called it succeeded, and the views had
    their time to confirm.
    """
    settled: dict[str, Outcome] = {}
    pending: list[str] = []
    again: list[str] = []
    for instance_id in operation.current_wave:
        if instance_id in operation.outcomes:
            continue
        call = next((call for call in operation.calls if call.covers(instance_id)), None)
        found = _judge_one(operation, call, instances.get(instance_id), grace_over=grace_over)
        if isinstance(found, Outcome):
            settled[instance_id] = found
        elif found == "again":
            again.append(instance_id)
        else:
            pending.append(instance_id)
    return Verdict(settled, tuple(pending), tuple(again))


def _judge_one(
    operation: Operation, call: Call | None, instance: Instance | None, *, grace_over: bool
) -> Outcome | str:
    wave = operation.wave
    if instance is None:
        return Outcome(Result.NOT_FOUND, "the instance is no longer in the scale set", wave)
    if instance.state is InstanceState.IN_PROGRESS:
        return "pending"
    status = instance.maintenance
    last = status.last_result if status else "none"
    ended = call.ended if call else "unknown"
    # Where a run died, posted_at is the time of the one that came after it.
    posted_at = None if ended == "unknown" else operation.posted_at
    recent = changed_since(instance, posted_at or operation.requested_at)
    if ended in ("failed", "canceled", "refused"):
        if last == "maintenancecompleted" and recent:
            return Outcome(Result.COMPLETED, wave=wave)
        if (
            operation.views_read_at
            and operation.confirming_since
            and operation.views_read_at < operation.confirming_since
        ):
            # A look from before ARM's last word may not show what was completed until then.
            return "pending"
        return Outcome(Result.FAILED, _failure(call, status.last_message if status else None), wave)
    if last in ("maintenanceaborted", "retrylater") and recent:
        told = (status.last_message if status else None) or f"Azure ended it as {last}"
        return Outcome(Result.FAILED, told, wave)
    if status is None or (last == "maintenancecompleted" and (recent or ended == "succeeded" or not status.allowed)):
        return Outcome(Result.COMPLETED, None if status else "no maintenance is planned any more", wave)
    if ended == "succeeded":
        return _unconfirmed(wave) if grace_over else "pending"
    if not status.allowed:
        return Outcome(Result.SKIPPED, instance.why, wave)
    untouched = untouched_since(instance, operation.posted_at)
    if ended in ("foreign", "unsent") or (ended == "unknown" and untouched):
        return "again"
    if ended == "unreported" and untouched:
        # ARM has it, and may not have come to it yet.
        return "pending"
    return _unconfirmed(wave) if grace_over else "pending"


def _unconfirmed(wave: int) -> Outcome:
    told = "maintenance was asked for and ended, but the instance view never showed it as completed"
    return Outcome(Result.FAILED, told, wave)


def has_recovered(instance: Instance, *, was_down: bool) -> bool:
    """Whether the instance is up again: healthy where an application health extension tells, else running.

    `was_down`: it was not running before maintenance, so nothing better can be asked of it now.
    """
    if instance.healthy is not None:
        return instance.healthy
    return was_down or instance.power in (None, "running")


def touched_since(instance: Instance, since: datetime) -> bool:
    """Whether maintenance was begun or has ended, well or badly, since: by a run that died, for all one knows."""
    if instance.state is InstanceState.IN_PROGRESS:
        return True
    status = instance.maintenance
    return status is not None and status.last_result != "none" and changed_since(instance, since)


def changed_since(instance: Instance, since: datetime) -> bool:
    """Whether the instance changed after `since`, as far as the view tells; untold counts as changed."""
    return instance.changed_at is None or instance.changed_at >= since - CLOCK_SKEW


def untouched_since(instance: Instance, posted_at: datetime | None) -> bool:
    """Whether the view proves that nothing was done to the instance since; only then may it be posted again."""
    return posted_at is not None and instance.changed_at is not None and instance.changed_at < posted_at - CLOCK_SKEW


def _failure(call: Call | None, told: str | None) -> str:
    error: ErrorDetail | None = call.error if call else None
    return told or (f"{error.code}: {error.message}" if error else "ARM ended the operation without success")


def completed_before(instance: Instance) -> Outcome:
    """The outcome of an instance that is found completed before this request started anything."""
    return Outcome(Result.ALREADY_COMPLETED, instance.why)
