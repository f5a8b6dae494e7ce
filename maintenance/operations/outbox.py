"""X"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from maintenance.domain.messages import MaintenanceEvent, Record
from maintenance.domain.operation import Operation
from maintenance.lifecycle.actions import End, Wait
from maintenance.operations.records import to_record

logger = logging.getLogger(__name__)
RETRY_AFTER = timedelta(minutes=1)
Persisted = tuple[Operation, datetime]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatch:
    """Events, and the operation to persist with its due time, in the order of the fields."""

    request_id: str
    events: tuple[MaintenanceEvent, ...]
    persist: Persisted | None
    persist_if_unpublished: Persisted
    publish_after: tuple[MaintenanceEvent, ...] = ()
    release_lease: bool = False


def dispatch(result: Wait | End, now: datetime) -> Dispatch:
    """What becomes of a run's result.

    An end that leaves instances untouched is persisted before it is published (`End.commit`): if the process dies between,
    the record that is read next says that it has ended, and how.
    """
    operation = result.operation
    events = (*operation.outbox, *result.events)
    emptied = _with_outbox(operation, ())
    match result:
        case Wait(due=due):
            return Dispatch(
                request_id=operation.request_id,
                events=events,
                persist=(emptied, due),
                persist_if_unpublished=(_with_outbox(operation, events), due),
            )
        case End(commit=True):
            *before, last = events
            return Dispatch(
                request_id=operation.request_id,
                events=tuple(before),
                persist=(emptied, now),
                persist_if_unpublished=(replace(operation, outbox=tuple(before)), now),
                publish_after=(last,),
            )
        case End():
            untold = replace(operation, outbox=events[:-1])
            return Dispatch(
                request_id=operation.request_id,
                events=events,
                persist=None,
                persist_if_unpublished=(_later(untold), now + RETRY_AFTER),
                # Whether this record knows of a notice or not: one that came twice may have been planned twice, the
                # second time in more waves, with a notice that the record that was kept knows nothing of.
                release_lease=True,
            )


def record_to_persist(outcome: Dispatch, *, published: bool) -> Record | None:
    """What goes into the operations queue, once it is known whether the events were published.

    Events of the past that make the record too large are left out; the end of the request is in it in any case.
    Raises ValueError where the operation itself is too large.
    """
    if published or not outcome.events:
        return to_record(*outcome.persist) if outcome.persist else None
    operation, due = outcome.persist_if_unpublished
    try:
        return to_record(operation, due)
    except ValueError as error:
        logger.error("%d events are lost: %s", len(operation.outbox), error)
        return to_record(replace(operation, outbox=()), due)


def _with_outbox(operation: Operation, events: tuple[MaintenanceEvent, ...]) -> Operation:
    # Most have nothing to tell, and a copy of an operation costs as much as reading it.
    return operation if operation.outbox == events else replace(operation, outbox=events)


def _later(operation: Operation) -> Operation:
    """A further record needs a further id, or duplicate detection takes it for the last one."""
    return replace(operation, revision=operation.revision + 1)
