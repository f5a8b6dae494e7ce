"""What an end says of each instance (S6), against what truly happened to it.

What others do is known to nobody but the simulation: a run cannot tell some of it from its own doing.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from maintenance.domain.operation import Operation
from tests.simulation.resource_manager import DONE
from tests.simulation.runs import Run

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

# Views may show what was so long ago, with some seconds for a call.
LAGS = 130.0


class Truth:
    """That of one simulation."""

    def __init__(self, simulation: Simulation, runs: dict[str, Run]) -> None:
        self._simulation = simulation
        self._runs = runs
        # When others last began or ended an update, by instance.
        self._others_worked: dict[str, float] = {}

    def reported_failed(self, operation: Operation) -> None:
        """ARM said that a call had failed."""
        self._runs[operation.run_id].reported_failed = True

    def others_maintained(self, name: str) -> None:
        """A run whose call is in doubt, or was called succeeded, cannot tell that from its own doing."""
        for run in self._runs.values():
            if run.ended_at is None:
                run.by_others.add(name.lower())

    def withdrawn(self, name: str) -> None:
        for run in self._runs.values():
            if run.ended_at is None:
                run.withdrawn.add(name.lower())

    def others_work(self, name: str) -> None:
        """Others begin or end an update."""
        self._others_worked[name.lower()] = self._simulation.loop.time()

    def contradicts(self, run_id: str, name: str, outcome: str) -> str | None:
        """What is wrong with the outcome that an event reports of an instance."""
        run = self._runs[run_id]
        ending, taken = run.endings.get(name), run.taken[name]
        match outcome:
            case "Completed" | "Failed" if not self._simulation.plan.knobs.views and taken:
                # An app that reads no views says what ARM says.
                return None
            case "Completed" if ending not in DONE and name not in run.by_others and not self._looks_done(run, name):
                return f"is reported as Completed, and truly: {ending or 'not maintained for it'}"
            case "Failed" if not run.asked[name]:
                return "is reported as Failed, and nobody tried"
            case "Failed" if ending == "completed" or (ending in DONE and not run.reported_failed):
                return f"is reported as Failed, and was {ending}"
            case "NotAttempted" | "Skipped" | "AlreadyCompleted" | "WouldMaintain" if taken:
                return f"is reported as {outcome}, and ARM took it"
            case "NotFound" if taken and ending != "gone" and not self._simulation.is_gone(run_id, name):
                return "is reported as NotFound, and ARM took it"
        return None

    def _looks_done(self, run: Run, name: str) -> bool:
        """Whether it was withdrawn, and may have been seen updating, or was called succeeded: then nobody can tell that
        from maintenance."""
        updating = self._others_worked.get(name, -math.inf) > run.enqueued_at - LAGS
        return name in run.withdrawn and (updating or run.taken[name] > 0)
