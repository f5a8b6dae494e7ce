"""ARM in memory: scale sets with the true state of their instances, views that lag behind it, operations by URL.

Pure and synchronous; what goes wrong on the way is the affair of `arm_gateway`. Times are seconds of the loop.
"""

from __future__ import annotations

import contextvars
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from maintenance.domain.instances import Instance
from maintenance.domain.observations import (
    Accepted,
    ErrorDetail,
    Failed,
    Reading,
    Refused,
    Running,
    Submission,
    Succeeded,
)
from tests.simulation.loop import Loop
from tests.simulation.machine import Machine
from tests.simulation.plans import MachinePlan, SetPlan

DONE = ("completed", "absent", "second")


class Watcher(Protocol):
    """Who is told what is truly done."""

    def maintained(self, run_id: str, instance_id: str, ending: str) -> None: ...

    @property
    def others_maintained(self) -> Callable[[str], None]: ...

    @property
    def others_work(self) -> Callable[[str], None]: ...

    @property
    def withdrawn(self) -> Callable[[str], None]: ...

    @property
    def note(self) -> Callable[[str], None]: ...

    @property
    def tell(self) -> Callable[..., None]: ...


@dataclass(eq=False)
class Ongoing:
    """An operation of ARM's: it ends when all of its machines have."""

    run_id: str
    machines: list[Machine]
    left: int
    says_failed: bool
    bad: bool = False
    ended_at: float | None = None


