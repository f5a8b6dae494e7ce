"""How a scale set's instances are split into waves. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta

from maintenance.instances import Instance


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """The request's `rollout` options. The defaults: everything in one wave, stop at the first failure.

    `max_instances_per_wave` is a number, or a percentage of the instances to maintain as `"20%"`. `health_timeout`: how
    long a wave's instances may take to be healthy again before the next wave is given up.
    """

    max_instances_per_wave: int | str | None = None
    by_update_domain: bool = False
    pause_between_waves: timedelta = timedelta(0)
    max_failed_instances: int = 0
    health_timeout: timedelta = timedelta(minutes=10)

    @property
    def limited(self) -> bool:
        """Whether fewer instances than all may be down at once."""
        return self.max_instances_per_wave is not None or self.by_update_domain

    def wave_size(self, total: int) -> int:
        """How many instances a wave may hold when `total` are to be maintained; a percentage is rounded down."""
        match self.max_instances_per_wave:
            case None:
                return max(total, 1)
            case str(percentage):
                return max(total * int(percentage.removesuffix("%")) // 100, 1)
            case int(number):
                return max(number, 1)


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
