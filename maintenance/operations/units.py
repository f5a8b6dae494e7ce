"""A tick, and the deliveries of a batch: what each holds, which events it owes, what follows."""

from __future__ import annotations

import logging
import math
from collections.abc import Container, Sequence
from dataclasses import dataclass
from datetime import datetime

from maintenance.domain.errors import BusUnavailable, MessageTooLarge, UnreadableRecord
from maintenance.domain.messages import Delivery, MaintenanceEvent, Record
from maintenance.domain.observations import ErrorDetail
from maintenance.domain.operation import Operation, Phase, Reply
from maintenance.domain.redaction import place_of, redact, traceback_of
from maintenance.lifecycle.actions import Poll, Read, Submit, Unavailable
from maintenance.lifecycle.events import owed_events, replied
from maintenance.operations.instance_views import LISTED_WITHIN, InstanceViews
from maintenance.operations.ports import UNWATCHED, Deliveries, OperationsBus, TickWatch
from maintenance.operations.records import REPLY, read_record, read_reply
from maintenance.operations.unreadable import pass_on

logger = logging.getLogger(__name__)

# Seconds that each takes at most, and 15 to settle in: it is not begun where its message's lock is not sure to last so
# long. A poll is one call (45 s) for each URL, all at once. Before a POST JUDGE is sent and the record completed; the
# last is sent `state_age` (1 min) after what was read, and takes 45 s.
TAKES: dict[type, float] = {Poll: 60.0, Read: LISTED_WITHIN + 15.0, Submit: 120.0}
NO_TIME = Unavailable(
    ErrorDetail("NoTimeLeft", "Azure responded so late that the message's lock would not have lasted.")
)
# Of the operations queue (infra/topology.json, docs/namespace.md).
MAX_DELIVERIES = 30


@dataclass(slots=True)
class Unit:
    """One delivery. `content` is a Record where that of the message could not be read (`unreadable`) and is passed on,
    None where the message is no record or belongs to no run. `until` (on the stopwatch): what could last longer is not
    begun, since its lock ends soon after. `failed`: it is left to its lock."""

    delivery: Delivery
    content: Operation | Reply | Record | None = None
    until: float = math.inf
    unreadable: bool = False
    events: tuple[MaintenanceEvent, ...] = ()
    published: bool = True
    successor: Record | None = None
    failed: bool = False
    completes: bool = False
    left_to_judge: bool = False
    settled: bool = False

    @property
    def done(self) -> bool:
        return self.settled or self.left_to_judge


@dataclass(slots=True)
class Tick:
    """One run of the timer, and what it did: messages taken, records sent on, runs that have ended, messages passed on
    unread, and those left to their lock. Of the `receivers` that it had, so many are `active`, and
    so many of these deal with a batch (`at_work`). `queue_missing`: there is no operations queue."""

    views: InstanceViews
    stop_at: float
    batch: int
    watch: TickWatch = UNWATCHED
    receivers: int = 0
    active: int = 0
    at_work: int = 0
    queue_missing: bool = False
    taken: int = 0
    persisted: int = 0
    ended: int = 0
    unreadable: int = 0
    failed: int = 0

    @property
    def counts(self) -> dict[str, int]:
        """What it did, by name."""
        names = ("taken", "persisted", "ended", "unreadable", "failed")
        return {name: getattr(self, name) for name in names}

    def __str__(self) -> str:
        return (
            f"{self.taken} taken, {self.persisted} persisted for later, {self.ended} ended, "
            f"{self.unreadable} unreadable, {self.failed} left to their lock"
        )


def read_unit(delivery: Delivery, intake: Container[str], now: datetime) -> Unit:
    """One message as it was written. `intake`: the subjects of messages that are no records. What fails unexpectedly
    here is that message's alone."""
    if delivery.delivery_count >= MAX_DELIVERIES:
        logger.warning(
            "Last delivery of message %s, number %d: if it fails too, Service Bus dead-letters it, and its run goes on "
            "with a strike",
            delivery.message_id,
            delivery.delivery_count,
        )
    try:
        if delivery.subject in intake:
            return Unit(delivery)
        try:
            content = read_reply(delivery.body) if delivery.subject == REPLY else read_record(delivery.body)
        except UnreadableRecord as error:
            return _passed_on(delivery, redact(f"{error.reason}: {error.description}")[:500], now)
        events = _owed(content)
    except Exception as error:
        # No text: what is unexpected may hold anything.
        logger.error(
            "Message %s failed unexpectedly: %s", delivery.message_id, place_of(error), extra=traceback_of(error)
        )
        return Unit(delivery, failed=True)
    return Unit(delivery, content, events=events, published=not events)


def _owed(content: Operation | Reply) -> tuple[MaintenanceEvent, ...]:
    if isinstance(content, Reply):
        return (replied(content),)
    if not content.owed and content.phase is not Phase.END:
        return ()
    return owed_events(content)


def _passed_on(delivery: Delivery, reason: str, now: datetime) -> Unit:
    record = pass_on(delivery, reason, now)
    if record is None:
        logger.error("Dropped message %s, which no run owns: %s", delivery.message_id, reason)
    else:
        logger.error("Passed record %s on unread: %s", delivery.message_id, reason)
    return Unit(delivery, record, unreadable=True)


async def publish(bus: OperationsBus, units: Sequence[Unit]) -> None:
    """Publish all that the units owe. Where that fails they owe it still. An event that is too large holds up no
    other's."""
    try:
        await bus.publish([event for unit in units for event in unit.events])
    except MessageTooLarge as error:
        if len(units) > 1:
            for unit in units:
                await publish(bus, [unit])
            return
        logger.error("Publishing the events of message %s failed: %s", units[0].delivery.message_id, error)
    except BusUnavailable as error:
        logger.error("Publishing the events of %d messages failed, and they are still owed: %s", len(units), error)
    except Exception as error:
        logger.error(
            "Publishing the events of %d messages failed unexpectedly: %s",
            len(units),
            place_of(error),
            extra=traceback_of(error),
        )
    else:
        for unit in units:
            unit.published = True


async def settle(deliveries: Deliveries, units: Sequence[Unit], tick: Tick) -> None:
    """Send the successors, then complete what they follow. One that is too large must not hold up the others. Raises
    BusUnavailable."""
    records = [unit.successor for unit in units if unit.successor is not None]
    try:
        if records:
            await deliveries.send(records)
    except MessageTooLarge as error:
        if len(units) == 1:
            logger.error("Message %s is left to its lock: %s", units[0].delivery.message_id, error)
            return
        for unit in units:
            await settle(deliveries, [unit], tick)
        return
    tick.persisted += len(records)
    await deliveries.complete_all([unit.delivery for unit in units])
    for unit in units:
        unit.settled = True
