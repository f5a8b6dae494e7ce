"""X"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from maintenance.domain.instances import Instance, InstanceState, select
from maintenance.domain.observations import (
    ErrorDetail,
    Failed,
    Reading,
    Running,
    Succeeded,
    Throttled,
    Unreadable,
    Unreported,
)
from maintenance.domain.operation import Call, Operation, Outcome, Phase, Result, Status
from maintenance.lifecycle.actions import Action, ReadViews, Rules
from maintenance.lifecycle.events import progressed
from maintenance.lifecycle.transitions import end, failed, time_out, wait
from maintenance.lifecycle.verdicts import has_recovered, judge

UNREPORTED = ErrorDetail(
    "OutcomeUnknown", "ARM does not tell how the operation ended, and instance views are not read."
)


def after_poll(rules: Rules, operation: Operation, readings: Sequence[tuple[Call, Reading]], now: datetime) -> Action:
    """The operation URLs were read, each with its call."""
    calls = list(operation.calls)
    dues: list[datetime] = []
    error, transient_error, reported = operation.error, None, None
    for call, reading in readings:
        place = calls.index(call)
        match reading:
            case Succeeded():
                calls[place] = replace(call, ended="succeeded", url=None)
            case Failed(error=why, canceled=canceled):
                error = why
                calls[place] = replace(call, ended="canceled" if canceled else "failed", error=why, url=None)
            case Unreported(error=why, gone=gone):
                transient_error = why
                calls[place] = replace(call, ended="gone" if gone else "unreported", url=None)
            case Running(status=status, retry_after=retry_after, url=url, remaining=remaining):
                if url is not None:
                    calls[place] = replace(call, url=url)
                due = rules.timing.next_poll(now, retry_after)
                dues.append(rules.timing.spread_out(due, now, remaining, operation.message_id))
                reported = status
            case Throttled(error=why, retry_after=pause) | Unreadable(error=why, retry_after=pause):
                transient_error = why
                dues.append(rules.timing.back_off(now, operation.failures + 1, operation.message_id, pause))
    failures = operation.failures + 1 if transient_error else 0
    polled = tuple(calls)
    if (polled, error, transient_error, failures) != (
        operation.calls,
        operation.error,
        operation.transient_error,
        operation.failures,
    ):
        # Most polls find it running as before, and a copy of an operation costs as much as reading it.
        operation = replace(operation, calls=polled, error=error, transient_error=transient_error, failures=failures)
    if not dues:
        return confirm(rules, replace(operation, failures=0, confirming_since=now), now)
    if now >= operation.deadline:
        told = f"ARM's last word on the operation was {reported[:100]!r}." if reported else None
        return time_out(operation, now, ErrorDetail("OperationRunning", told) if told else None)
    return wait(operation, now, max(dues) if transient_error else min(dues))


def confirm(rules: Rules, operation: Operation, now: datetime) -> Action:
    if rules.views:
        return ReadViews(operation)
    settled: dict[str, Outcome] = {}
    for call in operation.calls:
        match call.ended:
            case "succeeded":
                outcome = Outcome(Result.COMPLETED, "as ARM says; instance views are not read", operation.wave)
            case "unknown" | "unreported" | "gone" | "foreign" | "unsent" | None:
                operation = replace(operation, error=operation.error or UNREPORTED)
                outcome = Outcome(Result.UNKNOWN, "ARM does not tell how it ended", operation.wave)
            case _:
                outcome = failed(call.error, operation.wave)
        settled.update(dict.fromkeys(call.instance_ids, outcome))
    return close_wave(rules, operation.with_outcomes(settled), now)


def judge_wave(rules: Rules, operation: Operation, instances: Sequence[Instance], now: datetime) -> Action:
    found, _ = select(instances, operation.current_wave)
    since = operation.confirming_since or now
    verdict = judge(operation, found, grace_over=now >= min(since + rules.timing.confirm, operation.deadline))
    operation = operation.with_outcomes(verdict.settled)
    if verdict.pending:
        if now >= operation.deadline:
            shown = ", ".join(verdict.pending[:20])
            last = ErrorDetail("InstancesPending", f"The instance views did not show these as done yet: {shown}.")
            return time_out(operation, now, last)
        if any(found[i].state is InstanceState.IN_PROGRESS for i in verdict.pending):
            # The views can confirm nothing before the update is over, so their time begins then.
            operation = replace(operation, confirming_since=now)
        return wait(operation, now, rules.timing.next_read(now))
    if verdict.again:
        again = replace(operation, phase=Phase.POSTING, calls=(), posted_at=operation.posted_at or now)
        return wait(again, now, rules.timing.next_read(now))
    return _recover(rules, operation, found, now)


def _recover(rules: Rules, operation: Operation, instances: Mapping[str, Instance], now: datetime) -> Action:
    """Before another wave follows, the instances of this one must be well again."""
    if operation.wave + 1 >= len(operation.waves):
        return close_wave(rules, operation, now)
    ill = [
        instance_id
        for instance_id in operation.current_wave
        if operation.outcomes[instance_id].result is Result.COMPLETED
        and (instance := instances.get(instance_id)) is not None
        and not has_recovered(instance, was_down=instance_id in operation.stopped_before)
    ]
    if not ill:
        return close_wave(rules, operation, now)
    since = operation.recovering_since or now
    give_up = min(since + operation.rollout.health_timeout, operation.deadline)
    if now < give_up:
        recovering = replace(operation, recovering_since=since)
        return wait(recovering, now, min(rules.timing.next_read(now), give_up))
    told = f"maintained, but not healthy {operation.rollout.health_timeout} later"
    unwell = {i: replace(operation.outcomes[i], message=told) for i in ill}
    shown = ", ".join(ill[:20])
    error = ErrorDetail("InstancesUnhealthy", f"The rollout stopped: {told}: {shown}.")
    return end(replace(operation.with_outcomes(unwell), error=error), now)


def close_wave(rules: Rules, operation: Operation, now: datetime) -> Action:
    failed = operation.count(Result.FAILED, Result.UNKNOWN)
    canceled = any(call.ended == "canceled" for call in operation.calls)
    stop = failed > operation.rollout.max_failed_instances or canceled
    if stop or operation.wave + 1 >= len(operation.waves):
        return end(operation, now, Status.CANCELED if canceled else None)
    onward = replace(
        operation,
        phase=Phase.POSTING,
        wave=operation.wave + 1,
        revision=-1,
        calls=(),
        posted_at=None,
        confirming_since=None,
        recovering_since=None,
        stopped_before=(),
        failures=0,
        transient_error=None,
    )
    told = (progressed(operation, now),)
    return wait(onward, now, now + operation.rollout.pause_between_waves, told)
