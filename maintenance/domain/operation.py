"""The record of one request's maintenance under way, as it stands in the `maintenance-operations` queue.

It carries everything: nothing is kept in memory between two runs. `phase` says what the next run does with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Literal

from maintenance.domain import message_ids
from maintenance.domain.messages import MaintenanceEvent
from maintenance.domain.observations import ErrorDetail, UrlKind
from maintenance.domain.resources import ScaleSet

Ended = Literal["succeeded", "failed", "canceled", "refused", "unknown", "unreported", "gone", "foreign", "unsent"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """The request's `rollout` options. The defaults: everything in one wave, stop at the first failure.

    `max_instances_per_wave` is a number, or a percentage of the instances to maintain as `"20%"`. `health_timeout`: how
    long a wave's instances may take to be healthy again before the next wave is given up.
    """

    max_instances_per_wave: int | str | None = None
    by_update_domain: bool = False
    pause_between_waves: timedelta = timedelta(0)
    max_failed_instances: int = 0
    health_timeout: timedelta = timedelta(minutes=10)

    @property
    def limited(self) -> bool:
        """Whether fewer instances than all may be down at once."""
        return self.max_instances_per_wave is not None or self.by_update_domain

    def wave_size(self, total: int) -> int:
        """How many instances a wave may hold when `total` are to be maintained; a percentage is rounded down."""
        match self.max_instances_per_wave:
            case None:
                return max(total, 1)
            case str(percentage):
                return max(total * int(percentage.removesuffix("%")) // 100, 1)
            case int(number):
                return max(number, 1)


class Phase(StrEnum):
    """Planning: read the views, split into waves. Posting: a wave is to be started, or it is not known whether it
    was. Following: ARM works on it, or has ended and the views must confirm it. Finished: only the event is owed."""

    PLANNING = "planning"
    POSTING = "posting"
    TRACKING = "tracking"
    FINISHED = "finished"


class Status(StrEnum):
    """How a request ended, as `completed` events say it."""

    SUCCEEDED = "Succeeded"
    PARTIALLY_SUCCEEDED = "PartiallySucceeded"
    FAILED = "Failed"
    CANCELED = "Canceled"
    TIMED_OUT = "TimedOut"
    NOTHING_TO_DO = "NothingToDo"
    REJECTED = "Rejected"


class Result(StrEnum):
    """What became of one instance."""

    COMPLETED = "Completed"
    ALREADY_COMPLETED = "AlreadyCompleted"
    FAILED = "Failed"
    SKIPPED = "Skipped"
    NOT_FOUND = "NotFound"
    NOT_ATTEMPTED = "NotAttempted"
    UNKNOWN = "Unknown"
    WOULD_MAINTAIN = "WouldMaintain"


@dataclass(frozen=True, slots=True)
class Call:
    """One performMaintenance call of the current wave. `ended` is ARM's last word on it, None while it runs;
    `unknown` where it may not have been sent, `untold` where ARM took it and does not tell how it goes, `gone` where
    ARM no longer keeps it: there the instance views must tell; `foreign` where somebody else's update is waited for,
    `unsent` where ARM had no room for it. No `instance_ids`: the whole scale set."""

    instance_ids: tuple[str, ...]
    url: str | None = None
    kind: UrlKind = "async-operation"
    ended: Ended | None = None
    error: ErrorDetail | None = None

    def covers(self, instance_id: str) -> bool:
        return not self.instance_ids or instance_id in self.instance_ids


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one instance, in which wave (from 0), and why."""

    result: Result
    message: str | None = None
    wave: int | None = None


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One request's maintenance. Times are aware.

    `revision` numbers the records of the current wave, from 0; -1 before the first. `error` is how ARM says it failed,
    `trouble` the last that kept us from asking, which passes. `outbox` holds events that could not be published yet.
    """

    request_id: str
    scale_set: ScaleSet
    requested_at: datetime
    deadline: datetime
    targets: tuple[str, ...] | None = None
    rollout: Rollout = field(default_factory=Rollout)
    reject_ineligible: bool = False
    flexible: bool | None = None
    dry_run: bool = False
    reason: str | None = None
    correlation_id: str | None = None
    trace: Mapping[str, str] = field(default_factory=dict)

    phase: Phase = Phase.PLANNING
    waves: tuple[tuple[str, ...], ...] = ()
    wave: int = 0
    revision: int = -1
    calls: tuple[Call, ...] = ()
    outcomes: Mapping[str, Outcome] = field(default_factory=dict)
    started_at: datetime | None = None
    posted_at: datetime | None = None
    views_read_at: datetime | None = None
    confirming_since: datetime | None = None
    recovering_since: datetime | None = None
    failures: int = 0
    accepted_published: bool = False
    holds_lease: bool = False
    stopped_before: tuple[str, ...] = ()
    error: ErrorDetail | None = None
    transient_error: ErrorDetail | None = None
    status: Status | None = None
    ended_at: datetime | None = None
    outbox: tuple[MaintenanceEvent, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def message_id(self) -> str:
        """Deterministic, so that the queue's duplicate detection keeps one successor of every record."""
        return message_ids.record(self.request_id, self.wave, self.revision)

    @property
    def current_wave(self) -> tuple[str, ...]:
        return self.waves[self.wave] if self.wave < len(self.waves) else ()

    @property
    def may_have_posted(self) -> bool:
        """Whether ARM may have been asked to start anything for this request."""
        return self.started_at is not None or self.posted_at is not None or bool(self.calls) or self.wave > 0

    def with_next_revision(self) -> Operation:
        """The same, as the next record of its wave."""
        # `replace` takes twenty times as long, and every poll of every operation ends here. What `records` keeps beside
        # the fields comes along.
        following = object.__new__(Operation)
        following.__dict__.update(self.__dict__, revision=self.revision + 1)
        return following

    def with_outcomes(self, found: Mapping[str, Outcome]) -> Operation:
        return replace(self, outcomes={**self.outcomes, **found}) if found else self

    def count(self, *results: Result) -> int:
        return sum(outcome.result in results for outcome in self.outcomes.values())

    def describe(self) -> str:
        """The operation in a few words, for the log."""
        if self.status is not None:
            return f"ended as {self.status.value} on {self.scale_set}"
        wave = f"wave {self.wave + 1} of {len(self.waves)}" if self.waves else "not planned yet"
        return f"{self.phase.value}, {wave}, on {self.scale_set}"
