"""One run of a request: the record of it, as it is in the `maintenance-operations` queue.

The record carries everything: nothing is kept in memory between two deliveries. `phase` says what a delivery of the
record does; what it decides is in the next record, `number + 1`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Literal

from maintenance.domain import message_ids
from maintenance.domain.calendars import Deferral, Gate, Window
from maintenance.domain.instances import Baseline
from maintenance.domain.observations import ErrorDetail, UrlKind
from maintenance.domain.redaction import redact
from maintenance.domain.resources import ScaleSet

# `unknown`: it is not known whether ARM took it. `unreported`: ARM took it and does not say how it goes. `gone`: ARM
# no longer keeps the operation, so it no longer runs.
FinalStatus = Literal["succeeded", "failed", "canceled", "unknown", "unreported", "gone"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """The request's `rollout` options. The defaults: everything in one wave, stop at the first failure.

    `max_instances_per_wave` is a number, or a percentage of the instances to maintain as `"20%"`; `tag_bound` stands
    beside it alone, and is of the other kind. `health_timeout`: how long a wave's instances may take to be healthy
    again before the next wave is given up.
    """

    max_instances_per_wave: int | str | None = None
    tag_bound: int | str | None = None
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
        given = [each for each in (self.max_instances_per_wave, self.tag_bound) if each is not None]
        sizes = (total * int(most[:-1]) // 100 if isinstance(most, str) else most for most in given)
        return max(min(sizes, default=total), 1)


class Phase(StrEnum):
    """What a delivery of the record does.

    PLAN: choose what to post next, if nothing is in the way. POST: post it. JUDGE: find out by the views whether a
    POST was taken. TRACK: follow what ARM took. END: publish the end, release the lease. REST: release the lease once
    nothing of the run can be at work.
    """

    PLAN = "plan"
    POST = "post"
    JUDGE = "judge"
    TRACK = "track"
    END = "end"
    REST = "rest"


class Status(StrEnum):
    """How a run ended, as its end event says it."""

    SUCCEEDED = "Succeeded"
    PARTIALLY_SUCCEEDED = "PartiallySucceeded"
    FAILED = "Failed"
    CANCELED = "Canceled"
    TIMED_OUT = "TimedOut"
    NOTHING_TO_DO = "NothingToDo"
    REJECTED = "Rejected"
    DUPLICATE = "Duplicate"


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
    """One performMaintenance call that ARM took, or may have taken. `ended` is its final status, None while it runs.
    No `instance_ids`: the whole scale set."""

    instance_ids: tuple[str, ...]
    url: str | None = None
    kind: UrlKind = "async-operation"
    ended: FinalStatus | None = None
    error: ErrorDetail | None = None

    def covers(self, instance_id: str) -> bool:
        return not self.instance_ids or instance_id in self.instance_ids


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one instance, in which wave (from 0; None where it needed none), and why."""

    result: Result
    message: str | None = None
    wave: int | None = None


