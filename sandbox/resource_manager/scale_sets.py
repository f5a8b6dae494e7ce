"""The state of all scale sets, their instances and operations, and how it changes with time.

Nothing here does I/O or has a clock: the time is passed in, and `mature(now)` does everything that was
due, in order, each at its own time.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import get_args

from sandbox.resource_manager import errors
from sandbox.resource_manager.events import ArmEvent, InstanceChanged, OperationEnded, OperationStarted
from sandbox.resource_manager.ids import new_guid
from sandbox.resource_manager.instances import Instance
from sandbox.resource_manager.lagging_view import LaggingView
from sandbox.resource_manager.operations import Operation
from sandbox.resource_manager.seeds import InstanceSeed, ResultCode, ScaleSetSeed, State

_Key = tuple[str, str, str]

_RESULTS: dict[str, ResultCode] = {each: each for each in get_args(ResultCode)}
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


def _key(subscription_id: str, resource_group_name: str, name: str) -> _Key:
    # ARM compares all of these without letter case.
    return subscription_id.lower(), resource_group_name.lower(), name.lower()


@dataclass(eq=False)
class ScaleSet:
    """A scale set as it is now; `instances` by id, in the order of the seed. `writes` of others are under way on it."""

    seed: ScaleSetSeed
    instances: dict[str, Instance] = field(default_factory=dict)
    lagging: LaggingView | None = None
    writes: int = 0

    @property
    def flexible(self) -> bool:
        return self.seed.orchestration_mode == "Flexible"

    @property
    def resource_id(self) -> str:
        return (
            f"/subscriptions/{self.seed.subscription_id}/resourceGroups/{self.seed.resource_group_name}"
            f"/providers/Microsoft.Compute/virtualMachineScaleSets/{self.seed.name}"
        )

    def shown(self, now: datetime) -> Mapping[str, Instance]:
        """The instances as reads show them: where views lag, as they were some time ago."""
        return self.instances if self.lagging is None else self.lagging.instances(now)

    def instance(self, instance_id: str, shown_at: datetime | None = None) -> Instance:
        """As it is, or as reads show it at a time. Raises ArmError if there is none."""
        instances = self.instances if shown_at is None else self.shown(shown_at)
        found = instances.get(instance_id)
        if found is None and self.flexible:
            # VM names, unlike numbers, have letter case, and ARM ignores it.
            found = next((each for name, each in instances.items() if name.lower() == instance_id.lower()), None)
        if found is None:
            raise errors.no_instance(instance_id, self.seed.unknown_instance_status)
        return found

    def changed(self, instance: Instance, when: datetime) -> None:
        """An instance has changed."""
        instance_id = instance.seed.instance_id
        # One that was removed, or replaced, goes on for a while where nobody looks.
        if self.lagging is not None and self.instances.get(instance_id) is instance:
            self.lagging.changed(instance_id, instance, when)

    def remove(self, instance_id: str, when: datetime) -> None:
        """An instance is gone. Raises KeyError if there is none."""
        del self.instances[instance_id]
        if self.lagging is not None:
            self.lagging.changed(instance_id, None, when)


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
        self._duration = duration
        self._retention = retention
        self._view_lag = view_lag
        self._foreign_updates = foreign_updates
        self._sets: dict[_Key, ScaleSet] = {}
        self._operations: dict[str, Operation] = {}
        self._due: list[tuple[datetime, int, Callable[[datetime], None]]] = []
        self._order = itertools.count()
        self.events: list[ArmEvent] = []
        self.observed = False
        """Whether there are observers: if not, `events` stays empty."""

    # What is there

    @property
    def scale_sets(self) -> Iterable[ScaleSet]:
        return self._sets.values()

    @property
    def operations(self) -> Iterable[Operation]:
        return self._operations.values()

    def scale_sets_in(self, subscription_id: str, resource_group_name: str | None = None) -> list[ScaleSet]:
        """Those of a subscription or of a resource group in it. Raises ArmError if there is none."""
        subscription = subscription_id.lower()
        found = [each for key, each in self._sets.items() if key[0] == subscription]
        if not found:
            raise errors.no_subscription(subscription_id)
        if resource_group_name is None:
            return found
        found = [each for each in found if each.seed.resource_group_name.lower() == resource_group_name.lower()]
        if not found:
            raise errors.no_resource_group(resource_group_name)
        return found

    def scale_set(self, subscription_id: str, resource_group_name: str, name: str) -> ScaleSet:
        """Raises ArmError, naming the first of the three that does not exist."""
        found = self._sets.get(_key(subscription_id, resource_group_name, name))
        if found is not None:
            return found
        self.scale_sets_in(subscription_id, resource_group_name)
        raise errors.no_resource("virtualMachineScaleSets", name, resource_group_name)

    def virtual_machine(
        self, subscription_id: str, resource_group_name: str, name: str, shown_at: datetime | None = None
    ) -> tuple[ScaleSet, Instance]:
        """A VM of a Flexible scale set, as it is or as reads show it at a time.

        Instances of Uniform sets are not VMs of their own. Raises ArmError.
        """
        for scale_set in self.scale_sets_in(subscription_id, resource_group_name):
            if scale_set.flexible:
                instances = scale_set.instances if shown_at is None else scale_set.shown(shown_at)
                for instance in instances.values():
                    if instance.vm_name.lower() == name.lower():
                        return scale_set, instance
        raise errors.no_resource("virtualMachines", name, resource_group_name)

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
            self._place(scale_set, each, now)
        lag = self._view_lag if seed.view_lag is None else seed.view_lag
        if lag > timedelta(0):
            scale_set.lagging = LaggingView(lag, scale_set.instances)
        self._sets[_key(seed.subscription_id, seed.resource_group_name, seed.name)] = scale_set

    def place(self, scale_set: ScaleSet, seed: InstanceSeed, now: datetime) -> None:
        """Add an instance to a scale set, or put a new one in the place of one with the same id."""
        self._place(scale_set, seed, now)

    def _place(self, scale_set: ScaleSet, seed: InstanceSeed, now: datetime) -> None:
        if not scale_set.flexible and not seed.instance_id.isdecimal():
            raise ValueError(f"{scale_set.seed.name}: instance ids of a Uniform set are decimal: {seed.instance_id!r}")
        instance = Instance.seeded(seed, scale_set.seed.name, flexible=scale_set.flexible, now=now)
        scale_set.instances[seed.instance_id] = instance
        scale_set.changed(instance, now)
        if seed.withdrawn_after is not None:
            self._at(now + seed.withdrawn_after, lambda when: self._withdraw(scale_set, instance, when))
        if self._foreign_updates is not None:
            self._update_at_random(scale_set, instance, self._foreign_updates, now)
        if instance.may_begin:
            self._at(now + seed.window_closes_after, lambda when: self._close_window(scale_set, instance, when))
        elif instance.state == "in-progress":
            instance.begin(now)
            scale_set.changed(instance, now)
            self._finish_later(scale_set, instance, None, now)

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
        ends = now
        for instance in instances:
            before = instance.state
            instance.begin(now)
            self._record_change(scale_set, instance, before, now)
            ends = max(ends, self._finish_later(scale_set, instance, operation, now))
        if self.observed:
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
        self._at(ends, lambda when: self._end(operation, when))
        return operation

    def update(self, scale_set: ScaleSet, instance: Instance, duration: timedelta, now: datetime) -> None:
        """Somebody else updates an instance for a while. Raises ValueError for one that is under maintenance."""
        if instance.state == "in-progress":
            raise ValueError(f"{instance.vm_name} is under maintenance")
        self._update(scale_set, instance, duration, now)

    def write(self, scale_set: ScaleSet, duration: timedelta, now: datetime) -> None:
        """Somebody else's write is under way on a scale set for a while."""

        def end(_: datetime) -> None:
            scale_set.writes -= 1

        scale_set.writes += 1
        self._at(now + duration, end)

    def mature(self, now: datetime) -> None:
        """Do everything that is due by now."""
        while self._due and self._due[0][0] <= now:
            when, _, action = heapq.heappop(self._due)
            action(when)

    # What time does

    def _at(self, when: datetime, action: Callable[[datetime], None]) -> None:
        # The counter keeps what is due at the same moment in the order it was planned.
        heapq.heappush(self._due, (when, next(self._order), action))

    def _finish_later(
        self, scale_set: ScaleSet, instance: Instance, operation: Operation | None, now: datetime
    ) -> datetime:
        duration = self._duration if instance.seed.duration is None else instance.seed.duration
        self._at(now + duration, lambda when: self._finish(scale_set, instance, operation, when))
        return now + duration

    def _finish(self, scale_set: ScaleSet, instance: Instance, operation: Operation | None, when: datetime) -> None:
        before = instance.state
        outcome = instance.finish(when)
        if operation is not None:
            operation.outcomes[instance.vm_name] = outcome
        self._record_change(scale_set, instance, before, when)
        recovers_after = instance.seed.health_recovers_after
        if instance.vm_health is not None and recovers_after != timedelta.max:
            self._at(when + recovers_after, lambda later: self._recover(scale_set, instance, later))
        self._go_on(scale_set, instance, when)

    def _go_on(self, scale_set: ScaleSet, instance: Instance, ended: datetime) -> None:
        """What the campaign does after a maintenance: the status vanishes, the next campaign begins."""
        seed, finished, result = instance.seed, instance.finished, _RESULTS.get(instance.last_result_code)

        def withdraw(when: datetime) -> None:
            if instance.finished == finished:
                self._withdraw(scale_set, instance, when)

        def plan_again(when: datetime) -> None:
            if instance.finished == finished and instance.state != "in-progress":
                before = instance.state
                instance.plan_again(result, when)
                self._at(instance.window_closes, lambda later: self._close_window(scale_set, instance, later))
                self._record_change(scale_set, instance, before, when)

        if seed.status_gone_after is not None:
            self._at(ended + seed.status_gone_after, withdraw)
        if seed.planned_again_after is not None:
            self._at(ended + seed.planned_again_after, plan_again)

    def _withdraw(self, scale_set: ScaleSet, instance: Instance, when: datetime) -> None:
        before = instance.state
        instance.withdraw()
        self._record_change(scale_set, instance, before, when)

    def _recover(self, scale_set: ScaleSet, instance: Instance, when: datetime) -> None:
        instance.recover()
        scale_set.changed(instance, when)

    def _update(self, scale_set: ScaleSet, instance: Instance, duration: timedelta, now: datetime) -> None:
        def end(when: datetime) -> None:
            instance.end_update(when)
            scale_set.changed(instance, when)

        instance.begin_update(now)
        scale_set.changed(instance, now)
        self._at(now + duration, end)

    def _update_at_random(
        self, scale_set: ScaleSet, instance: Instance, updates: ForeignUpdates, now: datetime
    ) -> None:
        """Plan one update after the other, for as long as the instance is there."""
        chance = random.Random(f"{updates.seed}/{scale_set.resource_id}/{instance.vm_name}".lower())

        def plan(after: datetime) -> None:
            hours = min(chance.expovariate(updates.per_hour), _FAR / timedelta(hours=1))
            self._at(after + timedelta(hours=hours), begin)

        def begin(when: datetime) -> None:
            seed = scale_set.seed
            there = self._sets.get(_key(seed.subscription_id, seed.resource_group_name, seed.name)) is scale_set
            if not there or scale_set.instances.get(instance.seed.instance_id) is not instance:
                return
            duration = updates.duration * chance.uniform(0.5, 1.5)
            if not instance.updating:
                self._update(scale_set, instance, duration, when)
            plan(when + duration)

        plan(now)

    def _close_window(self, scale_set: ScaleSet, instance: Instance, when: datetime) -> None:
        before = instance.state
        instance.close_window(when)
        self._record_change(scale_set, instance, before, when)

    def _end(self, operation: Operation, when: datetime) -> None:
        operation.end(when)
        if self.observed:
            self.events.append(OperationEnded(when, operation.operation_id, operation.status))
        self._at(when + self._retention, lambda _: self._forget(operation))

    def _forget(self, operation: Operation) -> None:
        self._operations.pop(operation.operation_id, None)

    def _record_change(self, scale_set: ScaleSet, instance: Instance, before: State, when: datetime) -> None:
        scale_set.changed(instance, when)
        if self.observed and before != instance.state:
            seed = scale_set.seed
            self.events.append(
                InstanceChanged(
                    when,
                    seed.subscription_id,
                    seed.resource_group_name,
                    seed.name,
                    instance.seed.instance_id,
                    before,
                    instance.state,
                )
            )
