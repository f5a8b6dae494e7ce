"""Pauses by scope, as entries of the coordination queue: what was paused, what was resumed, which is in force. Pure.

The messages that ask for them may be delivered late, twice, and in any order. So a pause and a resume carry the place
of their message in the requests queue, and the later one counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from maintenance.domain import message_ids
from maintenance.domain.calendars import Deferral

# How long the entry of a pause without an end stays up.
OPEN_ENDED = timedelta(days=3650)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Nothing new starts in this scope, until then or until it is resumed. `scope` is a scope's path in lower case.
    `enqueued_at` and `order` say when its message came; both are Service Bus's. `open_ended`: `until` says nothing."""

    run_id: str
    scope: str
    enqueued_at: datetime
    order: int
    until: datetime
    open_ended: bool = False
    reason: str | None = None
    number: int = 0

    @property
    def message_id(self) -> str:
        return message_ids.pause(self.run_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume:
    """The pauses of this scope, and of scopes within it, are over, if their messages came before this one's."""

    run_id: str
    scope: str
    enqueued_at: datetime
    order: int
    until: datetime
    number: int = 0

    @property
    def message_id(self) -> str:
        return message_ids.resume(self.run_id)

    def lifts(self, pause: Pause) -> bool:
        came_before = (pause.enqueued_at, pause.order) < (self.enqueued_at, self.order)
        return came_before and covers(self.scope, pause.scope)


def covers(scope: str, other: str) -> bool:
    """Whether a scope is another scope or scale set, or contains it; both by their paths in lower case."""
    return other == scope or other.startswith(f"{scope}/")


def lifted(entries: Iterable[object], resume: Resume) -> list[Pause]:
    """The pauses that a resume ends."""
    return [each for each in entries if isinstance(each, Pause) and resume.lifts(each)]


def pause_of(entries: Iterable[object], scale_set: str) -> Pause | None:
    """The pause in force that covers a scale set, by its key; of several the one that lasts longest."""
    entries = list(entries)
    resumes = [each for each in entries if isinstance(each, Resume)]
    covering = (each for each in entries if isinstance(each, Pause) and covers(each.scope, scale_set))
    in_force = (each for each in covering if not any(resume.lifts(each) for resume in resumes))
    return max(in_force, key=lambda pause: pause.until, default=None)


def deferral_of(pause: Pause) -> Deferral:
    """What a run waits for that is paused."""
    until = None if pause.open_ended else pause.until
    ends = f"until {until.isoformat()}" if until else "until it is resumed"
    because = f" ({pause.reason})" if pause.reason else ""
    return Deferral("Pause", f"Paused in {pause.scope} {ends}{because}.", until)