@dataclass(frozen=True, slots=True)
class Owed:
    """An event that a delivery of the record publishes first: `accepted`, `progressed` with its wave, `deferred` with
    its wave and why, `awaiting` with its wave. Rebuilt from the record by `lifecycle.events`; `at` is the event's time.
    `began_at`, `confirmed_at`: `wave_began_at` and `wave_confirmed_at` of that wave, for its span alone."""

    kind: Literal["accepted", "progressed", "deferred", "awaiting"]
    at: datetime
    wave: int = 0
    began_at: datetime | None = field(default=None, compare=False)
    confirmed_at: datetime | None = field(default=None, compare=False)
    deferral: Deferral | None = None


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One run. Times are aware.

    `requested_at` is when Service Bus enqueued the message that brought the request. `content` is the same for requests
    that ask for the same. `batch` are the ids to post, or that were posted last (none: the whole scale set, where views
    are not read), and `baseline` is how each was shown before. `resume_at`: nothing is posted before. `leased_at`: when
    the run first saw its lease. `final_at`: when ARM's last final status was read. `updating`: those of the batch that
    were seen updating since the POST. `refused`: those that ARM refused when they were posted last. `error` is how ARM
    says it failed, `transient_error` the last that kept us from a call. `at_work`: at its end a wave may still run.
    `windows`: the request's own; `tag_windows`: the scale set's. `deferral`: what the next wave waits for now;
    `deferred`: what events have told of that, each by its wave. `awaiting_since`: when the current wave was said to
    wait at its gate; `gate_open`: it no longer does.
    """

    run_id: str
    request_id: str
    scale_set: ScaleSet
    requested_at: datetime
    deadline: datetime
    content: str = ""
    targets: tuple[str, ...] | None = None
    rollout: Rollout = field(default_factory=Rollout)
    reject_ineligible: bool = False
    windows: tuple[Window, ...] = ()
    tag_windows: tuple[Window, ...] = ()
    gate: Gate | None = None
    flexible: bool | None = None
    dry_run: bool = False
    reason: str | None = None
    correlation_id: str | None = None
    trace: Mapping[str, str] = field(default_factory=dict)

    number: int = 0
    phase: Phase = Phase.PLAN
    owed: tuple[Owed, ...] = ()
    planned: bool = False
    waves: tuple[tuple[str, ...], ...] = ()
    wave: int = 0
    batch: tuple[str, ...] = ()
    baseline: Mapping[str, Baseline] = field(default_factory=dict)
    calls: tuple[Call, ...] = ()
    outcomes: Mapping[str, Outcome] = field(default_factory=dict)
    updating: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    one_by_one: bool = False
    resume_at: datetime | None = None
    leased_at: datetime | None = None
    started_at: datetime | None = None
    posted_at: datetime | None = None
    final_at: datetime | None = None
    views_read_at: datetime | None = None
    blocked_since: datetime | None = None
    recovering_since: datetime | None = None
    failures: int = 0
    strikes: int = 0
    deferral: Deferral | None = None
    deferred: tuple[str, ...] = ()
    awaiting_since: datetime | None = None
    gate_open: bool = False
    error: ErrorDetail | None = None
    transient_error: ErrorDetail | None = None
    status: Status | None = None
    ended_at: datetime | None = None
    at_work: bool = False
    duplicate_of: str | None = None
    # For the span of the current wave alone: before its first POST that ARM took (`wave_taken`; until then before the
    # last that was tried), and when the views confirmed its last batch.
    wave_began_at: datetime | None = field(default=None, compare=False)
    wave_taken: bool = field(default=False, compare=False)
    wave_confirmed_at: datetime | None = field(default=None, compare=False)
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def message_id(self) -> str:
        return message_ids.record(self.run_id, self.number)

    @property
    def current_wave(self) -> tuple[str, ...]:
        return self.waves[self.wave] if self.wave < len(self.waves) else ()

    def left_of_wave(self) -> tuple[str, ...]:
        """Those of the current wave that have no outcome yet."""
        return tuple(instance_id for instance_id in self.current_wave if instance_id not in self.outcomes)

    def with_next_number(self) -> Operation:
        """The same, as the next record of its run."""
        # `replace` takes twenty times as long, and every poll of every operation ends here. What `records` keeps beside
        # the fields comes along.
        following = object.__new__(Operation)
        following.__dict__.update(self.__dict__, number=self.number + 1)
        return following

    def with_outcomes(self, found: Mapping[str, Outcome]) -> Operation:
        return replace(self, outcomes={**self.outcomes, **found}) if found else self

    def count(self, *results: Result) -> int:
        return sum(outcome.result in results for outcome in self.outcomes.values())

    def attributes(self) -> dict[str, str | int]:
        """What log records and spans of the run are found by. The names have a prefix of their own, since Azure Monitor
        drops those of OpenTelemetry's conventions from what queries see."""
        return {
            "vmss.maintenance.request_id": redact(self.request_id),
            "vmss.maintenance.run_id": self.run_id,
            "vmss.name": self.scale_set.name,
            "vmss.resource_id": self.scale_set.resource_id,
            **({"vmss.maintenance.status": self.status.value} if self.status is not None else {}),
        }

    def describe(self) -> str:
        """The operation in a few words, for the log."""
        if self.status is not None:
            return f"ended as {self.status.value} on {self.scale_set}"
        wave = f"wave {self.wave + 1} of {len(self.waves)}" if self.waves else "not planned yet"
        waits = f", waits for {self.deferral.waits_for.lower()}" if self.deferral else ""
        return f"{self.phase.value}, {wave}, on {self.scale_set}{waits}"


@dataclass(frozen=True, kw_only=True)
class Reply:
    """The end of a message that started no run, as a record: `rejected`, or the reply to a cancellation.

    `cancels` is the requestId that a cancellation names, `pauses` and `resumes` the scope that a pause or its end
    names, `until` the end of a pause, `proceeds` and `wave` (from 1) the requestId and the wave that a proceed names.
    `quoted` is the beginning of the message's body, `size` the length of all of it in bytes.
    """

    run_id: str
    request_id: str
    at: datetime
    source: str
    scale_set: ScaleSet | None = None
    problems: tuple[tuple[str, str, str | None], ...] = ()
    quoted: str = ""
    size: int = 0
    cancels: str | None = None
    pauses: str | None = None
    resumes: str | None = None
    proceeds: str | None = None
    wave: int | None = None
    until: datetime | None = None
    reason: str | None = None
    correlation_id: str | None = None
    trace: Mapping[str, str] = field(default_factory=dict)
    number: int = 0
    failures: int = 0

    @property
    def message_id(self) -> str:
        return message_ids.record(self.run_id, self.number)

    @property
    def accepts(self) -> dict[str, str]:
        """What its message asked for, as the event says it; empty where it was rejected."""
        asked = {
            "cancels": self.cancels,
            "pauses": self.pauses,
            "resumes": self.resumes,
            "proceeds": self.proceeds,
        }
        return {name: value for name, value in asked.items() if value is not None}
