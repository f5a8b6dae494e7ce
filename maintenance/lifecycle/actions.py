"""X"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from maintenance.domain.instances import Instance
from maintenance.domain.messages import MaintenanceEvent
from maintenance.domain.operation import Call, Operation
from maintenance.lifecycle.timing import Timing


@dataclass(frozen=True, slots=True)
class Rules:
    """How this app proceeds. `views`: whether it may read instance views; without them ARM's word is all there is.
    `queue_rollouts`: whether a request waits for another's rollout on its scale set, or is rejected."""

    timing: Timing = field(default_factory=Timing)
    views: bool = True
    queue_rollouts: bool = True


@dataclass(frozen=True, slots=True)
class Look:
    """Read the instance views of the scale set."""

    operation: Operation


@dataclass(frozen=True, slots=True)
class Claim:
    """Put up the request's notice of a rollout, and read all notices after it. `instances`: as just seen; `unplanned`:
    what is kept where the scale set turns out to be another's."""

    operation: Operation
    instances: Sequence[Instance]
    unplanned: Operation


@dataclass(frozen=True, slots=True)
class Poll:
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
    """Tell `events`, then keep the operation until `due`."""

    operation: Operation
    due: datetime
    events: tuple[MaintenanceEvent, ...] = ()


@dataclass(frozen=True, slots=True)
class End:
    """Tell `events`, the last of which ends the request. With `commit` the operation goes into the queue first: it
    leaves instances untouched, and a second run of the same message must not decide to touch them after all."""

    operation: Operation
    events: tuple[MaintenanceEvent, ...]
    commit: bool = False


Step = Look | Claim | Poll | Post | Wait | End
