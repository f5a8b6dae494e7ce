"""A clock that can be waited for, passed in so that a schedule can be tested without waiting."""

import asyncio
from datetime import datetime
from typing import Protocol

from sandbox.clock import system_clock


class AlarmClock(Protocol):
    """What a timer needs of a clock."""

    def now(self) -> datetime:
        """The present moment, in UTC and aware of it."""

    async def sleep_until(self, moment: datetime) -> None:
        """Return once `now()` is at or past `moment`; at once when it already is."""


class SystemAlarmClock:
    """The clock of this machine."""

    def now(self) -> datetime:
        return system_clock()

    async def sleep_until(self, moment: datetime) -> None:
        # In a loop: the event loop sleeps by a monotonic clock, which may run a little ahead of this one,
        # and a timer that wakes before its time would be due twice.
        while (left := (moment - self.now()).total_seconds()) > 0:  # noqa: ASYNC110 - no event tells the time
            await asyncio.sleep(left)
