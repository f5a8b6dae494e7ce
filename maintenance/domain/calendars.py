"""When maintenance may start, as values: windows that recur, spans in which nothing starts, and gates. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

# As long as people take to decide, and well within the six hours that a request has by default.
GATE_TIMEOUT = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Window:
    """A wave may start in the time `duration` after each occurrence of `schedule`, a cron expression of five fields
    (minute, hour, day of the month, month, day of the week) in a time zone of the IANA database."""

    schedule: str
    duration: timedelta
    time_zone: str = "UTC"


@dataclass(frozen=True, slots=True)
class Blackout:
    """Nothing starts from `start` until before `end`. Both are aware."""

    start: datetime
    end: datetime
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Gate:
    """Before the first wave that starts anything, or every one, somebody is asked whether it may. Without an answer the
    run ends `timeout` later, or starts the wave."""

    waves: Literal["first", "everyWave"]
    timeout: timedelta = GATE_TIMEOUT
    at_timeout: Literal["stop", "proceed"] = "stop"


@dataclass(frozen=True, slots=True)
class Deferral:
    """Why the next wave does not start now: what it waits for (a `Window`, the end of a `Blackout`), the same in words,
    and until when at the earliest; None where nobody knows. At a gate: until when at the latest."""

    waits_for: str
    message: str
    until: datetime | None = None
