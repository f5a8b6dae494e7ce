"""What tests and the page see of an entity: counts, the next due time, and its messages, untouched."""

from dataclasses import dataclass
from datetime import datetime

from sandbox.clock import moment
from sandbox.servicebus.broker.queues import Queue
from sandbox.servicebus.broker.storage import QueuedMessage, State


@dataclass(frozen=True, slots=True)
class EntityCounts:
    """Messages of an entity: ready to be received, not yet due, set aside, locked, and in its dead-letter queue."""

    active: int
    scheduled: int
    deferred: int
    locked: int
    dead_lettered: int

    @property
    def empty(self) -> bool:
        """Whether nothing is left, not even dead letters."""
        return not (self.active or self.scheduled or self.deferred or self.locked or self.dead_lettered)


@dataclass(frozen=True, slots=True)
class EntityReport:
    """An entity at a moment. ``next_due``: when the first of its scheduled messages falls due; None: there is none."""

    counts: EntityCounts
    next_due: datetime | None


@dataclass(frozen=True, slots=True)
class PeekedMessage:
    """A message as it lies in an entity. ``state`` is ``active``, ``locked``, ``deferred`` or ``scheduled``."""

    message_id: str
    body: bytes
    subject: str | None
    correlation_id: str | None
    application_properties: dict[str, object]
    scheduled_for: datetime | None
    enqueued_at: datetime
    state: str
    delivery_count: int
    sequence_number: int
    dead_letter_reason: str | None
    dead_letter_description: str | None


def report_of(store: Queue, now: int) -> EntityReport:
    """The report of a queue at a time in milliseconds."""
    store.elapse(now)
    active = scheduled = deferred = locked = 0
    next_due: int | None = None
    for queued in store.messages.values():
        if queued.lock_token is not None:
            locked += 1
        elif queued.state is State.ACTIVE:
            active += 1
        elif queued.state is State.DEFERRED:
            deferred += 1
        else:
            scheduled += 1
            due = queued.scheduled_for
            if due is not None and (next_due is None or due < next_due):
                next_due = due
    dead = len(store.dead_letters.messages) if store.dead_letters is not None else 0
    counts = EntityCounts(active, scheduled, deferred, locked, dead)
    return EntityReport(counts, None if next_due is None else moment(next_due))


def peeked(queued: QueuedMessage) -> PeekedMessage:
    """A message as it lies in its queue."""
    message = queued.message
    user = {str(key): value for key, value in message.user_properties().items()}
    subject, correlation_id = message.property("subject"), message.property("correlation_id")
    reason, description = user.get("DeadLetterReason"), user.get("DeadLetterErrorDescription")
    return PeekedMessage(
        message_id=str(message.message_id),
        body=message.payload(),
        subject=None if subject is None else str(subject),
        correlation_id=None if correlation_id is None else str(correlation_id),
        application_properties=user,
        scheduled_for=None if queued.scheduled_for is None else moment(queued.scheduled_for),
        enqueued_at=moment(queued.enqueued_at),
        state="locked" if queued.lock_token is not None else queued.state.name.lower(),
        delivery_count=queued.delivery_count,
        sequence_number=queued.sequence_number,
        dead_letter_reason=None if reason is None else str(reason),
        dead_letter_description=None if description is None else str(description),
    )
