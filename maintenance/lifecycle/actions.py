"""What the state machine asks for (actions) and what it is handed back (observations). Pure.

An action either asks the shell to do one thing and hand back what it observed (`Read`, `TakeLease`, `Poll`, `Submit`,
`ReleaseLease`), or ends the delivery: `Continue` with the next record, `Done` with none, `LeaveToJudge` where the next
record is there already.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from maintenance.coordination.entries import Entry, Lease, StaleViews
from maintenance.domain.instances import Instance
from maintenance.domain.observations import ErrorDetail, Reading, Submission
from maintenance.domain.operation import Call, Operation
from maintenance.lifecycle.rules import Timing
from maintenance.policies.tags import TagPolicy


@dataclass(frozen=True, slots=True)
class Read:
    """Read the coordination queue, or the instance views asked for after `newer_than`, or both; beside the views the
    tags, where `tags` says so."""

    operation: Operation
    views: bool
    coordination: bool
    newer_than: datetime | None = None
    tags: bool = False


@dataclass(frozen=True, slots=True)
class TakeLease:
    """Take the run's lease until then, with the limit that the run keeps to, how many instances it takes down at once
    and where, and read the coordination queue after it."""

    operation: Operation
    state_read: StateRead
    until: datetime
    limit: int | None = None
    instances: int | None = None
    region: str | None = None

    @property
    def lease(self) -> Lease:
        return Lease(
            run_id=self.operation.run_id,
            request_id=self.operation.request_id,
            scale_set=self.operation.scale_set.key,
            until=self.until,
            content=self.operation.content,
            limit=self.limit,
            instances=self.instances,
            region=self.region,
        )


@dataclass(frozen=True, slots=True)
class Poll:
    """Read the operation URLs of `calls`."""

    operation: Operation
    calls: tuple[Call, ...]


@dataclass(frozen=True, slots=True)
class Submit:
    """Send `judge` for `due`, complete the record that is being delivered, and only where Service Bus confirmed that:
    call performMaintenance once for each of `groups` (None: the whole scale set, without a body) while the stopwatch
    and the age of what was read (`state_read_at`) allow, and not from `until` on.

    `instead`: nothing is to be posted, and this record is sent after the completion.
    """

    operation: Operation
    judge: Operation
    due: datetime
    groups: tuple[tuple[str, ...] | None, ...]
    state_read_at: datetime
    instead: Continue | None = None
    until: datetime | None = None

    def seconds_left(self, timing: Timing, began_at: datetime, decided_at: datetime) -> float:
        """How long after it was begun a call may be sent. What was read before may be older than that moment; the clock
        and the stopwatch run alike for so short a time. `decided_at` is Service Bus's time where the clock is behind
        it."""
        read_ago = max((began_at - self.state_read_at).total_seconds(), 0.0)
        left = min(timing.stopwatch.total_seconds(), timing.state_age.total_seconds() - read_ago)
        return left if self.until is None else min(left, (self.until - max(began_at, decided_at)).total_seconds())


@dataclass(frozen=True, slots=True)
class ReleaseLease:
    """Read the coordination queue and cancel the run's lease in it. Where there is none: use up its id.

    `note`: put this up first. None: the run did nothing that views could be too old to show.
    """

    operation: Operation
    note: StaleViews | None = None


@dataclass(frozen=True, slots=True)
class Continue:
    """Send the next record for `due`, then complete the one that is being delivered."""

    operation: Operation
    due: datetime


@dataclass(frozen=True, slots=True)
class Done:
    """Complete the record that is being delivered: the run has no further one."""

    operation: Operation


@dataclass(frozen=True, slots=True)
class LeaveToJudge:
    """The JUDGE record that was sent before the POST speaks next."""

    operation: Operation


Action = Read | TakeLease | Poll | Submit | ReleaseLease | Continue | Done | LeaveToJudge


@dataclass(frozen=True, slots=True)
class Delivered:
    """The record was delivered; `redelivered`: not for the first time."""

    redelivered: bool = False


@dataclass(frozen=True, slots=True)
class StateRead:
    """What was read. `instances` is None where the views were not asked for. `asked_at`: when the older of the two was
    asked for; `views_asked_at`: when the views were. `tags` is None where they were not asked for."""

    entries: Sequence[Entry] = ()
    instances: Sequence[Instance] | None = None
    flexible: bool = False
    asked_at: datetime | None = None
    views_asked_at: datetime | None = None
    tags: TagPolicy | None = None


@dataclass(frozen=True, slots=True)
class LeaseTaken:
    """The run's lease is up. `state_read` has what was read before, with the entries read after it."""

    state_read: StateRead


@dataclass(frozen=True, slots=True)
class OperationRead:
    """The operation URLs were read, each with its call."""

    readings: Sequence[tuple[Call, Reading]]


# The ids that were posted together, None for the whole scale set; ARM's response, or None where it was not sent.
Posted = tuple[tuple[str, ...] | None, Submission | None]


@dataclass(frozen=True, slots=True)
class Submitted:
    """performMaintenance was called once for each of these, or was not: see `Submit`. `began_at`: before JUDGE was
    sent; `sent_at`: after it, before the first call."""

    posted: Sequence[Posted]
    began_at: datetime
    sent_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class NotTheOne:
    """Service Bus did not confirm that the POST record was completed: another delivery may act on it."""


@dataclass(frozen=True, slots=True)
class LeaseReleased:
    """`found`: the run's lease was seen, and canceled. Otherwise its id was used up."""

    found: bool


@dataclass(frozen=True, slots=True)
class Unavailable:
    """What was asked for could not be read, for now. `status`: the HTTP status, None where no response came."""

    error: ErrorDetail
    retry_after: timedelta | None = None
    status: int | None = None


@dataclass(frozen=True, slots=True)
class Denied:
    """ARM refuses to show the instance views: nothing can be started or confirmed."""

    error: ErrorDetail


@dataclass(frozen=True, slots=True)
class Untrusted:
    """ARM's response points somewhere that must not be followed: nothing it says can be relied on.

    `in_flight`: another POST of the same batch got no response, and may still arrive.
    """

    error: ErrorDetail
    in_flight: bool = False


Observation = (
    Delivered
    | StateRead
    | LeaseTaken
    | OperationRead
    | Submitted
    | NotTheOne
    | LeaseReleased
    | Unavailable
    | Denied
    | Untrusted
)
