"""The phase TRACK: follow what ARM took, confirm it by the instance views, close the wave. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from maintenance.coordination.entries import CancellationMarker, cancellation, leases_of, stale_views
from maintenance.domain.instances import Instance, select
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
from maintenance.domain.operation import Call, Operation, Outcome, Owed, Phase, Result, Status
from maintenance.lifecycle.actions import Action, Continue, Poll, Read, StateRead
from maintenance.lifecycle.ending import cancel, end, failed, in_doubt_by_outcome, proceed, time_out, wait
from maintenance.lifecycle.rules import Rules
from maintenance.lifecycle.verdicts import Verdict, has_recovered, judge, perhaps_by_others

# How often in a row an operation cannot be read until the views are asked for what became of it, too: ten minutes.
UNREADABLE_OFTEN = 6
UNREPORTED = ErrorDetail(
    "OutcomeUnknown", "ARM does not report how the operation ended, and instance views are not read."
)


def deliver(rules: Rules, operation: Operation, now: datetime) -> Action:
    if operation.resume_at is not None and now < min(operation.resume_at, operation.deadline):
        return wait(rules, operation, now, operation.resume_at)
    running = tuple(call for call in operation.calls if call.ended is None)
    if not running:
        return confirm(rules, operation, now)
    # One last poll at the deadline, but none that a Retry-After forbade. Then the views decide.
    if now >= operation.deadline and operation.failures:
        return _read_views(operation) if _is_judged_unread(rules, operation) else time_out(operation, now)
    return Poll(operation, running)


def after_poll(rules: Rules, operation: Operation, readings: Sequence[tuple[Call, Reading]], now: datetime) -> Action:
    """The operation URLs were read, each with its call."""
    calls = list(operation.calls)
    dues: list[datetime] = []
    error, transient_error, status = operation.error, None, None
    for call, reading in readings:
        place = calls.index(call)
        match reading:
            case Succeeded():
                calls[place] = replace(call, ended="succeeded", url=None)
            case Failed(error=why, canceled=canceled):
                error = why
                calls[place] = replace(call, ended="canceled" if canceled else "failed", error=why, url=None)
            case Unreported(error=why, gone=gone):
                # That ARM keeps the operation no longer is no error, and no reason for how the run ends.
                transient_error = transient_error if gone else why
                calls[place] = replace(call, ended="gone" if gone else "unreported", url=None)
            case Running(status=running, retry_after=retry_after, url=url, remaining=remaining):
                if url is not None:
                    calls[place] = replace(call, url=url)
                due = rules.timing.next_poll(now, retry_after)
                dues.append(rules.timing.spread_out(due, now, remaining, operation.message_id))
                status = running
            case Throttled(error=why, retry_after=pause) | Unreadable(error=why, retry_after=pause):
                transient_error = why
                dues.append(rules.timing.back_off(now, operation.failures + 1, operation.message_id, pause))
    failures = operation.failures + 1 if transient_error else 0
    polled = tuple(calls)
    before = (operation.calls, operation.error, operation.transient_error, operation.failures)
    if (polled, error, transient_error, failures) != before:
        # Most polls find it running as before, and a copy of an operation costs as much as reading it.
        operation = replace(operation, calls=polled, error=error, transient_error=transient_error, failures=failures)
    if not dues:
        return confirm(rules, replace(operation, failures=0, final_at=now), now)
    if _is_judged_unread(rules, operation) and _is_unread(rules, operation, [each for _, each in readings], dues, now):
        return _read_views(operation)
    if now >= operation.deadline:
        message = f"The last status that ARM reported for the operation was {status[:100]!r}." if status else None
        return time_out(operation, now, ErrorDetail("OperationRunning", message) if message else None)
    return wait(rules, operation, now, max(dues) if transient_error else min(dues))


def _is_judged_unread(rules: Rules, operation: Operation) -> bool:
    """Whether the views can tell what became of an operation that cannot be read: instance by instance."""
    return rules.views and bool(operation.batch)


def _is_unread(
    rules: Rules, operation: Operation, readings: Sequence[Reading], dues: Sequence[datetime], now: datetime
) -> bool:
    """Whether ARM does not say that anything runs: at the deadline; or for long, where no Retry-After asks for more
    patience than that."""
    if any(isinstance(reading, Running) for reading in readings):
        return False
    if now >= operation.deadline:
        return True
    throttled = any(isinstance(reading, Throttled) for reading in readings)
    soon = max(dues) <= rules.timing.back_off(now, operation.failures, operation.message_id, None)
    return not throttled and soon and operation.failures >= UNREADABLE_OFTEN


def _read_views(operation: Operation) -> Read:
    return Read(operation, views=True, coordination=False, newer_than=operation.views_read_at)


def _after_unread(rules: Rules, operation: Operation, verdict: Verdict, now: datetime) -> Operation | Action:
    """The views were read though ARM does not say whether the operation has ended. Only what they prove counts; what
    they leave open is polled again, until the deadline. The operation where nothing is left open."""
    if not verdict.pending:
        calls = tuple(replace(call, ended=call.ended or "unreported", url=None) for call in operation.calls)
        return replace(operation, calls=calls, final_at=now, failures=0, transient_error=None)
    if now >= operation.deadline:
        return time_out(operation, now)
    return wait(rules, operation, now, rules.timing.back_off(now, operation.failures, operation.message_id, None))


def confirm(rules: Rules, operation: Operation, now: datetime) -> Action:
    """Every call has its final status: read the views, or conclude without them."""
    if rules.views:
        return Read(
            operation,
            views=True,
            coordination=_waits(rules, operation, now) or _is_doubtful(operation),
            newer_than=operation.views_read_at or operation.final_at,
        )
    settled: dict[str, Outcome] = {}
    for call in operation.calls:
        match call.ended:
            case "succeeded":
                outcome = Outcome(Result.COMPLETED, "as ARM says; instance views are not read", operation.wave)
            case "failed" | "canceled":
                outcome = failed(call.error, operation.wave)
            case _:
                operation = replace(operation, error=operation.error or UNREPORTED)
                outcome = Outcome(Result.UNKNOWN, "ARM does not report how it ended", operation.wave)
        settled.update(dict.fromkeys(call.instance_ids, outcome))
    return close_batch(rules, operation.with_outcomes(settled), now)


def _waits(rules: Rules, operation: Operation, now: datetime) -> bool:
    """Whether ARM's work is over, and the run waits: for recovery, for an update by others, or for views that do not
    say how it ended. Then it meets a cancellation like any that waits. A wave that is over sooner than that has no read
    more than it needs."""
    posted_at, read_at = operation.posted_at, operation.views_read_at
    looked = posted_at is not None and read_at is not None and read_at > posted_at
    since = posted_at if looked else operation.final_at
    return operation.recovering_since is not None or (since is not None and now >= since + rules.timing.slice)


def _is_doubtful(operation: Operation) -> bool:
    """Whether it is not known that ARM took a POST: the views changed, and that alone speaks for it."""
    return any(call.ended == "unknown" for call in operation.calls)


def _others_may_have_acted(operation: Operation, state_read: StateRead) -> bool:
    """Whether another run holds the scale set, or has just maintained some of these: what changed may be its doing."""
    leases = leases_of(state_read.entries, operation.scale_set.key)
    behind = bool(leases) and leases[0].run_id != operation.run_id
    return behind or stale_views(state_read.entries, operation.scale_set.key, operation.batch) is not None


def _cancellation(operation: Operation, state_read: StateRead) -> CancellationMarker | None:
    return cancellation(state_read.entries, operation.scale_set.key, operation.request_id, operation.requested_at)


def judge_batch(rules: Rules, operation: Operation, state_read: StateRead, now: datetime) -> Action:
    """The views were read after ARM's final status."""
    read_at = state_read.views_asked_at or now
    found, _ = select(state_read.instances or (), operation.batch)
    verdict = judge(operation, found, read_at, rules.timing)
    if _is_doubtful(operation) and _others_may_have_acted(operation, state_read):
        verdict = replace(verdict, settled={i: perhaps_by_others(outcome) for i, outcome in verdict.settled.items()})
    operation = replace(operation.with_outcomes(verdict.settled), views_read_at=read_at, updating=verdict.updating)
    if any(call.ended is None for call in operation.calls):
        settled = _after_unread(rules, operation, verdict, now)
        if not isinstance(settled, Operation):
            return settled
        operation = settled
    marker = _cancellation(operation, state_read)
    if verdict.pending:
        if now >= operation.deadline:
            shown = ", ".join(verdict.pending[:20])
            last = ErrorDetail("InstancesPending", f"The instance views did not show these as done yet: {shown}.")
            return time_out(operation, now, last)
        if any((instance := found.get(i)) is not None and instance.provisioning == "updating" for i in verdict.pending):
            # The views can confirm nothing before the update is over, so their time begins then.
            operation = replace(operation, final_at=now)
        elif marker is not None:
            return cancel(operation, marker, now)
        return wait(rules, operation, now, rules.timing.next_read(now))
    return _recover(rules, operation, found, marker, now)


