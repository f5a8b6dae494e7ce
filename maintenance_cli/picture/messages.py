"""A message as peeking shows it, and what cannot be known. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from maintenance.domain.redaction import redact
from maintenance_cli.exits import Code

# Above this a sequence number holds a partition, and the numbers are in no order.
PARTITIONED = 1 << 48


@dataclass(frozen=True, slots=True)
class Entity:
    """A queue, or `topic/subscription`; `dead`: its dead-letter queue. `is_topic`: a topic itself."""

    path: str
    dead: bool = False
    is_topic: bool = False

    @property
    def topic(self) -> str | None:
        return self.path.partition("/")[0] if "/" in self.path else None

    @property
    def dead_letters(self) -> Entity:
        return Entity(self.path, dead=True)

    def __str__(self) -> str:
        return f"the dead letters of {self.path}" if self.dead else self.path


@dataclass(frozen=True, slots=True, kw_only=True)
class Peeked:
    """A message that was peeked. `due`: when it becomes visible, None where it is not scheduled. `delivery_count`: how
    many deliveries failed. `section`: of the AMQP message that holds the body. Times are Service Bus's own."""

    number: int
    message_id: str
    body: bytes
    subject: str = ""
    correlation_id: str | None = None
    properties: Mapping[str, str] = field(default_factory=dict)
    enqueued_at: datetime | None = None
    due: datetime | None = None
    delivery_count: int = 0
    section: str = "data"
    content_type: str | None = None
    dead_letter_reason: str | None = None
    dead_letter_description: str | None = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """What could not be read: why, and the exit code where all depends on it."""

    entity: Entity
    why: str
    code: Code


Read = tuple[Peeked, ...] | Unknown


def messages_of(read: Read | None) -> tuple[Peeked, ...]:
    """The messages; none where they are not known."""
    return read if isinstance(read, tuple) else ()


def reason_of(message: Peeked) -> str:
    """Why Service Bus gave it up."""
    parts = (message.dead_letter_reason, message.dead_letter_description)
    return redact(": ".join(part for part in parts if part)) or "no reason was given"
