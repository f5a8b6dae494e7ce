"""What happens in a world beside messages and faults, and what is told of views and of the product's own errors."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from maintenance.domain.instances import Instance
from tests.simulation.plans import Happening, MachinePlan

if TYPE_CHECKING:
    from tests.simulation.world import World

BUS = ("requests", "operations", "coordination", "topic", "dead requests", "dead operations")
LATE_PLANNER = "RuntimeError at runner.py"


def happen(world: World, happening: Happening) -> None:
    estate = world.estate(world.plan.sets[happening.place].scale_set)
    machine = list(estate.machines.values())[happening.machine]
    world.tell("happens: {} ({}, for {:.0f} s)", happening.what, machine.plan.name, happening.lasts)
    match happening.what:
        case "foreign" | "foreign maintenance":
            estate.foreign(machine, happening.lasts, maintains=happening.what != "foreign")
        case "in":
            estate.scale_in(machine)
        case "out":
            world.note("scale-out")
            name = "99" if machine.plan.name.isdigit() else "web_new1"
            if name not in estate.machines:
                estate.add(MachinePlan(name=name, domain=0))
        case "withdrawn":
            estate.withdraw(machine)
        case "window":
            estate.next_window(machine)
        case "fall ill":
            estate.fall_ill(machine, happening.lasts)
        case "outage":
            world.note("outage of Service Bus")
            for entity in BUS if happening.machine % 2 else (BUS[happening.machine % len(BUS)],):
                world.take_down(entity, happening.lasts)
        case "arm outage":
            world.note("outage of ARM")
            world.take_down("arm", happening.lasts)


class Errors(logging.Handler):
    """What the product itself calls unexpected."""

    def __init__(self, world: World) -> None:
        super().__init__(logging.ERROR)
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        self._world.tell("log: {}", record.getMessage())
        if LATE_PLANNER in record.getMessage():
            # Its lease's id is used up, so it never sees its lease; another has completed its record.
            self._world.note("late planner gave up")
        elif "unexpectedly" in str(record.msg):
            self._world.promises.break_("unexpected", record.getMessage())


class Shown:
    """Instance views in a few words."""

    def __init__(self, views: list[Instance]) -> None:
        self._views = views

    def __str__(self) -> str:
        return ", ".join(
            f"{each.instance_id} {each.state.value}{' (down)' if each.is_down else ''}" for each in self._views
        )
