"""Timer triggers: fire functions by their schedules."""

import asyncio
from datetime import datetime, timedelta

from sandbox.functions_host.alarm_clock import AlarmClock
from sandbox.functions_host.indexing import IndexedFunction
from sandbox.functions_host.invocation import Invoker
from sandbox.functions_host.listeners.conversion import timer_request
from sandbox.functions_host.triggers import TimerTrigger

# A run that starts this much after its time is told that it is past due.
_LATE = timedelta(seconds=1)


class TimerListener:
    """Fires one function by its schedule, never while an earlier run is outstanding.

    A time that passes during a run is made up for right after it, once, and told that it is past due. (The
    real host does the same, but sets `past_due` only for a monitored time missed while it was down.)

    Attributes:
        function: what it fires.
        started: set once the first time is fixed.
    """

    def __init__(
        self,
        function: IndexedFunction,
        trigger: TimerTrigger,
        *,
        clock: AlarmClock,
        invoker: Invoker,
        stopping: asyncio.Event,
    ) -> None:
        self.function = function
        self._trigger = trigger
        self._clock = clock
        self._invoker = invoker
        self._stopping = stopping
        self.started = asyncio.Event()

    async def run(self) -> None:
        """Fire until told to stop, then finish the run that is under way."""
        due = self._trigger.schedule.next_after(self._clock.now())
        self.started.set()
        if self._trigger.run_on_startup:
            await self.fire()
        while await self._reaches(due):
            began = self._clock.now()
            await self.fire(past_due=began - due >= _LATE)
            due = self._trigger.schedule.next_after(max(began, due))

    async def fire(self, *, past_due: bool = False) -> None:
        """Run the function now. How it ends is logged, not raised."""
        await self._invoker.invoke(self.function, timer_request(past_due=past_due), about="timer", routine=True)

    async def _reaches(self, due: datetime) -> bool:
        """Wait for `due`; False if told to stop before."""
        async with asyncio.TaskGroup() as group:
            asleep = group.create_task(self._clock.sleep_until(due))
            stopped = group.create_task(self._stopping.wait())
            await asyncio.wait({asleep, stopped}, return_when=asyncio.FIRST_COMPLETED)
            asleep.cancel()
            stopped.cancel()
        return not self._stopping.is_set()
