"""The phase PLAN: split the targets into waves, take the lease, choose what to post next. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from maintenance.coordination.entries import (
    LEASE_OUTLASTS_DEADLINE,
    cancellation,
    leases_of,
    own_leases,
    stale_views,
)
from maintenance.domain.errors import Problem
from maintenance.domain.instances import Instance, InstanceState, select
from maintenance.domain.observations import ErrorDetail
from maintenance.domain.operation import Operation, Outcome, Phase, Result, Status
from maintenance.lifecycle.actions import Action, Continue, Read, StateRead, TakeLease
from maintenance.lifecycle.deferring import ask, is_kept_waiting, planned_anew, unless_kept
from maintenance.lifecycle.ending import cancel, duplicate, end, proceed, reject, retry, time_out, wait
from maintenance.lifecycle.rules import Rules
from maintenance.lifecycle.tracking import close_wave
from maintenance.policies.gates import must_ask
from maintenance.policies.limits import least
from maintenance.policies.waves import most_per_flexible_wave, own_limit, split, startable


def deliver(rules: Rules, operation: Operation, now: datetime) -> Action:
    """While nothing may be posted yet, only the coordination queue is read."""
    waiting = operation.resume_at is not None and now < operation.resume_at
    waiting = waiting or is_kept_waiting(rules, operation, now)
    return Read(
        operation,
        views=rules.views and not waiting,
        coordination=not operation.dry_run or waiting,
        # What was read for others before the wait ended may be older than what is waited for.
        newer_than=None if waiting else operation.resume_at,
        tags=rules.tags and not waiting,
    )


def plan(
    rules: Rules, operation: Operation, state_read: StateRead, now: datetime, *, lease_is_put: bool = False
) -> Action:
    """What was read before anything is posted: is something in the way, and what comes first? `lease_is_put`: the run's
    lease was taken just before the coordination queue was read."""
    key = operation.scale_set.key
    marker = cancellation(state_read.entries, key, operation.request_id, operation.requested_at)
    if marker is not None:
        return cancel(operation, marker, now)
    if now >= operation.deadline:
        return time_out(operation, now)
    if operation.resume_at is not None and now < operation.resume_at:
        return wait(rules, operation, now, operation.resume_at)
    found = unless_kept(rules, operation, state_read, now)
    if isinstance(found, Continue):
        return found
    operation = found
    if rules.views and state_read.instances is None:
        return proceed(operation, now)
    if not rules.views:
        return _plan_without_views(rules, operation, state_read, now, lease_is_put=lease_is_put)
    operation = replace(operation, flexible=state_read.flexible)
    if not operation.planned:
        most = rules.limits.of_wave(len(state_read.instances or ()))
        operation, problems = split_targets(operation, state_read.instances or (), most=most)
        if problems:
            return reject(operation, problems, now)
    if operation.dry_run:
        waves = enumerate(operation.waves)
        would = {i: Outcome(Result.WOULD_MAINTAIN, wave=n) for n, wave in waves for i in wave}
        return end(operation.with_outcomes(would), now, Status.NOTHING_TO_DO)
    if not operation.waves:
        return end(operation, now)
    if (way := _lease(rules, operation, state_read, now, lease_is_put=lease_is_put)) is not None:
        return way
    if operation.leased_at is None:
        operation = replace(operation, leased_at=now)
    return _choose(rules, operation, state_read, now)


def _plan_without_views(
    rules: Rules, operation: Operation, state_read: StateRead, now: datetime, *, lease_is_put: bool
) -> Action:
    operation = replace(operation, planned=True, waves=operation.waves or (operation.targets or (),))
    if operation.dry_run:
        return end(operation, now, Status.NOTHING_TO_DO)
    if (way := _lease(rules, operation, state_read, now, lease_is_put=lease_is_put)) is not None:
        return way
    if must_ask(operation):
        return ask(replace(operation, leased_at=operation.leased_at or now), now)
    batch = operation.targets or ()
    return proceed(replace(operation, phase=Phase.POST, batch=batch, leased_at=operation.leased_at or now), now)


def _lease(
    rules: Rules, operation: Operation, state_read: StateRead, now: datetime, *, lease_is_put: bool
) -> Action | None:
    """What to do about the lease of the scale set; None where this run holds it."""
    leases = leases_of(state_read.entries, operation.scale_set.key)
    own = own_leases(leases, operation.run_id)
    holder = leases[0] if leases else None
    if holder is not None and holder.run_id != operation.run_id:
        same = (holder.request_id, holder.content) == (operation.request_id, operation.content)
        if same and operation.started_at is None:
            return duplicate(operation, holder.run_id, now)
        if not rules.wait_for_lease and operation.started_at is None:
            message = f"request {holder.request_id} holds its lease until {holder.until.isoformat()} at the latest"
            return reject(operation, [Problem("scale set", message, operation.scale_set.resource_id)], now)
    if not own:
        # A run that had its lease and posted does not wait for one again: it was released, or ran out.
        if operation.started_at is not None:
            lost = ErrorDetail("LeaseLost", "The run's lease of the scale set is gone; nothing more is started.")
            return end(replace(operation, error=lost), now)
        if lease_is_put:
            # Its id was used up by this run's end, or it does not show yet.
            return retry(rules, operation, ErrorDetail("LeaseNotShown", "The run's lease does not show yet."), now)
        instances = {instance.instance_id: instance for instance in state_read.instances or ()}
        limit = own_limit(operation, instances) if operation.waves else None
        lease = TakeLease(operation, state_read, operation.deadline + LEASE_OUTLASTS_DEADLINE, limit)
        if not rules.limits.across:
            return lease
        most = max(map(len, operation.waves), default=0) if rules.views else None
        region = next((each.location for each in instances.values() if each.location), None)
        return replace(lease, instances=most, region=region)
    if holder is not None and holder.run_id != operation.run_id:
        message = f"Not started: request {holder.request_id} holds the lease of this scale set."
        leased = replace(planned_anew(operation), leased_at=operation.leased_at or now)
        return retry(rules, leased, ErrorDetail("LeaseHeld", message), now)
    if rules.limits.across and operation.started_at is None:
        # Leases with lower numbers show within a minute, by clocks that differ by five.
        shows = (operation.leased_at or now) + min(rules.timing.release_read, rules.timing.lease_wait)
        if now < shows:
            return wait(rules, replace(planned_anew(operation), leased_at=operation.leased_at or now), now, shows)
    behind = any(lease.run_id != operation.run_id for lease in leases)
    if behind and now < (operation.leased_at or now) + rules.timing.lease_wait and operation.started_at is None:
        # One behind may have read the queue before this lease showed, and posted: that must have been judged by now.
        leased_at = operation.leased_at or now
        fresh = replace(planned_anew(operation), leased_at=leased_at)
        return wait(rules, fresh, now, leased_at + rules.timing.lease_wait)
    return None


def split_targets(
    operation: Operation, instances: Sequence[Instance], *, most: int | None = None
) -> tuple[Operation, tuple[Problem, ...]]:
    """The operation with its waves, and with the outcomes of those that need none; problems where the request asks to
    be rejected rather than to skip instances.

    `most`: how many a wave may hold, whatever the request says. Instances that are being updated, and those whose view
    was not reported, are in the waves: they are waited for.
    """
    found, missing = select(instances, operation.targets)
    standing: list[Instance] = []
    outcomes: dict[str, Outcome] = {}
    problems: list[Problem] = []
    for target in missing:
        outcomes[target] = Outcome(Result.NOT_FOUND, "the scale set has no instance with this id")
        problems.append(Problem("instanceIds", "the scale set has no instance with this id", target))
    for target, instance in found.items():
        match instance.state:
            case InstanceState.ELIGIBLE | InstanceState.IN_PROGRESS | InstanceState.UNREPORTED:
                standing.append(replace(instance, instance_id=target))
            case InstanceState.COMPLETED:
                outcomes[target] = already_completed(instance)
            case _:
                outcomes[target] = Outcome(Result.SKIPPED, instance.why)
                problems.append(Problem("instanceIds", instance.why, target))
    most = least(most, most_per_flexible_wave(found) if operation.flexible else None)
    waves = split(standing, operation.rollout, most=most)
    planned = replace(operation, planned=True, waves=waves, outcomes=outcomes)
    return planned, tuple(problems) if operation.reject_ineligible else ()


def _choose(rules: Rules, operation: Operation, state_read: StateRead, now: datetime) -> Action:
    """Those of the wave that are posted next; what needs nothing gets its outcome."""
    instances = state_read.instances or ()
    operation, eligible, blocked = sort_wave(operation, instances)
    if operation.count(Result.FAILED, Result.UNKNOWN) > operation.rollout.max_failed_instances:
        return end(operation, now)
    if not eligible and not blocked:
        return close_wave(rules, operation, operation, now)
    if not eligible:
        return _wait_for_others(rules, operation, instances, blocked, now)
    leases = leases_of(state_read.entries, operation.scale_set.key)
    batch = startable(operation, instances, leases, eligible, rules.limits)
    if operation.one_by_one:
        batch = batch[:1]
    if not batch:
        down = sum(instance.is_down for instance in instances)
        message = f"Not started: {down} instances of the scale set are down or updating already."
        return retry(rules, operation, ErrorDetail("InstancesDown", message), now)
    if (note := stale_views(state_read.entries, operation.scale_set.key, batch)) is not None:
        message = f"Not started: the views may not show yet what request {note.request_id} did."
        stale = ErrorDetail("ViewsStale", message)
        return retry(rules, planned_anew(operation), stale, now, retry_after=note.until - now)
    if must_ask(operation):
        return ask(operation, now)
    found, _ = select(instances, batch)
    baseline = {instance_id: found[instance_id].baseline for instance_id in batch}
    posting = replace(operation, phase=Phase.POST, batch=batch, baseline=baseline, blocked_since=None)
    return proceed(posting, now)


def sort_wave(
    operation: Operation, instances: Sequence[Instance]
) -> tuple[Operation, tuple[str, ...], tuple[str, ...]]:
    """The operation with the outcomes of those that need nothing more, the eligible, and those that others update."""
    found, missing = select(instances, operation.left_of_wave())
    gone = Outcome(Result.NOT_FOUND, "the instance is no longer in the scale set", operation.wave)
    outcomes = dict.fromkeys(missing, gone)
    eligible: list[str] = []
    blocked: list[str] = []
    for instance_id, instance in found.items():
        match instance.state:
            case InstanceState.ELIGIBLE:
                eligible.append(instance_id)
            case InstanceState.IN_PROGRESS | InstanceState.UNREPORTED:
                blocked.append(instance_id)
            case InstanceState.COMPLETED:
                outcomes[instance_id] = already_completed(instance, operation.wave)
            case _:
                outcomes[instance_id] = Outcome(Result.SKIPPED, instance.why, operation.wave)
    return operation.with_outcomes(outcomes), tuple(eligible), tuple(blocked)


def _wait_for_others(
    rules: Rules, operation: Operation, instances: Sequence[Instance], blocked: tuple[str, ...], now: datetime
) -> Action:
    """Only instances are left that somebody else updates, or whose view is not reported: for a bounded time."""
    since = operation.blocked_since or now
    if now < since + rules.timing.foreign:
        waiting = replace(operation, blocked_since=since)
        message = f"{len(blocked)} instances are being updated by others, or their views are not reported."
        return retry(rules, waiting, ErrorDetail("InstancesBusy", message), now)
    found, _ = select(instances, blocked)
    left = operation.with_outcomes({i: _given_up(found[i], operation.wave) for i in blocked})
    return close_wave(rules, left, left, now)


def already_completed(instance: Instance, wave: int | None = None) -> Outcome:
    """The outcome of an instance that is found completed before this run started anything for it."""
    return Outcome(Result.ALREADY_COMPLETED, instance.why, wave)


def _given_up(instance: Instance, wave: int) -> Outcome:
    if instance.state is InstanceState.UNREPORTED:
        return Outcome(Result.UNKNOWN, instance.why, wave)
    return Outcome(Result.SKIPPED, "it was still being updated by somebody else", wave)
