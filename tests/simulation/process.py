"""A simulated process: a life, clocks of its own, and the one way in which all of its calls go wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from tests.simulation.clock import EPOCH
from tests.simulation.faults import LONGEST_FREEZE_OF_A_POST, Fault
from tests.simulation.loop import Life, belonging_to

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

T = TypeVar("T")


class Process:
    """One process of the app. `ahead`: how far its clock is ahead of Service Bus's, in seconds."""

    def __init__(self, simulation: Simulation, name: str, ahead: float) -> None:
        self.simulation = simulation
        self.ahead = ahead
        self.life = Life(name)
        self.context = belonging_to(self.life)
        self._started = simulation.loop.time()
        # How long it stands still when it is about to send JUDGE.
        self.stands_still = 0.0
        # How many POSTs it has looked at its stopwatch for, and has no response to yet.
        self.posting = 0
        # When the last readings that were answered whole had been asked for.
        self.entries_asked_at = -1e9
        self.views_asked_at: dict[str, float] = {}

    def __str__(self) -> str:
        return self.life.name

    def seconds(self) -> float:
        """This process's wall clock, as seconds of the loop."""
        return self.simulation.loop.time() + self.ahead

    def now(self) -> datetime:
        return EPOCH + timedelta(microseconds=round((self.simulation.loop.time() + self.ahead) * 1e6))

    def monotonic(self) -> float:
        return self.simulation.loop.time() - self._started

    async def call(
        self,
        point: str,
        entity: str,
        effect: Callable[[], T],
        failure: Callable[[], Exception],
        *,
        half: Callable[[], None] | None = None,
    ) -> T:
        return await self.call_with_fault(point, entity, lambda _: effect(), failure, half=half)

    async def call_with_fault(
        self,
        point: str,
        entity: str,
        effect: Callable[[Fault | None], T],
        failure: Callable[[], Exception],
        *,
        half: Callable[[], None] | None = None,
    ) -> T:
        """One call: it takes its time, has its effect at one moment, and the answer comes later."""
        simulation = self.simulation
        fault = simulation.faults.meet(point)
        await asyncio.sleep(simulation.latency())
        if point == "schedule" and self.stands_still:
            self.life.frozen_until = simulation.loop.time() + self.stands_still
            self.stands_still = 0.0
            await asyncio.sleep(0)
        if fault is not None:
            await self.before(fault, failure, half)
        if simulation.is_out(entity):
            await asyncio.sleep(2.0)
            raise failure()
        result = effect(fault)
        if fault is None:
            await asyncio.sleep(0)
        else:
            await self.after(fault, failure)
        return result

    async def before(self, fault: Fault, failure: Callable[[], Exception], half: Callable[[], None] | None) -> None:
        """What a fault does before a call's effect."""
        simulation = self.simulation
        match fault.effect:
            case "kill before":
                await self.die(fault)
            case "freeze before":
                await self.freeze(fault)
            case "slow":
                simulation.met(fault, self)
                await asyncio.sleep(fault.seconds)
            case "raise before":
                simulation.met(fault, self)
                raise failure()
            case "raise halfway":
                simulation.met(fault, self)
                if half is not None:
                    half()
                raise failure()
            case "down":
                simulation.met(fault, self)
                simulation.take_down(fault.point, fault.seconds)

    async def after(self, fault: Fault, failure: Callable[[], Exception]) -> None:
        """What a fault does between a call's effect and its answer."""
        await asyncio.sleep(0)
        match fault.effect:
            case "kill after":
                await self.die(fault)
            case "freeze after":
                await self.freeze(fault)
            case "blackout":
                self.simulation.met(fault, self)
                self.simulation.kill_all(fault.seconds)
                await asyncio.get_running_loop().create_future()
            case "raise after":
                self.simulation.met(fault, self)
                raise failure()

    async def die(self, fault: Fault) -> Any:
        self.simulation.met(fault, self)
        self.simulation.kill(self)
        # Nothing of this process runs any more, so this is never over.
        await asyncio.get_running_loop().create_future()

    async def freeze(self, fault: Fault) -> None:
        self.simulation.met(fault, self)
        seconds = min(fault.seconds, LONGEST_FREEZE_OF_A_POST) if self.posting else fault.seconds
        self.life.frozen_until = self.simulation.loop.time() + seconds
        await asyncio.sleep(0)
