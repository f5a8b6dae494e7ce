"""What happens in a simulation beside messages and faults; how views and the product's own errors are reported."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from maintenance.domain.instances import Instance
from tests.simulation.plans import Incident, MachinePlan

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

BUS = ("requests", "operations", "coordination", "topic", "dead requests", "dead operations")
LATE_PLANNER = "RuntimeError at runner.py"


def cause(simulation: Simulation, incident: Incident) -> None:
    simulated = simulation.simulated(simulation.plan.sets[incident.place].scale_set)
    machine = list(simulated.machines.values())[incident.machine]
    simulation.tell("happens: {} ({}, for {:.0f} s)", incident.what, machine.plan.name, incident.lasts)
    match incident.what:
        case "foreign" | "foreign maintenance":
            simulated.foreign(machine, incident.lasts, maintains=incident.what != "foreign")
        case "in":
            simulated.scale_in(machine)
        case "out":
            simulation.note("scale-out")
            name = "99" if machine.plan.name.isdigit() else "web_new1"
            if name not in simulated.machines:
                simulated.add(MachinePlan(name=name, domain=0))
        case "withdrawn":
            simulated.withdraw(machine)
        case "window":
            simulated.next_window(machine)
        case "fall ill":
            simulated.fall_ill(machine, incident.lasts)
        case "hidden":
            simulated.hide(machine, incident.lasts)
            simulation.troubled(incident.lasts)
        case "outage":
            simulation.note("outage of Service Bus")
            for entity in BUS if incident.machine % 2 else (BUS[incident.machine % len(BUS)],):
                simulation.take_down(entity, incident.lasts)
        case "arm outage":
            simulation.note("outage of ARM")
            simulation.take_down("arm", incident.lasts)


class Errors(logging.Handler):
    """What the product itself calls unexpected."""

    def __init__(self, simulation: Simulation) -> None:
        super().__init__(logging.ERROR)
        self._simulation = simulation

    def emit(self, record: logging.LogRecord) -> None:
        self._simulation.tell("log: {}", record.getMessage())
        if LATE_PLANNER in record.getMessage():
            # Its lease's id is used up, so it never sees its lease; another has completed its record.
            self._simulation.note("late planner gave up")
        elif "unexpectedly" in str(record.msg):
            self._simulation.promises.break_("unexpected", record.getMessage())


class Shown:
    """Instance views in a few words."""

    def __init__(self, views: list[Instance]) -> None:
        self._views = views

    def __str__(self) -> str:
        return ", ".join(
            f"{each.instance_id} {each.state.value}{' (down)' if each.is_down else ''}" for each in self._views
        )
