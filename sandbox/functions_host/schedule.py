"""When a timer is due: NCRONTAB expressions and constant intervals, in UTC.

The field order is that of https://learn.microsoft.com/azure/azure-functions/functions-bindings-timer#ncrontab-expressions:
`{second} {minute} {hour} {day} {month} {day-of-week}`; with five fields the seconds are 0.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from cronsim import CronSim, CronSimError

from sandbox.functions_host.timespan import parse_timespan

_NAMES = re.compile(r"[A-Z]{3}")  # of months and weekdays: JUL and WED hold letters that mean something alone


class Schedule(Protocol):
    """A recurring schedule."""

    def next_after(self, moment: datetime) -> datetime:
        """The first time strictly after `moment` (aware, any zone), in UTC."""


@dataclass(frozen=True, slots=True)
class Cron:
    """An NCRONTAB expression."""

    expression: str

    def __str__(self) -> str:
        return self.expression

    def next_after(self, moment: datetime) -> datetime:
        return next(CronSim(self.expression, moment.astimezone(UTC)))


@dataclass(frozen=True, slots=True)
class Interval:
    """A constant distance between two runs, counted from the start of each."""

    length: timedelta

    def __str__(self) -> str:
        return f"every {self.length}"

    def next_after(self, moment: datetime) -> datetime:
        return moment.astimezone(UTC) + self.length


def parse_schedule(text: str) -> Schedule:
    """Read `*/30 * * * * *` or `00:00:30`.

    Raises:
        ValueError: it is neither; the message says what was wrong.
    """
    fields = text.split()
    if len(fields) not in (5, 6):
        if ":" not in text:
            raise ValueError(f"{text!r} has {len(fields)} fields; an NCRONTAB expression has 6, or 5 without seconds")
        length = parse_timespan(text)
        if length <= timedelta(0):
            raise ValueError(f"{text!r} is not an interval: it must be positive")
        return Interval(length)
    if any(mark in _NAMES.sub("", text.upper()) for mark in "LW#?"):
        # cronsim knows these, NCRONTAB does not: what runs here has to run in Azure.
        raise ValueError(f"{text!r}: NCRONTAB knows no L, W, # or ?")
    if not (fields[-3].startswith("*") or fields[-1].startswith("*")):
        # NCRONTAB asks for both to match, cronsim for either: better an error than a run on the wrong day.
        raise ValueError(f"{text!r}: day and day-of-week can't both be bounded here")
    try:
        expression = Cron(text)
        expression.next_after(datetime(2000, 1, 1, tzinfo=UTC))
    except (CronSimError, StopIteration) as error:
        raise ValueError(f"{text!r}: {error or 'is never due'}") from error
    return expression
