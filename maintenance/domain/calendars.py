"""When maintenance may start, as values: windows that recur, and spans in which nothing starts. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta


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
class Deferral:
    """Why the next wave does not start now: what it waits for (a `Window`, the end of a `Blackout`), the same in words,
    and until when at the earliest; None where nobody knows."""

    waits_for: str
    message: str
    until: datetime | None = None