def _recover(
    rules: Rules,
    operation: Operation,
    instances: Mapping[str, Instance],
    marker: CancellationMarker | None,
    now: datetime,
) -> Action:
    """Before anything else is posted, the instances of this batch must be healthy again."""
    last = operation.wave + 1 >= len(operation.waves) and not operation.left_of_wave()
    unhealthy = [
        instance_id
        for instance_id in operation.batch
        if (outcome := operation.outcomes.get(instance_id)) is not None
        and outcome.result is Result.COMPLETED
        and (instance := instances.get(instance_id)) is not None
        and not has_recovered(instance, operation.baseline.get(instance_id))
    ]
    since = operation.recovering_since or now
    operation = replace(operation, wave_confirmed_at=since)
    if not unhealthy:
        closing = close_batch(rules, replace(operation, recovering_since=None), now)
        if marker is not None and closing.operation.phase is not Phase.END:
            return cancel(replace(operation, recovering_since=None), marker, now)
        return closing
    if last:
        # The end need not wait for it, but the lease does.
        return close_batch(rules, replace(operation, recovering_since=since), now)
    if marker is not None:
        return cancel(replace(operation, recovering_since=since), marker, now)
    give_up = min(since + operation.rollout.health_timeout, operation.deadline)
    if now < give_up:
        return wait(rules, replace(operation, recovering_since=since), now, min(rules.timing.next_read(now), give_up))
    message = f"maintained, but not healthy {operation.rollout.health_timeout} later"
    outcomes = {i: replace(operation.outcomes[i], message=message) for i in unhealthy}
    error = ErrorDetail("InstancesUnhealthy", f"The rollout stopped: {message}: {', '.join(unhealthy[:20])}.")
    return end(replace(operation.with_outcomes(outcomes), error=error), now)


