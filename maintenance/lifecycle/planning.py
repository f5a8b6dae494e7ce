"""The planning phase: sort the targets by what the views show, split them into waves, take the lease. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from maintenance.domain.coordination import Entry, Lease, cancellation, has_lease, lease_holder
from maintenance.domain.errors import Problem
from maintenance.domain.instances import Instance, InstanceState, select
from maintenance.domain.observations import ErrorDetail
from maintenance.domain.operation import Operation, Outcome, Phase, Result, Rollout, Status
from maintenance.lifecycle.actions import Action, Rules, TakeLease, ViewsRead
from maintenance.lifecycle.posting import cancel_rollout, start_wave
from maintenance.lifecycle.transitions import end, reject, retry
from maintenance.lifecycle.verdicts import completed_before, touched_since


def plan_waves(
    rules: Rules,
    operation: Operation,
    observation: ViewsRead,
    now: datetime,
    *,
    may_have_started: bool,
) -> Action:
    """Split the targets into waves and start the first, if nothing is in the way."""
    entries = observation.entries
    # A dry run posts nothing, so nothing can be its work.
    may_have_started = (may_have_started or operation.posted_at is not None) and not operation.dry_run
    operation = unplanned = replace(operation, holds_lease=has_lease(entries, operation.request_id))
    if (cancel := cancellation(entries, operation.scale_set.key, operation.request_id)) and not may_have_started:
        return cancel_rollout(operation, cancel, now)
    if (other := lease_holder(entries, operation.scale_set.key, operation.request_id, now)) is not None:
        return wait_for_lease(rules, operation, other, now, may_have_started=may_have_started)
    planned = plan(operation, observation.instances, may_have_started=may_have_started)
    operation = planned.operation
    if planned.problems and not (may_have_started and planned.under_way):
        return reject(operation, planned.problems, now)
    if operation.dry_run:
        waves = enumerate(operation.waves)
        would = {i: Outcome(Result.WOULD_MAINTAIN, wave=n) for n, wave in waves for i in wave}
        return end(operation.with_outcomes(would), now, Status.NOTHING_TO_DO)
    if not operation.waves:
        return end(operation, now)
    operation = replace(operation, phase=Phase.POSTING)
    if len(operation.waves) > 1 and not operation.holds_lease:
        return TakeLease(operation, observation.instances, unplanned)
    return start_wave(rules, operation, observation.instances, entries, now, may_have_started=may_have_started)


def after_lease(
    rules: Rules, taken: TakeLease, entries: Sequence[Entry], now: datetime, *, may_have_started: bool
) -> Action:
    """The request's lease is in the queue; whose was first holds the scale set. The lease stays and keeps its place."""
    scale_set = taken.operation.scale_set
    if (other := lease_holder(entries, scale_set.key, taken.operation.request_id, now)) is not None:
        return wait_for_lease(
            rules, replace(taken.unplanned, holds_lease=True), other, now, may_have_started=may_have_started
        )
    leased = replace(taken.operation, holds_lease=True)
    return start_wave(rules, leased, taken.instances, entries, now, may_have_started=may_have_started)


def wait_for_lease(
    rules: Rules, operation: Operation, other: Lease, now: datetime, *, may_have_started: bool
) -> Action:
    """Another request holds the scale set: wait for its end, or be rejected, as the app is set."""
    reason = (
        f"request {other.request_id} holds the lease of this scale set until {other.until.isoformat()} at the latest"
    )
    if rules.queue_rollouts or may_have_started:
        return retry(rules, operation, ErrorDetail("LeaseHeld", f"Not started: {reason}."), now)
    return reject(operation, [Problem("scale set", reason, operation.scale_set.resource_id)], now)


@dataclass(frozen=True, slots=True)
class Plan:
    """The operation with its waves, and with the outcomes of those that need none; `problems` where the request asks
    to be rejected rather than to skip instances. `under_way`: some targets are being maintained, or were just now."""

    operation: Operation
    problems: tuple[Problem, ...] = field(default=())
    under_way: bool = False


def plan(operation: Operation, instances: Sequence[Instance], *, may_have_started: bool) -> Plan:
    """Sort the targets and split the eligible ones into waves.

    Instances that are being updated right now are waited for: together with the others where all go in one wave, in
    waves of their own before the others in a rollout, since what is down already counts towards what may be down.
    `may_have_started`: an earlier run may have started this request, so what has ended since counts as its work, and is
    tracked like what still runs.
    """
    found, missing = select(instances, operation.targets)
    eligible: list[Instance] = []
    running: list[Instance] = []
    outcomes: dict[str, Outcome] = {}
    problems: list[Problem] = []
    for target in missing:
        outcomes[target] = Outcome(Result.NOT_FOUND, "the scale set has no instance with this id")
        problems.append(Problem("instanceIds", "the scale set has no instance with this id", target))
    for target, instance in found.items():
        if may_have_started and touched_since(instance, operation.requested_at):
            running.append(replace(instance, instance_id=target))
            continue
        match instance.state:
            case InstanceState.ELIGIBLE:
                eligible.append(replace(instance, instance_id=target))
            case InstanceState.IN_PROGRESS:
                running.append(replace(instance, instance_id=target))
            case InstanceState.COMPLETED:
                outcomes[target] = completed_before(instance)
            case _:
                outcomes[target] = Outcome(Result.SKIPPED, instance.why)
                problems.append(Problem("instanceIds", instance.why, target))
    most = most_per_flexible_wave(found) if operation.flexible else None
    if operation.rollout.limited or most is not None:
        # They may be posted themselves after their update, so their waves keep within the limits too.
        running_waves = split(running, operation.rollout, most=most)
        waves = (*running_waves, *split(eligible, operation.rollout, most=most))
    else:
        waves = split([*eligible, *running], operation.rollout)
    # From here on the waves and the outcomes name every target.
    planned = replace(operation, targets=None, waves=waves, outcomes=outcomes)
    return Plan(planned, tuple(problems) if operation.reject_ineligible else (), bool(running))


def split(instances: Iterable[Instance], rollout: Rollout, *, most: int | None = None) -> tuple[tuple[str, ...], ...]:
    """Every instance in exactly one wave, in stable order: by update domain where asked for, else as given.

    No wave is larger than `rollout.wave_size`; with `by_update_domain` no wave mixes domains, and instances whose
    domain the view does not tell come last, among themselves. `most`: an upper bound that is not the request's.
    """
    ordered = list(instances)
    size = min(rollout.wave_size(len(ordered)), most or len(ordered) or 1)
    if not rollout.by_update_domain:
        return tuple(_cut([instance.instance_id for instance in ordered], size))
    domains: dict[int | None, list[str]] = {}
    for instance in ordered:
        domains.setdefault(instance.update_domain, []).append(instance.instance_id)
    known = sorted(domain for domain in domains if domain is not None)
    order: list[int | None] = [*known, *([None] if None in domains else [])]
    return tuple(wave for domain in order for wave in _cut(domains[domain], size))


def most_per_flexible_wave(instance_ids: Iterable[str]) -> int:
    """How many VMs of a Flexible scale set fit into one wave.

    Each has an operation of its own, with a URL of up to 4 KB, and all stand in one record of at most 200 KB beside the
    name of every VM, which stands there twice.
    """
    names = sum(2 * len(instance_id) + 80 for instance_id in instance_ids)
    return min(max((180_000 - names) // 4_000, 1), 30)


def _cut(ids: list[str], size: int) -> Iterator[tuple[str, ...]]:
    for start in range(0, len(ids), size):
        yield tuple(ids[start : start + size])
