"""What others do to scale sets and their instances, by order or at random."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta

from sandbox.resource_manager.compute.instances import Instance
from sandbox.resource_manager.compute.scale_sets import ScaleSet, ScaleSets
from sandbox.resource_manager.compute.timeline import Timeline

_FAR = timedelta(days=36_500)


@dataclass(frozen=True, slots=True)
class ForeignUpdates:
    """Updates that others begin at random.

    Attributes:
        per_hour: of each instance, on average.
        duration: of each, on average: between half of it and half as much again.
        seed: of the random choices; those of an instance do not depend on the other instances.
    """

    per_hour: float
    duration: timedelta
    seed: int


class ForeignWriters:
    """Others who write to scale sets and update instances."""

    def __init__(self, timeline: Timeline, scale_sets: ScaleSets, updates: ForeignUpdates | None) -> None:
        """`updates`: those at random; None = there are none."""
        self._timeline = timeline
        self._scale_sets = scale_sets
        self._updates = updates

    def update(self, scale_set: ScaleSet, instance: Instance, duration: timedelta, now: datetime) -> None:
        """Update an instance for a while."""

        def end(when: datetime) -> None:
            instance.end_update(when)
            scale_set.changed(instance, when)

        instance.begin_update(now)
        scale_set.changed(instance, now)
        self._timeline.at(now + duration, end)

    def write(self, scale_set: ScaleSet, duration: timedelta, now: datetime) -> None:
        """Begin a write to a scale set that is under way for a while."""

        def end(_: datetime) -> None:
            scale_set.writes -= 1

        scale_set.writes += 1
        self._timeline.at(now + duration, end)

    def update_at_random(self, scale_set: ScaleSet, instance: Instance, now: datetime) -> None:
        """Plan one update after the other, for as long as the instance is there."""
        updates = self._updates
        if updates is None:
            return
        chance = random.Random(f"{updates.seed}/{scale_set.resource_id}/{instance.vm_name}".lower())

        def plan(after: datetime) -> None:
            hours = min(chance.expovariate(updates.per_hour), _FAR / timedelta(hours=1))
            self._timeline.at(after + timedelta(hours=hours), begin)

        def begin(when: datetime) -> None:
            if scale_set not in self._scale_sets or scale_set.instances.get(instance.seed.instance_id) is not instance:
                return
            duration = updates.duration * chance.uniform(0.5, 1.5)
            if not instance.updating:
                self.update(scale_set, instance, duration, when)
            plan(when + duration)

        plan(now)
