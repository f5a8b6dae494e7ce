"""When one window opens: the occurrences of its schedule as moments. Pure.

The schedule is read by local clocks. An occurrence in the hour that clocks leave out in spring is the moment of the
change. One in the hour that comes twice in autumn is the first of both; where the schedule names no hour (`*`), both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from maintenance.domain.calendars import Window

# Clocks are changed by two hours at the most (Antarctica/Troll).
_CHANGE = timedelta(hours=3)
_MINUTE = timedelta(minutes=1)
# How far back the last opening is looked for at first: what recurs every minute has 60 occurrences in it.
_NEAR = timedelta(hours=1)
_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+\-]*(?:/[A-Za-z0-9_+\-]+){0,2}", re.ASCII)
# Names in the database's folder that mean another zone on every machine, or none.
_NO_ZONES = ("localtime", "posixrules", "Factory")
# A time of no zone, by which a schedule is tried. What does not occur in fifty years never does.
_SOME_DAY = datetime(2024, 1, 1)  # noqa: DTZ001 - schedules are read by local clocks


def schedule_problem(schedule: str) -> str | None:
    """What is wrong with a cron expression; None: nothing."""
    from cronsim import CronSim, CronSimError  # noqa: PLC0415 - indexing the functions must stay cheap

    if len(schedule.split()) != 5:
        return "must be a cron expression of five fields: minute, hour, day of the month, month, day of the week"
    try:
        next(CronSim(schedule, _SOME_DAY))
    except CronSimError as error:
        what = str(error).removeprefix("Bad ")
        return f"must be a cron expression; its {what} is not valid (a range must not run backwards)"
    except StopIteration:
        return "must be a cron expression that occurs: no such day exists"
    return None


def zone_problem(name: str) -> str | None:
    """What is wrong with the name of a time zone; None: nothing."""
    try:
        zone_of(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return 'must be the name of a time zone in the IANA database, in its letter case, as "Europe/Berlin"'
    return None


def zone_of(name: str) -> ZoneInfo:
    """The time zone of a name. Raises ZoneInfoNotFoundError, ValueError or OSError where there is none."""
    if not _ZONE.fullmatch(name) or name in _NO_ZONES:
        raise ValueError(f"{name[:64]} is no time zone")
    return ZoneInfo(name)


def last_opening(window: Window, now: datetime) -> datetime | None:
    """When the window last opened, if it is open now; None where it is not."""
    for back in (min(_NEAR, window.duration), window.duration):
        after = now - back
        zone = zone_of(window.time_zone)
        until = _local(now, zone) + _margin(now, zone)
        opened = [
            moment
            for naive, moment in _occurrences(window, _local(after, zone) - _margin(after, zone), until)
            if after < moment <= now
        ]
        if opened:
            return max(opened)
    return None


def next_opening(window: Window, after: datetime) -> datetime | None:
    """When the window opens next after a moment; None: never."""
    zone = zone_of(window.time_zone)
    found: datetime | None = None
    until: datetime | None = None
    for naive, moment in _occurrences(window, _local(after, zone) - _margin(after, zone), None):
        if until is not None and naive > until:
            break
        if moment <= after or (found is not None and moment >= found):
            continue
        if not _margin(moment, zone):
            return moment if found is None else min(found, moment)
        # Where clocks are changed, what comes later by local clocks may come first.
        found, until = moment, until or naive + _CHANGE
    return found


def _occurrences(window: Window, after: datetime, until: datetime | None) -> Iterator[tuple[datetime, datetime]]:
    """Each occurrence after a local time, and up to another, by local clocks and as a moment."""
    from cronsim import CronSim  # noqa: PLC0415 - as above

    zone = zone_of(window.time_zone)
    any_hour = window.schedule.split()[1].startswith("*")
    for naive in CronSim(window.schedule, after):
        if until is not None and naive > until:
            return
        real = naive
        while _is_left_out(real, zone):
            real = real.replace(second=0) + _MINUTE
        first = real.replace(tzinfo=zone).astimezone(UTC)
        yield naive, first
        if any_hour and (second := real.replace(tzinfo=zone, fold=1).astimezone(UTC)) != first:
            yield naive, second


def _is_left_out(naive: datetime, zone: ZoneInfo) -> bool:
    return naive.replace(tzinfo=zone).astimezone(UTC).astimezone(zone).replace(tzinfo=None) != naive


def _local(moment: datetime, zone: ZoneInfo) -> datetime:
    return moment.astimezone(zone).replace(tzinfo=None)


def _margin(moment: datetime, zone: ZoneInfo) -> timedelta:
    """How much local clocks may mislead about the order of what is near this moment: nothing, unless they are changed
    there."""
    before, after = ((moment + each).astimezone(zone).utcoffset() for each in (-_CHANGE, _CHANGE))
    return timedelta(0) if before == after else _CHANGE
