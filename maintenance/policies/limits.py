"""Limits of the app, whatever requests say: over several scale sets, and in each one. Pure.

Scale sets under way are counted by their leases: first come, first served, in the order in which Service Bus numbered
them. A lease counts until its request's deadline, so that nothing which is lost holds up others for longer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from maintenance.coordination.entries import LEASE_OUTLASTS_DEADLINE, Lease, leases_of
from maintenance.domain.calendars import Deferral

Per = Literal["app", "subscription", "region"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """At most `scale_sets` are under way at once, with at most `instances` down because of that, in the app, in each
    subscription or in each region; and at most `instances_per_scale_set` are down in one, a number or a share such as
    `"20%"` of all its instances. What is None bounds nothing."""

    scale_sets: int | None = None
    instances: int | None = None
    per: Per = "app"
    instances_per_scale_set: int | str | None = None

    @property
    def across(self) -> bool:
        """Whether runs on other scale sets count."""
        return self.scale_sets is not None or self.instances is not None

    def of_set(self, total: int) -> int | None:
        """How many of the `total` instances of a scale set may be down at once; a share is rounded down, to one at
        the least."""
        match self.instances_per_scale_set:
            case str(share):
                return max(total * int(share.removesuffix("%")) // 100, 1)
            case number:
                return number

    def of_wave(self, total: int) -> int | None:
        """How many instances of such a scale set a wave may hold."""
        return least(self.of_set(total), self.instances)


def least(*bounds: int | None) -> int | None:
    """The strictest of some bounds, None where none bounds anything."""
    return min((bound for bound in bounds if bound is not None), default=None)


def turn(limits: Limits, leases: Sequence[Lease], own: Lease, now: datetime) -> Deferral | None:
    """Whom the run of a lease waits for, by the leases that came before it; None: it is its turn."""
    ahead = _ahead(limits, leases, own, now)
    where = {"app": "of this app", "subscription": "of this subscription", "region": "in this region"}[limits.per]
    if limits.scale_sets is not None and len(ahead) >= limits.scale_sets:
        return Deferral("Limit", f"{len(ahead)} scale sets {where} came first; {limits.scale_sets} at a time may.")
    if limits.instances is not None and ahead:
        # What does not say how many it takes down may take all there are.
        weights = [least(lease.instances, limits.instances) or 0 for lease in (*ahead, own)]
        if sum(weights) > limits.instances:
            taken = sum(weights[:-1])
            return Deferral("Limit", f"{taken} instances {where} came first; {limits.instances} at a time may.")
    return None


def _ahead(limits: Limits, leases: Iterable[Lease], own: Lease, now: datetime) -> list[Lease]:
    """The first lease of each other scale set that came before this one."""
    counted = [each for each in leases if now < each.until - LEASE_OUTLASTS_DEADLINE]
    sets = {each.scale_set for each in counted if each.scale_set != own.scale_set and _together(limits, each, own)}
    first = (leases_of(counted, scale_set)[0] for scale_set in sets)
    return [lease for lease in first if lease.number < own.number]


def _together(limits: Limits, one: Lease, other: Lease) -> bool:
    match limits.per:
        case "subscription":
            return one.scale_set.split("/")[2] == other.scale_set.split("/")[2]
        case "region":
            # One that is not known may be any.
            return not one.region or not other.region or one.region == other.region
    return True
