"""Judging a posted batch by the instance views: who is done, who failed, who is at work, who was never started. Pure.

Each instance is compared with its baseline, how it was shown before the POST. ARM's status of the operation and the
view must agree before an instance is called completed; what is not known is called unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from maintenance.domain.instances import Baseline, Instance, InstanceState
from maintenance.domain.observations import ErrorDetail
from maintenance.domain.operation import Call, Operation, Outcome, Result
from maintenance.lifecycle.rules import Timing

DONE = "maintenancecompleted"
NOT_DONE = ("maintenanceaborted", "retrylater")


@dataclass(frozen=True, slots=True)
class Verdict:
    """`settled` have their outcome; `pending` need another reading; `untouched`: nothing was done to them, for sure, so
    they may be posted again. `updating`: those seen updating since the POST."""

    settled: Mapping[str, Outcome] = field(default_factory=dict)
    pending: tuple[str, ...] = ()
    untouched: tuple[str, ...] = ()
    updating: tuple[str, ...] = ()


def judge(operation: Operation, instances: Mapping[str, Instance], read_at: datetime, timing: Timing) -> Verdict:
    """What the views say of the batch. `instances` holds those of the batch that the view shows; `read_at`: when it was
    asked for."""
    settled: dict[str, Outcome] = {}
    pending: list[str] = []
    untouched: list[str] = []
    updating = list(operation.updating)
    for instance_id in operation.batch:
        if instance_id in operation.outcomes:
            continue
        instance = instances.get(instance_id)
        if instance is not None and instance.state is InstanceState.IN_PROGRESS and instance_id not in updating:
            updating.append(instance_id)
        found = _judge_one(operation, instance_id, instance, read_at=read_at, timing=timing)
        if isinstance(found, Outcome):
            settled[instance_id] = found
        elif found == "untouched":
            untouched.append(instance_id)
        else:
            pending.append(instance_id)
    return Verdict(settled, tuple(pending), tuple(untouched), tuple(updating))


def _judge_one(
    operation: Operation,
    instance_id: str,
    instance: Instance | None,
    *,
    read_at: datetime,
    timing: Timing,
) -> Outcome | str:
    call = next((call for call in operation.calls if call.covers(instance_id)), None)
    wave = operation.wave
    ended = call.ended if call else "unknown"
    final_at = operation.final_at or read_at
    # What a view shows may be that old, so only then does it say that nothing is at work any more.
    rested = read_at >= final_at + timing.view_lag
    given_up = read_at >= final_at + max(timing.confirm, timing.view_lag)
    if instance is None:
        return Outcome(Result.NOT_FOUND, "the instance is no longer in the scale set", wave)
    if not instance.reported:
        return _unknown(wave, "its instance view was not reported") if given_up and ended is not None else "pending"
    if instance.state is InstanceState.IN_PROGRESS:
        return "pending"
    baseline = operation.baseline.get(instance_id)
    was_updating = instance_id in operation.updating
    # Where ARM never says how a call ended, it may not have come to one that had failed before.
    has_come = ended not in ("unknown", "unreported") or _was_worked_on(instance, baseline)
    if instance.provisioning == "failed" and has_come:
        if ended is None or not (rested or _differs(instance, baseline)):
            # It may have failed before, and the view may be from then.
            return "pending"
        return Outcome(Result.FAILED, _account(call, instance, "its provisioning failed"), wave)
    # Of what failed before, nobody knows whether a POST in doubt was taken. It is never completed.
    if instance.provisioning != "failed" and is_completed(
        instance, baseline, succeeded=ended == "succeeded", was_updating=was_updating, in_doubt=ended == "unknown"
    ):
        return Outcome(Result.COMPLETED, None if instance.maintenance else "no maintenance is planned any more", wave)
    if ended is None:
        return "pending"
    status = instance.maintenance
    is_new = ended != "unknown" or baseline is None or (status and status.last_result != baseline.last_result)
    if status and status.last_result in NOT_DONE and is_new and _differs(instance, baseline) and rested:
        return Outcome(Result.FAILED, status.last_message or f"Azure ended it as {status.last_result}", wave)
    if ended in ("failed", "canceled"):
        return Outcome(Result.FAILED, _account(call, instance, None), wave) if rested else "pending"
    if ended == "unknown" and baseline is not None and not _differs(instance, baseline):
        if operation.flexible and operation.posted_at is not None:
            # Each VM has a call of its own, so this one is judged for itself, once the views must show it.
            return "untouched" if read_at >= operation.posted_at + timing.settle else "pending"
        return _unknown(wave, "it is not known whether maintenance was started") if given_up else "pending"
    if ended == "unreported":
        # ARM has it, and may not have come to it yet.
        return "pending"
    return _unknown(wave, "the instance view never showed how maintenance ended") if given_up else "pending"


def perhaps_by_others(outcome: Outcome) -> Outcome:
    """The outcome where another run may have done what the view shows: completed for this one is not known then."""
    if outcome.result is not Result.COMPLETED:
        return outcome
    return replace(outcome, result=Result.UNKNOWN, message="it was maintained, perhaps for another request")


def is_completed(
    instance: Instance, baseline: Baseline | None, *, succeeded: bool, was_updating: bool, in_doubt: bool = False
) -> bool:
    """Whether maintenance was done since the baseline, by positive proof: a result that was not there before; or an
    absent status together with ARM's own `Succeeded`, or with an update that was seen. `in_doubt`: nobody knows whether
    the POST was taken, so that an update and a moved window may both be others' doing."""
    status = instance.maintenance
    if status is None:
        return (baseline is None or baseline.planned) and (succeeded or was_updating)
    if status.last_result != DONE:
        return False
    if baseline is None:
        return succeeded
    if baseline.last_result != DONE:
        return True
    # It was completed in an earlier campaign, too.
    moved = instance.changed_at != baseline.changed_at
    seen = succeeded or (was_updating and not in_doubt)
    return moved and (not status.allowed or (seen and instance.baseline.window != baseline.window))


