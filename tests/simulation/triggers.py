"""What wakes the app: the queue trigger, the timer of ticks, the timer of dead letters; in one process or several.

A tick that finds nothing does nothing, so only those are run that find something.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from tests.simulation.service_bus import Queue
from tests.simulation.worker import SimulatedWorker

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

TICK, DEAD_LETTERS, PAUSE = 30.0, 300.0, 5.0


class Alarm:
    """Rings at the first multiple of `period` (and `offset`) at which one of the queues has something to be taken.
    `ring` is false where nobody is there to take it."""

    def __init__(
        self, simulation: Simulation, queues: tuple[Queue, ...], period: float, offset: float, ring: Callable[[], bool]
    ) -> None:
        self._simulation = simulation
        self._queues = queues
        self._period = period
        self._offset = offset
        self._ring = ring
        self._at: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        for queue in queues:
            queue.changed = self.plan

    def plan(self) -> None:
        times = [at for queue in self._queues if (at := queue.next_available()) is not None]
        if not times:
            return
        now = self._simulation.loop.time()
        # Strictly later than now: what rings now has been served.
        after = max(min(times), now + 1e-3) - self._offset
        at = math.ceil(after / self._period) * self._period + self._offset if self._period else after
        if self._at is not None and self._at <= at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._at = at
        self._timer = self._simulation.loop.call_at(at, self._due, context=self._simulation.context())

    def _due(self) -> None:
        self._at = self._timer = None
        now = self._simulation.loop.time()
        rings = any((at := queue.next_available()) is not None and at <= now for queue in self._queues)
        if rings and not self._ring():
            # Nobody is there, for now.
            self._at = now + PAUSE
            self._timer = self._simulation.loop.call_at(self._at, self._due, context=self._simulation.context())
        else:
            self.plan()


class Triggers:
    """All of one simulation."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        Alarm(simulation, (simulation.requests,), 0.0, 0.0, self._request)
        Alarm(simulation, (simulation.operations,), TICK, 0.0, self._tick)
        Alarm(
            simulation,
            (simulation.dead_requests, simulation.dead_operations),
            DEAD_LETTERS,
            15.0,
            self._read_dead_letters,
        )

    def _request(self) -> bool:
        simulation = self._simulation
        if simulation.is_out("requests") or not simulation.processes:
            return False
        for message in simulation.requests.take(16):
            worker = simulation.someone()
            if message.deliveries > 1:
                simulation.note("redelivered request")
            self._spawn(worker, worker.receive(message, message.token))
        return True

    def _tick(self) -> bool:
        for worker in self._simulation.some():
            self._simulation.note("tick")
            self._spawn(worker, worker.poll())
        return True

    def _read_dead_letters(self) -> bool:
        self._simulation.note("dead letters read")
        for worker in self._simulation.some():
            self._spawn(worker, worker.read_dead_letters())
        return True

    def _spawn(self, worker: SimulatedWorker, work: Coroutine[Any, Any, None]) -> None:
        self._simulation.loop.create_task(work, context=worker.process.context.copy())
