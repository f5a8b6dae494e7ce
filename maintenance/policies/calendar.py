"""Windows and blackouts together: may a wave start now, and if not, when at the earliest? Pure.

A wave may start where a window is open in each of the groups (the app's, the request's, the scale set's) that has any,
and no blackout is in force.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from maintenance.domain.calendars import Blackout, Deferral, Window
from maintenance.policies.windows import last_opening, next_opening, zone_of

# Further ahead nothing is looked for: beyond it lies the deadline of every request.
_HORIZON = timedelta(days=400)
# Groups that are hardly ever open at the same time would take for ever: half a second of work at the most.
_MOST_STEPS = 500


@dataclass(frozen=True, slots=True)
class Calendar:
    """When waves may start; without groups and blackouts, always."""

    groups: tuple[tuple[Window, ...], ...] = ()
    blackouts: tuple[Blackout, ...] = ()

    def narrowed(self, windows: tuple[Window, ...]) -> Calendar:
        """The same, and inside one of these windows, if there are any."""
        return replace(self, groups=(*self.groups, windows)) if windows else self

    def closed(self, now: datetime) -> Deferral | None:
        """Why no wave may start now, and until when; None where one may start."""
        blackout = self._blackout(now)
        if blackout is None and all(_is_open(group, now) for group in self.groups):
            return None
        until = self.next_start(now)
        then = f"the next start is at {until.isoformat()}" if until else "it never ends"
        if blackout is not None:
            because = f" ({blackout.reason})" if blackout.reason else ""
            ends = f"Blackout until {blackout.end.isoformat()}{because}"
            return Deferral("Blackout", f"{ends}; {then}." if until != blackout.end else f"{ends}.", until)
        then = f"the next opens at {until.isoformat()}" if until else "none opens any more"
        return Deferral("Window", f"No maintenance window is open; {then}.", until)

    def next_start(self, now: datetime) -> datetime | None:
        """The first moment from now at which a wave may start; None where there is none."""
        at = now
        for _ in range(_MOST_STEPS):
            if at > now + _HORIZON:
                return None
            if (blackout := self._blackout(at)) is not None:
                at = blackout.end
                continue
            shut = [_next_opening(group, at) for group in self.groups if not _is_open(group, at)]
            if not shut:
                return at
            openings = [opening for opening in shut if opening is not None]
            if len(openings) < len(shut):
                return None
            at = max(openings)
        return None

    def closes(self, now: datetime) -> datetime | None:
        """When it closes next at the earliest, given that it is open now; None where nothing closes it. A window that
        overlaps with this one may keep it open for longer."""
        ends = [max(_ends(group, now), default=now) for group in self.groups]
        return min((*ends, *(each.start for each in self.blackouts if each.start > now)), default=None)

    def starts(self, now: datetime) -> Iterator[datetime]:
        """The next times at which waves may start, each after none could; those of about a year."""
        at: datetime | None = now
        while at is not None and (start := self.next_start(at)) is not None:
            yield start
            at = start
            for _ in range(_MOST_STEPS // 2):
                at = self.closes(at)
                if at is None or at > now + _HORIZON:
                    return
                if self.closed(at) is not None:
                    break
            else:
                return

    def _blackout(self, now: datetime) -> Blackout | None:
        """The one in force that lasts longest."""
        found = (each for each in self.blackouts if each.start <= now < each.end)
        return max(found, key=lambda each: each.end, default=None)


def moments(text: str, zone_name: str) -> tuple[datetime, datetime]:
    """A local time as a moment, twice: the earlier and the later one where clocks show it twice, or leave it out.
    Raises ValueError for what is no time."""
    local = datetime.fromisoformat(text)
    if local.tzinfo is not None:
        return local.astimezone(UTC), local.astimezone(UTC)
    both = [local.replace(tzinfo=zone_of(zone_name), fold=fold).astimezone(UTC) for fold in (0, 1)]
    return min(both), max(both)


def _is_open(group: tuple[Window, ...], now: datetime) -> bool:
    return any(last_opening(window, now) is not None for window in group)


def _next_opening(group: tuple[Window, ...], now: datetime) -> datetime | None:
    openings = (opening for window in group if (opening := next_opening(window, now)) is not None)
    return min(openings, default=None)


def _ends(group: tuple[Window, ...], now: datetime) -> Iterator[datetime]:
    for window in group:
        if (opened := last_opening(window, now)) is not None:
            yield opened + window.duration
