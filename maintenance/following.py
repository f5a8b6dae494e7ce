"""A wave under way: reading how ARM's operation goes, confirming it by the instance views, closing the wave. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from maintenance.confirmation import judge
from maintenance.events import progressed
from maintenance.instances import Instance, InstanceState, select
from maintenance.observations import (
    ErrorDetail,
    Failed,
    Reading,
    Running,
    Succeeded,
    Throttled,
    Unreadable,
    Untold,
)
from maintenance.operation import Call, Operation, Outcome, Phase, Result, Status
from maintenance.steps import Look, Rules, Step, end, failed, time_out, wait

UNTOLD = ErrorDetail("OutcomeUnknown", "ARM does not tell how the operation ended, and instance views are not read.")


def after_poll(rules: Rules, operation: Operation, readings: Sequence[tuple[Call, Reading]], now: datetime) -> Step:
    """The operation URLs were read, each with its call."""
    calls = list(operation.calls)
    dues: list[datetime] = []
    error, trouble = operation.error, None
    for call, reading in readings:
        place = calls.index(call)
        match reading:
            case Succeeded():
                calls[place] = replace(call, ended="succeeded", url=None)
            case Failed(error=why, canceled=canceled):
                error = why
                calls[place] = replace(call, ended="canceled" if canceled else "failed", error=why, url=None)
            case Untold(error=why):
                trouble = why
                calls[place] = replace(call, ended="unknown", url=None)
            case Running(retry_after=retry_after, url=url):
                calls[place] = replace(call, url=url or call.url)
                dues.append(rules.timing.next_poll(now, retry_after))
            case Throttled(error=why, retry_after=pause) | Unreadable(error=why, retry_after=pause):
                trouble = why
                dues.append(rules.timing.back_off(now, operation.failures + 1, operation.message_id, pause))
    operation = replace(
        operation,
        calls=tuple(calls),
        error=error,
        trouble=trouble,
        failures=operation.failures + 1 if trouble else 0,
    )
    if not dues:
        operation = replace(operation, failures=0)
        return confirm(rules, replace(operation, confirming_since=now), now)
    if now >= operation.deadline:
        return time_out(operation, now)
    return wait(operation, now, max(dues) if trouble else min(dues))


def confirm(rules: Rules, operation: Operation, now: datetime) -> Step:
    if rules.views:
        return Look(operation)
    settled: dict[str, Outcome] = {}
    for call in operation.calls:
        match call.ended:
            case "succeeded":
                outcome = Outcome(Result.COMPLETED, "as ARM says; instance views are not read", operation.wave)
            case "unknown" | "foreign" | None:
                operation = replace(operation, error=operation.error or UNTOLD)
                outcome = Outcome(Result.UNKNOWN, "ARM does not tell how it ended", operation.wave)
            case _:
                outcome = failed(call.error, operation.wave)
        settled.update(dict.fromkeys(call.instance_ids, outcome))
    return close_wave(rules, operation.settle_instances(settled), now)


def judge_wave(rules: Rules, operation: Operation, instances: Sequence[Instance], now: datetime) -> Step:
    found, _ = select(instances, operation.current_wave)
    since = operation.confirming_since or now
    verdict = judge(operation, found, grace_over=now >= min(since + rules.timing.confirm, operation.deadline))
    operation = operation.settle_instances(verdict.settled)
    if verdict.pending:
        if now >= operation.deadline:
            return time_out(operation, now)
        if any(found[i].state is InstanceState.IN_PROGRESS for i in verdict.pending):
            # The views can confirm nothing before the update is over, so their time begins then.
            operation = replace(operation, confirming_since=now)
        return wait(operation, now, rules.timing.next_look(now))
    if verdict.again:
        again = replace(operation, phase=Phase.POSTING, calls=(), posted_at=operation.posted_at or now)
        return wait(again, now, rules.timing.next_look(now))
    return close_wave(rules, operation, now)


def close_wave(rules: Rules, operation: Operation, now: datetime) -> Step:
    failed = operation.count(Result.FAILED, Result.UNKNOWN)
    canceled = any(call.ended == "canceled" for call in operation.calls)
    stop = failed > operation.rollout.max_failed_instances or canceled
    if stop or operation.wave + 1 >= len(operation.waves):
        return end(operation, now, Status.CANCELED if canceled else None)
    onward = replace(
        operation,
        phase=Phase.POSTING,
        wave=operation.wave + 1,
        poll=-1,
        calls=(),
        posted_at=None,
        confirming_since=None,
        failures=0,
        trouble=None,
    )
    told = (progressed(operation, now),)
    return wait(onward, now, now + operation.rollout.pause_between_waves, told)
