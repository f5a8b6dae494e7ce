"""What a request comes to, by the instance views: who is maintained in which wave, and who is not and why. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from maintenance import rollout
from maintenance.confirmation import touched_since
from maintenance.errors import Problem
from maintenance.instances import Instance, InstanceState, select
from maintenance.operation import Operation, Outcome, Result
from maintenance.rollout import most_per_flexible_wave


@dataclass(frozen=True, slots=True)
class Plan:
    """The operation with its waves, and with the outcomes of those that need none; `problems` where the request asks
    to be rejected rather than to skip instances. `under_way`: some targets are being maintained, or were just now."""

    operation: Operation
    problems: tuple[Problem, ...] = field(default=())
    under_way: bool = False


def plan(operation: Operation, instances: Sequence[Instance], *, suspect: bool) -> Plan:
    """Sort the targets and split the eligible ones into waves.

    Instances that are being updated right now are waited for: together with the others where all go in one wave, in
    waves of their own before the others in a rollout, since what is down already counts towards what may be down.
    `suspect`: an earlier run may have started this request, so what has ended since counts as its work, and is followed
    like what still runs.
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
        if suspect and touched_since(instance, operation.requested_at):
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
        running_waves = rollout.split(running, operation.rollout, most=most)
        waves = (*running_waves, *rollout.split(eligible, operation.rollout, most=most))
    else:
        waves = rollout.split([*eligible, *running], operation.rollout)
    # From here on the waves and the outcomes name every target.
    planned = replace(operation, targets=None, waves=waves, outcomes=outcomes)
    return Plan(planned, tuple(problems) if operation.reject_ineligible else (), bool(running))


def completed_before(instance: Instance) -> Outcome:
    """The outcome of an instance that is found completed before this request started anything."""
    return Outcome(Result.ALREADY_COMPLETED, instance.why)