def close_batch(rules: Rules, operation: Operation, now: datetime) -> Continue:
    """The batch is judged: the rest of its wave, the next wave, or the end."""
    canceled = any(call.ended == "canceled" for call in operation.calls)
    failures = operation.count(Result.FAILED, Result.UNKNOWN)
    if canceled or failures > operation.rollout.max_failed_instances or in_doubt_by_outcome(operation):
        return end(operation, now, Status.CANCELED if canceled else None)
    cleared = replace(
        operation,
        phase=Phase.PLAN,
        batch=(),
        baseline={},
        calls=(),
        updating=(),
        posted_at=None,
        final_at=None,
        recovering_since=None,
        blocked_since=None,
        failures=0,
        transient_error=None,
    )
    if not rules.views:
        return end(operation, now)
    shown_from = _shown_from(rules, operation, now)
    if cleared.left_of_wave():
        if shown_from <= now:
            return proceed(cleared, now)
        return wait(rules, replace(cleared, resume_at=shown_from), now, shown_from)
    return close_wave(rules, cleared, operation, now, not_before=shown_from)


def _shown_from(rules: Rules, operation: Operation, now: datetime) -> datetime:
    """From when on every view shows what this batch did. An instance whose maintenance failed may be down, and a view
    that lags may show it as it was before: up, and not counted against the next batch."""
    outcomes = (operation.outcomes.get(instance_id) for instance_id in operation.batch)
    if not any(outcome is not None and outcome.result in (Result.FAILED, Result.UNKNOWN) for outcome in outcomes):
        return now
    return max(now, (operation.final_at or now) + rules.timing.view_lag)


def close_wave(
    rules: Rules, cleared: Operation, operation: Operation, now: datetime, *, not_before: datetime | None = None
) -> Continue:
    """Every instance of the wave has its outcome. `cleared` is what a further record holds, `operation` what an end
    says. `not_before`: the earliest time at which the next wave may be planned, beside the request's pause."""
    failures = operation.count(Result.FAILED, Result.UNKNOWN)
    if failures > operation.rollout.max_failed_instances or operation.wave + 1 >= len(operation.waves):
        return end(operation, now)
    resume_at = max(now + operation.rollout.pause_between_waves, not_before or now)
    closed = Owed("progressed", now, operation.wave, operation.wave_began_at, operation.wave_confirmed_at)
    onward = replace(
        cleared,
        wave=operation.wave + 1,
        wave_began_at=None,
        wave_taken=False,
        wave_confirmed_at=None,
        one_by_one=False,
        refused=(),
        blocked_since=None,
        resume_at=resume_at,
        awaiting_since=None,
        gate_open=False,
        owed=(*operation.owed, closed),
    )
    return wait(rules, onward, now, resume_at)
