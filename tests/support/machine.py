"""The state machine asked in one line, and operations at each phase to ask it about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from maintenance.coordination.entries import CancellationMarker, Entry, Lease, StaleViews
from maintenance.domain.instances import Instance
from maintenance.domain.observations import ErrorDetail, Reading, Submission
from maintenance.domain.operation import Call, Operation, Phase
from maintenance.domain.resources import Scope
from maintenance.lifecycle.actions import (
    Action,
    Continue,
    Delivered,
    OperationRead,
    StateRead,
    Submit,
    Submitted,
    Unavailable,
)
from maintenance.lifecycle.machine import next_action
from maintenance.lifecycle.rules import Rules
from maintenance.policies.tags import TagPolicy
from tests.support.samples import NOW, OPERATION_URL, RUN, SCALE_SET, SUBSCRIPTION, eligible, new_operation, seconds

EVERYWHERE = (Scope(SUBSCRIPTION),)
RULES = Rules(allowed_scopes=EVERYWHERE)
WITHOUT_VIEWS = Rules(allowed_scopes=EVERYWHERE, views=False)
OTHER_RUN = "f" * 32
ANSWERED = NOW + seconds(2)
BROKEN = ErrorDetail("HostBroken", "The host broke.")
BUSY = ErrorDetail("TooManyRequests", "Later, please.")
ALL = (eligible("0"), eligible("1"), eligible("2"))


def lease(run_id: str = RUN, number: int = 1, **changes: Any) -> Lease:
    """A lease of the sample scale set; by default the sample run's."""
    until = NOW + timedelta(hours=12)
    held = Lease(run_id=run_id, request_id="req-1", scale_set=SCALE_SET.key, until=until, number=number)
    return replace(held, **changes)


def stale(*instances: str) -> StaleViews:
    """Another run's note that views may be older than what it did to these."""
    until = NOW + timedelta(minutes=3)
    return StaleViews(run_id=OTHER_RUN, request_id="other", scale_set=SCALE_SET.key, until=until, instances=instances)


def others_lease(number: int = 1, **changes: Any) -> Lease:
    """Another run's lease, of another request."""
    return lease(OTHER_RUN, number, **{"request_id": "req-2", **changes})


def marker(**changes: Any) -> CancellationMarker:
    """A marker that cancels the sample request."""
    put = CancellationMarker(
        run_id=OTHER_RUN,
        request_id="req-1",
        scale_set=SCALE_SET.key,
        enqueued_at=NOW,
        until=NOW + timedelta(days=36),
        number=9,
    )
    return replace(put, **changes)


def deliver(operation: Operation, now: datetime = NOW, *, redelivered: bool = False, rules: Rules = RULES) -> Action:
    return next_action(rules, operation, Delivered(redelivered), now)


def read_state(
    operation: Operation,
    instances: Sequence[Instance] | None = ALL,
    now: datetime = NOW,
    *,
    entries: Sequence[Entry] = (lease(),),
    flexible: bool = False,
    rules: Rules = RULES,
    tags: TagPolicy | None = None,
) -> Action:
    """What follows from what was read just now; by default the run's own lease stands alone."""
    state_read = StateRead(entries, instances, flexible, asked_at=now, views_asked_at=now, tags=tags)
    return next_action(rules, operation, state_read, now)


def submitted(
    operation: Operation,
    *posted: tuple[tuple[str, ...] | None, Submission | None],
    now: datetime = ANSWERED,
    rules: Rules = RULES,
) -> Action:
    return next_action(rules, operation, Submitted(posted, NOW), now)


def polled(operation: Operation, *readings: Reading, now: datetime = NOW, rules: Rules = RULES) -> Action:
    """The running calls of the operation were read, in their order."""
    running = [call for call in operation.calls if call.ended is None]
    return next_action(rules, operation, OperationRead(list(zip(running, readings, strict=True))), now)


def unavailable(operation: Operation, now: datetime = NOW, *, status: int | None = None, **changes: Any) -> Action:
    return next_action(RULES, operation, Unavailable(BUSY, status=status, **changes), now)


def planned(*waves: tuple[str, ...], **changes: Any) -> Operation:
    """A PLAN record whose waves are planned."""
    return new_operation(**{"planned": True, "targets": None, "waves": waves, "leased_at": NOW, "number": 3, **changes})


def posting(*batch: str, **changes: Any) -> Operation:
    """A POST record of the first wave, whose instances were eligible when it was planned. None: the whole scale set."""
    baseline = {instance_id: eligible(instance_id).baseline for instance_id in batch}
    return planned(batch, **{"phase": Phase.POST, "batch": batch, "baseline": baseline, **changes})


def judging(*batch: str, **changes: Any) -> Operation:
    """A JUDGE record: `batch` was posted at NOW, and nobody said what became of it."""
    return replace(posting(*batch, **changes), phase=Phase.JUDGE, posted_at=NOW, number=4)


def tracking(*batch: str, calls: tuple[Call, ...] | None = None, **changes: Any) -> Operation:
    """A TRACK record: ARM took `batch` at NOW, and runs it still."""
    changes = {"started_at": NOW, "number": 5, **changes}
    tracked = replace(posting(*batch), phase=Phase.TRACK, posted_at=NOW, calls=calls or (Call(batch, OPERATION_URL),))
    return replace(tracked, **changes)


def following(action: Action) -> Operation:
    """The next record that the delivery sends."""
    return continuation(action).operation


def due(action: Action) -> datetime:
    return continuation(action).due


def continuation(action: Action) -> Continue:
    """What follows where nothing is posted: at once, or once a POST record is completed."""
    if isinstance(action, Submit):
        assert action.instead is not None, "it is posted"
        assert action.groups == ()
        return action.instead
    assert isinstance(action, Continue), action
    return action


def outcomes(action: Action) -> dict[str, str]:
    return {instance_id: outcome.result.value for instance_id, outcome in following(action).outcomes.items()}


def ended(action: Action) -> tuple[str, str | None]:
    """The status that the run ends with, and its error's code."""
    operation = following(action)
    assert operation.phase is Phase.END, operation
    assert operation.status is not None
    return operation.status.value, operation.error.code if operation.error else None
