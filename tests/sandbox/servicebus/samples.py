"""Messages and queues for the tests of the broker."""

from collections.abc import Mapping
from datetime import timedelta
from uuid import UUID

from sandbox.clock import HandMovedClock, milliseconds
from sandbox.servicebus.amqp.codec import Timestamp, Uint
from sandbox.servicebus.broker.broker import Broker
from sandbox.servicebus.broker.events import BusEvent
from sandbox.servicebus.broker.messages import (
    ANNOTATIONS,
    APPLICATION_PROPERTIES,
    DATA,
    HEADER,
    PROPERTIES,
    SCHEDULED_ENQUEUE_TIME,
    Message,
    parse,
    section,
)
from sandbox.servicebus.broker.storage import QueuedMessage
from sandbox.servicebus.topology.topology import Topology

Properties = Mapping[str, object]


def message(
    message_id: str | None = None,
    *,
    body: bytes = b"",
    ttl: timedelta | None = None,
    due: int | None = None,
    properties: Properties | None = None,
    **system: object,
) -> Message:
    """A message as a client sends it. ``system`` takes subject, to, correlation_id …"""
    places = ["message_id", "user_id", "to", "subject", "reply_to", "correlation_id", "content_type"]
    listed = [message_id if place == "message_id" else system.get(place) for place in places]
    encoded = b""
    if ttl is not None:
        encoded += section(HEADER, [None, None, Uint(ttl / timedelta(milliseconds=1))])
    if due is not None:
        encoded += section(ANNOTATIONS, {SCHEDULED_ENQUEUE_TIME: Timestamp(due)})
    encoded += section(PROPERTIES, listed)
    if properties is not None:
        encoded += section(APPLICATION_PROPERTIES, dict(properties))
    return parse(encoded + section(DATA, body))


class Bench:
    """A broker with a hand-moved clock, and its events."""

    def __init__(self, document: Mapping[str, object]) -> None:
        self.clock = HandMovedClock()
        self.broker = Broker(
            Topology.parse({"UserConfig": {"Namespaces": [{"Name": "test", **document}]}}),
            lambda: milliseconds(self.clock()),
        )
        self.published: list[BusEvent] = []
        self.broker.observers.append(self.published.append)

    @property
    def now(self) -> int:
        """Milliseconds."""
        return self.broker.now()

    def after(self, **duration: float) -> int:
        """A time from now."""
        return self.now + timedelta(**duration) // timedelta(milliseconds=1)

    def advance(self, **duration: float) -> None:
        """Let time pass and everything due happen."""
        self.clock.advance(timedelta(**duration))
        self.broker.elapse()

    def send(self, entity: str, *messages: Message) -> None:
        """Send."""
        self.broker.send(entity, messages)

    def receive(self, entity: str) -> QueuedMessage | None:
        """Lock the next message."""
        return self.broker.queue(entity).take(self.now, locking=True)

    def lock(self, entity: str) -> UUID:
        """Lock the next message, which there is."""
        queued = self.receive(entity)
        assert queued is not None
        assert queued.lock_token is not None
        return queued.lock_token

    def ids(self, entity: str) -> list[object]:
        """The ids of all messages that lie in an entity."""
        return [queued.message.message_id for queued in self.broker.queue(entity).peek(0, 1000, self.now)]

    def waiting(self, entity: str) -> list[object]:
        """The ids of all messages that can be received, which they are thereby."""
        taken = []
        while (queued := self.broker.queue(entity).take(self.now, locking=False)) is not None:
            taken.append(queued.message.message_id)
        return taken


def queue(name: str = "q", **properties: object) -> dict[str, object]:
    """A queue of a topology."""
    return {"Name": name, "Properties": properties}


def one_queue(**properties: object) -> Bench:
    """A broker with one queue, ``q``."""
    return Bench({"Queues": [{"Name": "q", "Properties": properties}]})
