"""Events of the broker, published to observers (the demo, tests)."""

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class BusEvent:
    """An event of a message. Entities: ``queue``, ``topic/Subscriptions/name``, ``…/$DeadLetterQueue``."""

    at: datetime
    entity: str
    message_id: str
    sequence_number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageSent(BusEvent):
    """A message was enqueued: to be received at once or, if ``scheduled_for`` is set, then.

    ``body``: its data sections one after the other; of any other body, the encoded value.
    """

    scheduled_for: datetime | None
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageReceived(BusEvent):
    """A message was delivered to a receiver. ``delivery_count`` is how many deliveries failed before."""

    delivery_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageCompleted(BusEvent):
    """A message was completed and removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageAbandoned(BusEvent):
    """A message was abandoned: unlocked, to be redelivered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageDeferred(BusEvent):
    """A message was deferred, to be received by its number only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageDeadLettered(BusEvent):
    """A message went to the dead-letter queue of ``entity``."""

    reason: str | None
    description: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageExpired(BusEvent):
    """A message outlived its time to live where expired messages are dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LockLost(BusEvent):
    """A lock expired, or was removed by a fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledMessageCancelled(BusEvent):
    """A scheduled message was cancelled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DuplicateDropped(BusEvent):
    """A message whose id had been seen was accepted and dropped; it has no sequence number (0)."""