class SimulatedScaleSet:
    """One scale set."""

    def __init__(self, plan: SetPlan, loop: Loop, draw: random.Random, watcher: Watcher) -> None:
        self.plan = plan
        self._loop = loop
        self._draw = draw
        self._watcher = watcher
        self._context = contextvars.Context()
        self.machines: dict[str, Machine] = {}
        self.operations: dict[str, Ongoing] = {}
        for machine in plan.machines:
            self.add(machine)

    def add(self, plan: MachinePlan) -> None:
        machine = Machine(plan, self.plan.health, healthy=True if self.plan.health else None)
        machine.begins_as(plan.state)
        self.machines[plan.name.lower()] = machine
        self._changed(machine, moved=False)

    # ------------------------------------------------------------------ what the product calls

    def post(self, run_id: str, names: Sequence[str] | None) -> tuple[Submission, list[Machine]]:
        """What ARM says, and the machines that it took."""
        chosen = (
            [self.machines.get(name.lower()) for name in names] if names is not None else list(self.machines.values())
        )
        if any(machine is None or machine.gone for machine in chosen):
            return Refused(ErrorDetail("NotFound", "no such instance"), 404), []
        machines = [machine for machine in chosen if machine is not None]
        if any(machine.by is not None for machine in machines):
            return Refused(ErrorDetail("Conflict", "it is being updated"), 409), []
        if any(not (machine.planned and machine.allowed) for machine in machines):
            return Refused(ErrorDetail("BadRequest", "no self-service maintenance now"), 400), []
        url = f"https://arm/operations/{len(self.operations) + 1}-{self.plan.scale_set.name}"
        operation = Ongoing(run_id, machines, len(machines), self._draw.random() < 0.6)
        self.operations[url] = operation
        for machine in machines:
            machine.ours = run_id
            wait = machine.plan.waits if machine is not machines[0] else 0.0
            if wait:
                self._later(wait, self._begin, machine, operation)
            else:
                self._begin(machine, operation)
        return Accepted(
            url, retry_after=self._draw.choice((None, timedelta(seconds=15), timedelta(seconds=90)))
        ), machines

    def poll(self, url: str) -> Reading:
        operation = self.operations[url]
        if operation.ended_at is None or self._loop.time() < operation.ended_at + 5:
            return Running("inprogress", self._draw.choice((None, timedelta(seconds=10), timedelta(seconds=60))))
        if operation.bad and operation.says_failed:
            return Failed(ErrorDetail("MaintenanceFailed", "not all instances were maintained"))
        return Succeeded()

    def views(self, lag: float, *, each: bool) -> list[Instance]:
        """What the views show: all as it was `lag` seconds ago, or `each` as it was at some time since then; nothing
        from before there was a simulation."""
        now, shown = self._loop.time(), []
        for machine in self.machines.values():
            moment = max(now - (self._draw.uniform(0, lag) if each else lag), 0.0)
            view = next((view for at, view in reversed(machine.history) if at <= moment), None)
            if view is not None:
                shown.append(view if now >= machine.hidden_until else Instance(view.instance_id, reported=False))
        return shown

    # ------------------------------------------------------------------ what happens to instances

    def down_by_us(self) -> dict[str, Machine]:
        return {name: machine for name, machine in self.machines.items() if machine.ours and not machine.gone}

    def foreign(self, machine: Machine, lasts: float, *, maintains: bool) -> None:
        if machine.ours or machine.by or machine.gone:
            return
        self._watcher.note("update by others")
        self._watcher.others_work(machine.plan.name)
        machine.by, machine.provisioning = "others", "updating"
        self._changed(machine)
        self._later(lasts, self._foreign_over, machine, maintains)

    def _foreign_over(self, machine: Machine, maintains: bool) -> None:
        machine.by, machine.provisioning = None, "succeeded"
        self._watcher.others_work(machine.plan.name)
        if maintains and machine.planned:
            machine.allowed, machine.result = False, "maintenancecompleted"
            self._watcher.note("maintained by others")
            self._watcher.others_maintained(machine.plan.name)
        self._changed(machine)

    def withdraw(self, machine: Machine) -> None:
        if not machine.ours and not machine.gone and machine.planned and machine.allowed:
            self._watcher.note("maintenance withdrawn")
            machine.planned = False
            self._watcher.withdrawn(machine.plan.name)
            self._changed(machine, moved=False)

    def next_window(self, machine: Machine) -> None:
        if not machine.ours and not machine.gone and machine.planned:
            self._watcher.note("window moved")
            machine.campaign += 1
            self._changed(machine, moved=False)

    def fall_ill(self, machine: Machine, lasts: float) -> None:
        if not machine.ours and not machine.by and not machine.gone:
            self._watcher.note("ill by itself")
            machine.fall_ill()
            self._changed(machine, moved=False)
            self._later(lasts, self._recover, machine, None)

    def hide(self, machine: Machine, lasts: float) -> None:
        if not machine.gone:
            self._watcher.note("view not reported for a while")
            machine.hidden_until = max(machine.hidden_until, self._loop.time() + lasts)

    def scale_in(self, machine: Machine) -> None:
        if not machine.gone:
            self._watcher.note("scale-in at work" if machine.ours else "scale-in")
            machine.gone = True
            self._changed(machine)

    def _begin(self, machine: Machine, operation: Ongoing) -> None:
        if machine.gone:
            self._end(machine, operation)
            return
        if machine.by is not None:
            self._later(20, self._begin, machine, operation)
            return
        machine.by, machine.provisioning, machine.allowed = operation.run_id, "updating", False
        machine.power = "stopped"
        if machine.healthy is not None:
            machine.healthy = False
        self._changed(machine)
        self._later(machine.plan.takes, self._end, machine, operation)

    def _end(self, machine: Machine, operation: Ongoing) -> None:
        ending = machine.plan.ending if not machine.gone else "gone"
        if not machine.planned and not machine.gone:
            ending = "absent"
        machine.by, machine.provisioning = None, "succeeded"
        self._watcher.note(f"ended as {ending}")
        self._watcher.tell("ARM: {} of run {} ended as {}", machine.plan.name, operation.run_id[:6], ending)
        machine.ends_as(ending)
        operation.bad = operation.bad or ending not in DONE
        self._watcher.maintained(operation.run_id, machine.plan.name, ending)
        if machine.plan.ill and not machine.gone:
            self._watcher.note("ill after maintenance")
            machine.fall_ill()
            self._later(machine.plan.ill, self._recover, machine, operation.run_id)
        else:
            machine.recover()
            machine.ours = None
        self._changed(machine)
        if ending == "second":
            # Planned anew in the same moment, or soon after.
            pause = self._draw.choice((0.0, 0.0, 40.0))
            if pause:
                self._later(pause, self._second, machine)
            else:
                self._second(machine)
        operation.left -= 1
        if operation.left == 0:
            operation.ended_at = self._loop.time()

    def _second(self, machine: Machine) -> None:
        if machine.gone or machine.ours or machine.by:
            return
        machine.campaign += 1
        machine.allowed = True
        machine.result = self._draw.choice(("none", "maintenancecompleted"))
        self._changed(machine, moved=False)

    def _recover(self, machine: Machine, run_id: str | None) -> None:
        """Unless something else has it by now."""
        if machine.ours == run_id and machine.by is None:
            machine.ours = None
            machine.recover()
            self._changed(machine, moved=False)

    def _changed(self, machine: Machine, *, moved: bool = True) -> None:
        now = self._loop.time()
        if moved:
            machine.changed_at = now
        machine.history.append((now, machine.snapshot()))

    def _later(self, seconds: float, what: Callable[..., None], *parts: object) -> None:
        self._loop.call_later(seconds, what, *parts, context=self._context)