def is_changed(instance: Instance | None, baseline: Baseline | None) -> bool | None:
    """Whether anything happened to an instance since the baseline; None where that is not known. An instance that is
    gone did not change on account of a POST."""
    if instance is None:
        return False
    if not instance.reported or baseline is None:
        return None
    return _differs(instance, baseline)


def has_recovered(instance: Instance, baseline: Baseline | None) -> bool:
    """Whether the instance is up again: healthy where an application health extension reports, else running.

    A view that shows it as before the maintenance is older than that, and says nothing; nor does one that is not
    reported. One that is being updated may be down. One that was not running before maintenance cannot be asked for
    more now.
    """
    if not instance.reported or is_changed(instance, baseline) is False or instance.state is InstanceState.IN_PROGRESS:
        return False
    if instance.healthy is not None:
        return instance.healthy
    was_down = baseline is not None and baseline.power != "running"
    return was_down or instance.power in (None, "running")


def _was_worked_on(instance: Instance, baseline: Baseline | None) -> bool:
    """Whether Azure did something to the instance since the baseline: a campaign may be moved without that."""
    now = instance.baseline
    return baseline is None or (now.last_result, now.changed_at) != (baseline.last_result, baseline.changed_at)


def _differs(instance: Instance, baseline: Baseline | None) -> bool:
    if baseline is None or instance.state is InstanceState.IN_PROGRESS:
        return True
    now = instance.baseline
    return (now.planned, now.allowed, now.last_result, now.window, now.changed_at) != (
        baseline.planned,
        baseline.allowed,
        baseline.last_result,
        baseline.window,
        baseline.changed_at,
    )


def _unknown(wave: int, why: str) -> Outcome:
    return Outcome(Result.UNKNOWN, f"maintenance was asked for: {why}", wave)


def _account(call: Call | None, instance: Instance, why: str | None) -> str:
    error: ErrorDetail | None = call.error if call else None
    message = instance.maintenance.last_message if instance.maintenance else None
    if why:
        return f"{why}: {message}" if message else why
    return message or (f"{error.code}: {error.message}" if error else "ARM ended the operation without success")
