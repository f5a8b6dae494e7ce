"""The state of all scale sets, their instances and operations, and what changes it.

Nothing here does I/O or has a clock: the time is passed in, and `mature(now)` does everything that was
due, in order, each at its own time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from sandbox.resource_manager import errors
from sandbox.resource_manager.compute.campaigns import Campaigns
from sandbox.resource_manager.compute.events import EventLog, OperationEnded, OperationStarted
from sandbox.resource_manager.compute.foreign_updates import ForeignUpdates, ForeignWriters
from sandbox.resource_manager.compute.instances import Instance
from sandbox.resource_manager.compute.operations import Operation
from sandbox.resource_manager.compute.scale_sets import ScaleSet, ScaleSets
from sandbox.resource_manager.compute.seeds import InstanceSeed, ScaleSetSeed
from sandbox.resource_manager.compute.timeline import Timeline
from sandbox.resource_manager.ids import new_guid


class ComputeState:
    """All scale sets, instances and operations. Not safe for threads: the server holds a lock around each use."""

    def __init__(
        self,
        *,
        duration: timedelta,
        retention: timedelta,
        view_lag: timedelta = timedelta(0),
        foreign_updates: ForeignUpdates | None = None,
    ) -> None:
        """`duration` of a maintenance whose instance names none; `retention` of operations that ended.

        `view_lag` of scale sets that name none.
        """
        self._retention = retention
        self._view_lag = view_lag
        self._operations: dict[str, Operation] = {}
        self.scale_sets = ScaleSets()
        self.events = EventLog()
        self.timeline = Timeline()
        self._campaigns = Campaigns(self.timeline, self.events, duration=duration)
        self._others = ForeignWriters(self.timeline, self.scale_sets, foreign_updates)

    # What is there

    @property
    def operations(self) -> Iterable[Operation]:
        return self._operations.values()

    def operation(self, operation_id: str) -> Operation:
        """Raises ArmError if there never was one, or its retention ran out."""
        found = self._operations.get(operation_id)
        if found is None:
            raise errors.no_operation(operation_id)
        return found

    # What changes it

    def seed(self, seed: ScaleSetSeed, now: datetime) -> None:
        """Place a scale set; one of the same name is replaced. Raises ValueError for a seed that can't be."""
        ids = [each.instance_id for each in seed.instances]
        if len(set(ids)) != len(ids):
            raise ValueError(f"{seed.name}: an instance id is used twice")
        scale_set = ScaleSet(seed)
        for each in seed.instances:
            self.place(scale_set, each, now)
        lag = self._view_lag if seed.view_lag is None else seed.view_lag
        scale_set.lag(lag)
        self.scale_sets.add(scale_set)

    def place(self, scale_set: ScaleSet, seed: InstanceSeed, now: datetime) -> None:
        """Add an instance to a scale set, or put a new one in the place of one with the same id."""
        if not scale_set.flexible and not seed.instance_id.isdecimal():
            raise ValueError(f"{scale_set.seed.name}: instance ids of a Uniform set are decimal: {seed.instance_id!r}")
        instance = Instance.seeded(seed, scale_set.seed.name, flexible=scale_set.flexible, now=now)
        scale_set.instances[seed.instance_id] = instance
        scale_set.changed(instance, now)
        self._others.update_at_random(scale_set, instance, now)
        self._campaigns.plan(scale_set, instance, now)

    def perform_maintenance(self, scale_set: ScaleSet, instance_ids: Sequence[str] | None, now: datetime) -> Operation:
        """Begin maintenance of the instances, or of all there are for None. All of them, or none.

        Raises:
            ArmError: an id is unknown, an instance is under maintenance or updated, or may not begin it, or there is
                another write under way on the scale set.
        """
        chosen = list(scale_set.instances) if instance_ids is None else list(dict.fromkeys(instance_ids))
        instances = tuple(scale_set.instance(each) for each in chosen)
        if scale_set.writes or (
            scale_set.seed.one_write_at_a_time and any(each.updating for each in scale_set.instances.values())
        ):
            raise errors.in_progress()
        for instance in instances:
            if instance.updating:
                raise errors.in_progress()
            if not instance.may_begin:
                raise errors.not_eligible(instance.vm_name)
        operation = Operation(
            operation_id=new_guid(),
            subscription_id=scale_set.seed.subscription_id,
            location=scale_set.seed.location,
            instances=instances,
            started=now,
        )
        self._operations[operation.operation_id] = operation
        ends = max([now, *(self._campaigns.begin(scale_set, each, operation, now) for each in instances)])
        if self.events.observed:
            seed = scale_set.seed
            self.events.append(
                OperationStarted(
                    now,
                    operation.operation_id,
                    seed.subscription_id,
                    seed.resource_group_name,
                    seed.name,
                    tuple(each.seed.instance_id for each in instances),
                    ends,
                )
            )
        self.timeline.at(ends, lambda when: self._end(operation, when))
        return operation

    def update(self, scale_set: ScaleSet, instance: Instance, duration: timedelta, now: datetime) -> None:
        """Somebody else updates an instance for a while. Raises ValueError for one that is under maintenance."""
        if instance.state == "in-progress":
            raise ValueError(f"{instance.vm_name} is under maintenance")
        self._others.update(scale_set, instance, duration, now)

    def write(self, scale_set: ScaleSet, duration: timedelta, now: datetime) -> None:
        """Somebody else's write is under way on a scale set for a while."""
        self._others.write(scale_set, duration, now)

    def mature(self, now: datetime) -> None:
        """Do everything that is due by now."""
        self.timeline.mature(now)

    def _end(self, operation: Operation, when: datetime) -> None:
        operation.end(when)
        if self.events.observed:
            self.events.append(OperationEnded(when, operation.operation_id, operation.status))
        self.timeline.at(when + self._retention, lambda _: self._forget(operation))

    def _forget(self, operation: Operation) -> None:
        self._operations.pop(operation.operation_id, None)
