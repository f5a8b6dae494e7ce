"""A run as an operator wants to see it: state, waves, instances, why it waits. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from maintenance.domain.resources import ScaleSet


class State(StrEnum):
    """Where a run is. The names are those of the phases, but for what has no record: `waiting` is on the requests
    queue, `unreadable` has a record of another version, `ended` has published its end, `dead letter` was given up by
    Service Bus, and the worker has not dealt with that yet."""

    WAITING = "waiting"
    PLANNING = "planning"
    POSTING = "posting"
    JUDGING = "judging"
    TRACKING = "tracking"
    ENDING = "ending"
    ENDED = "ended"
    UNREADABLE = "unreadable"
    DEAD = "dead letter"


@dataclass(frozen=True, slots=True)
class InstanceShown:
    """An instance of a run. `state`: its outcome as the events name it, else `Planned`, `Starting`, `Unclear`,
    `InMaintenance`."""

    instance_id: str
    state: str
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Wave:
    """A wave, numbered from 1. `state`: planned, next, starting, unclear, under way, partly done, done, failed, not
    started. Times are None where they are not known."""

    number: int
    state: str
    instances: tuple[InstanceShown, ...]
    posted_at: datetime | None = None
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run. `status`: how it ended. `next_at`: when its record is delivered next. `why`: what it waits for, each a
    sentence. `others`: instances in no wave. `record`: the number of its record, None where it has none that was read.
    What is None is not known, or is not yet."""

    request_id: str
    state: State
    run_id: str | None = None
    scale_set: ScaleSet | None = None
    status: str | None = None
    dry_run: bool = False
    reason: str | None = None
    correlation_id: str | None = None
    requested_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    deadline: datetime | None = None
    next_at: datetime | None = None
    why: tuple[str, ...] = ()
    held_by: str | None = None
    canceled: bool = False
    overdue: bool = False
    waves: tuple[Wave, ...] = ()
    others: tuple[InstanceShown, ...] = ()
    error: str | None = None
    duplicate_of: str | None = None
    record: int | None = None

    @property
    def is_over(self) -> bool:
        return self.state is State.ENDED

    @property
    def instances(self) -> tuple[InstanceShown, ...]:
        return (*(each for wave in self.waves for each in wave.instances), *self.others)

    @property
    def done(self) -> int:
        """How many instances have their outcome."""
        return sum(each.state not in NOT_DONE for each in self.instances)


# Instances of these states have not had what was asked for, and may yet have it, or never will.
NOT_DONE = ("Planned", "Starting", "Unclear", "InMaintenance", "NotAttempted")
