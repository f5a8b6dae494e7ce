"""How a scale set's instances are split into waves, and how many of them may be down at once. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from maintenance.coordination.entries import Lease
from maintenance.domain.instances import Instance, InstanceState
from maintenance.domain.operation import Operation, Rollout
from maintenance.policies.limits import Limits, least


def split(instances: Iterable[Instance], rollout: Rollout, *, most: int | None = None) -> tuple[tuple[str, ...], ...]:
    """Every instance in exactly one wave, in stable order: by update domain where asked for, else as given.

    No wave is larger than `rollout.wave_size`; with `by_update_domain` no wave mixes domains, and each instance whose
    view shows no domain is a wave of its own, at the end. `most`: an upper bound that is not the request's.
    """
    ordered = list(instances)
    size = min(rollout.wave_size(len(ordered)), most or len(ordered) or 1)
    if not rollout.by_update_domain:
        return tuple(_cut([instance.instance_id for instance in ordered], size))
    domains: dict[int, list[str]] = {}
    unknown: list[str] = []
    for instance in ordered:
        if instance.update_domain is None:
            unknown.append(instance.instance_id)
        else:
            domains.setdefault(instance.update_domain, []).append(instance.instance_id)
    known = (wave for domain in sorted(domains) for wave in _cut(domains[domain], size))
    return (*known, *((instance_id,) for instance_id in unknown))


def most_per_flexible_wave(instance_ids: Iterable[str]) -> int:
    """How many VMs of a Flexible scale set fit into one wave.

    Each has an operation of its own, with a URL of up to 4 KB, and all are in one record of at most 200 KB beside the
    name of every VM, which stands there twice, and its baseline.
    """
    names = sum(2 * len(instance_id) + 80 for instance_id in instance_ids)
    return min(max((180_000 - names) // 4_500, 1), 30)


def startable(
    operation: Operation,
    instances: Sequence[Instance],
    leases: Iterable[Lease],
    wanted: Sequence[str],
    limits: Limits | None = None,
) -> tuple[str, ...]:
    """As many of the wanted ids as this run may post now. `instances` are all of the set, `leases` those of the set;
    `limits` are the app's."""
    by_id = {instance.instance_id: instance for instance in instances}
    leases = list(leases)
    most = most_down(operation, by_id, leases)
    if limits is None:
        return within(most, wanted, by_id)
    # What its lease says is what others count on.
    said = least(*(lease.instances for lease in leases if lease.run_id == operation.run_id))
    own = tuple(wanted) if said is None or not limits.across else tuple(wanted)[:said]
    return within(least(most, limits.of_set(len(instances))), own, by_id)


def most_down(operation: Operation, instances: Mapping[str, Instance], leases: Iterable[Lease]) -> int | None:
    """How many instances of the set may be down at once when this run posts; None where nothing bounds it.

    The run that holds the lease now may have put it up in the same moment as another, which did not see it yet and
    posted. So what others' leases allow counts as well while instances are at work that this run has not posted.
    """
    own = own_limit(operation, instances)
    at_work = any(
        instance.state in (InstanceState.IN_PROGRESS, InstanceState.UNREPORTED)
        and instance.instance_id not in operation.outcomes
        for instance in instances.values()
    )
    if not at_work:
        return own
    others = (lease.limit for lease in leases if lease.run_id != operation.run_id)
    return min((limit for limit in (own, *others) if limit is not None), default=None)


def own_limit(operation: Operation, instances: Mapping[str, Instance]) -> int | None:
    """How many instances of the set may be down at once because of this run; None where it bounds nothing.

    A percentage is one of the instances that are still there: a set that shrank has its share reckoned anew.
    """
    rollout = operation.rollout
    planned = [instance_id for wave in operation.waves for instance_id in wave]
    by_key = {instance_id.lower() for instance_id in instances}
    present = sum(instance_id.lower() in by_key for instance_id in planned)
    if rollout.max_instances_per_wave is not None:
        return min(rollout.wave_size(len(planned)), rollout.wave_size(present))
    if rollout.by_update_domain:
        return max(len(wave) for wave in operation.waves)
    return None


def within(most: int | None, eligible: Sequence[str], instances: Mapping[str, Instance]) -> tuple[str, ...]:
    """As many of the eligible ids as may go down beside what is down in the set already, whoever is the cause.

    Those that are down themselves go first: posting them takes nothing more down.
    """
    if most is None:
        return tuple(eligible)
    down = {instance.instance_id.lower() for instance in instances.values() if instance.is_down}
    ordered = sorted(eligible, key=lambda instance_id: instance_id.lower() not in down)
    chosen: tuple[str, ...] = ()
    for count in range(1, min(len(ordered), most) + 1):
        keys = {instance_id.lower() for instance_id in ordered[:count]}
        if count + len(down - keys) <= most:
            chosen = tuple(ordered[:count])
    return tuple(instance_id for instance_id in eligible if instance_id in chosen)


def _cut(ids: list[str], size: int) -> Iterator[tuple[str, ...]]:
    for start in range(0, len(ids), size):
        yield tuple(ids[start : start + size])
