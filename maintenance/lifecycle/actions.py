"""What the state machine asks for (actions) and what it is handed back (observations). Pure.

An action either asks the shell to do one thing and hand back what it observed (`ReadViews`, `TakeLease`,
`PollOperation`, `Post`), or ends the run: `Wait` persists the operation for later, `End` says how the request ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from maintenance.domain.coordination import Entry
from maintenance.domain.instances import Instance
from maintenance.domain.messages import MaintenanceEvent
from maintenance.domain.observations import ErrorDetail, Reading, Submission
from maintenance.domain.operation import Call, Operation
from maintenance.domain.resources import ScaleSet, Scope
from maintenance.lifecycle.timing import Timing


@dataclass(frozen=True, slots=True)
class Rules:
    """How this app proceeds. `views`: whether it may read instance views; without them ARM's status is all there is.
    `queue_rollouts`: whether a request waits for another's lease on its scale set, or is rejected. `allowed_scopes`
    bounds what may be posted, whatever a record says: by default nothing."""

    allowed_scopes: tuple[Scope, ...] = ()
    timing: Timing = field(default_factory=Timing)
    views: bool = True
    queue_rollouts: bool = True

    def allows(self, scale_set: ScaleSet) -> bool:
        return any(scope.contains(scale_set) for scope in self.allowed_scopes)


@dataclass(frozen=True, slots=True)
class ReadViews:
    """Read the instance views of the scale set; before a wave is started, the coordination queue too."""

    operation: Operation


@dataclass(frozen=True, slots=True)
class TakeLease:
    """Put the request's lease into the coordination queue, and read all entries after it. `instances`: as just read;
    `unplanned`: what is persisted where another request holds the scale set."""

    operation: Operation
    instances: Sequence[Instance]
    unplanned: Operation


@dataclass(frozen=True, slots=True)
class PollOperation:
    """Read the operation URLs of `calls`."""

    operation: Operation
    calls: tuple[Call, ...]


@dataclass(frozen=True, slots=True)
class Post:
    """Call performMaintenance for these instances; None: for the whole scale set, without a body."""

    operation: Operation
    instance_ids: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Wait:
    """Publish `events`, then persist the operation until `due`."""

    operation: Operation
    due: datetime
    events: tuple[MaintenanceEvent, ...] = ()


@dataclass(frozen=True, slots=True)
class End:
    """Publish `events`, the last of which ends the request. With `commit` the operation is persisted first: it leaves
    instances untouched, and a second run of the same message must not decide to touch them after all."""

    operation: Operation
    events: tuple[MaintenanceEvent, ...]
    commit: bool = False


Action = ReadViews | TakeLease | PollOperation | Post | Wait | End


@dataclass(frozen=True, slots=True)
class Resumed:
    """A run begins with the operation as it was persisted."""


@dataclass(frozen=True, slots=True)
class ViewsRead:
    """The instance views, asked for at `read_at`, and the entries of the coordination queue (none while tracking)."""

    instances: Sequence[Instance]
    entries: Sequence[Entry] = ()
    flexible: bool = False
    read_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class LeaseTaken:
    """The request's lease is in the coordination queue; `entries` were read after it."""

    action: TakeLease
    entries: Sequence[Entry]


@dataclass(frozen=True, slots=True)
class OperationRead:
    """The operation URLs were read, each with its call."""

    readings: Sequence[tuple[Call, Reading]]


# The ids that were posted together, None for the whole scale set, with ARM's response.
Posted = tuple[tuple[str, ...] | None, Submission]


@dataclass(frozen=True, slots=True)
class Submitted:
    """performMaintenance was called once for each of these: a Flexible scale set takes one call for each VM."""

    posted: Sequence[Posted]


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
    """ARM's response points somewhere that must not be followed: nothing it says can be relied on."""

    error: ErrorDetail


Observation = Resumed | ViewsRead | LeaseTaken | OperationRead | Submitted | Unavailable | Denied | Untrusted
