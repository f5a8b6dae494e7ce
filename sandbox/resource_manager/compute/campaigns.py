"""The course of maintenance: how it begins and ends for an instance, and what the campaign does after it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import get_args

from sandbox.resource_manager.compute.events import EventLog, InstanceChanged
from sandbox.resource_manager.compute.instances import Instance
from sandbox.resource_manager.compute.operations import Operation
from sandbox.resource_manager.compute.scale_sets import ScaleSet
from sandbox.resource_manager.compute.seeds import ResultCode, State
from sandbox.resource_manager.compute.timeline import Timeline

_RESULTS: dict[str, ResultCode] = {each: each for each in get_args(ResultCode)}


class Campaigns:
    """Plans on a timeline what happens to instances under maintenance, and writes down the changes."""

    def __init__(self, timeline: Timeline, events: EventLog, *, duration: timedelta) -> None:
        """`duration` of a maintenance whose instance names none."""
        self._timeline = timeline
        self._events = events
        self._duration = duration

    def plan(self, scale_set: ScaleSet, instance: Instance, now: datetime) -> None:
        """Plan what the seed of a new instance has ahead of it."""
        seed = instance.seed
        if seed.withdrawn_after is not None:
            self._timeline.at(now + seed.withdrawn_after, lambda when: self._withdraw(scale_set, instance, when))
        if instance.may_begin:
            closes = now + seed.window_closes_after
            self._timeline.at(closes, lambda when: self._close_window(scale_set, instance, when))
        elif instance.state == "in-progress":
            instance.begin(now)
            scale_set.changed(instance, now)
            self._finish_later(scale_set, instance, None, now)

    def begin(self, scale_set: ScaleSet, instance: Instance, operation: Operation, now: datetime) -> datetime:
        """Begin an instance's maintenance; when that will be over."""
        before = instance.state
        instance.begin(now)
        self._record_change(scale_set, instance, before, now)
        return self._finish_later(scale_set, instance, operation, now)

    def _finish_later(
        self, scale_set: ScaleSet, instance: Instance, operation: Operation | None, now: datetime
    ) -> datetime:
        duration = self._duration if instance.seed.duration is None else instance.seed.duration
        self._timeline.at(now + duration, lambda when: self._finish(scale_set, instance, operation, when))
        return now + duration

    def _finish(self, scale_set: ScaleSet, instance: Instance, operation: Operation | None, when: datetime) -> None:
        before = instance.state
        outcome = instance.finish(when)
        if operation is not None:
            operation.outcomes[instance.vm_name] = outcome
        self._record_change(scale_set, instance, before, when)
        recovers_after = instance.seed.health_recovers_after
        if instance.vm_health is not None and recovers_after != timedelta.max:
            self._timeline.at(when + recovers_after, lambda later: self._recover(scale_set, instance, later))
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
                closes = instance.window_closes
                self._timeline.at(closes, lambda later: self._close_window(scale_set, instance, later))
                self._record_change(scale_set, instance, before, when)

        if seed.status_gone_after is not None:
            self._timeline.at(ended + seed.status_gone_after, withdraw)
        if seed.planned_again_after is not None:
            self._timeline.at(ended + seed.planned_again_after, plan_again)

    def _withdraw(self, scale_set: ScaleSet, instance: Instance, when: datetime) -> None:
        before = instance.state
        instance.withdraw()
        self._record_change(scale_set, instance, before, when)

    def _recover(self, scale_set: ScaleSet, instance: Instance, when: datetime) -> None:
        instance.recover()
        scale_set.changed(instance, when)

    def _close_window(self, scale_set: ScaleSet, instance: Instance, when: datetime) -> None:
        before = instance.state
        instance.close_window(when)
        self._record_change(scale_set, instance, before, when)

    def _record_change(self, scale_set: ScaleSet, instance: Instance, before: State, when: datetime) -> None:
        scale_set.changed(instance, when)
        if self._events.observed and before != instance.state:
            seed = scale_set.seed
            self._events.append(
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
