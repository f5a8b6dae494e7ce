"""The links of a session: from a client into an entity, from a queue to a client, and for responses.

OASIS AMQP 1.0, part 2, section 2.6.
"""

from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from sandbox.servicebus.amqp.composites import Composite
from sandbox.servicebus.amqp.outcomes import AmqpError, Rejected
from sandbox.servicebus.amqp.performatives import Attach, Flow, Transfer
from sandbox.servicebus.broker.annotations import broker_annotations
from sandbox.servicebus.broker.errors import BrokerError
from sandbox.servicebus.broker.messages import Message
from sandbox.servicebus.broker.queues import Queue
from sandbox.servicebus.broker.storage import QueuedMessage

CREDIT: Final = 1000  # messages that a client may send ahead; renewed when half of it is used


class LinkSession(Protocol):
    """The session of a link, as far as links and targets use it."""

    @property
    def links(self) -> "tuple[Link, ...]":
        """The links that are attached."""

    @property
    def can_deliver(self) -> bool:
        """Whether a message would be sent at once."""

    def send_flow(self, link: "Link | None" = None, *, drain: bool = False) -> None:
        """Send the state of the session, and of a link."""

    def settle_incoming(self, delivery_id: int, outcome: Composite) -> None:
        """Send the outcome of a delivery from the client."""

    def deliver(self, link: "Link", tag: bytes, message: bytes, *, lock: tuple[Queue, QueuedMessage] | None) -> None:
        """Send a message to the client."""

    def detach(self, link: "Link", error: AmqpError) -> None:
        """Detach a link with an error."""


class LinkTarget(Protocol):
    """Takes the messages that a client sends on a link."""

    def take(self, session: LinkSession, data: bytes, message_format: int) -> Composite:
        """Take a complete delivery; returns its outcome. Raises :class:`BrokerError` or :class:`CodecError`."""


class LinkConsumers(Protocol):
    """Distributes the messages of queues among the links that receive from them."""

    def join(self, link: "DeliveryLink") -> None:
        """A link receives from its queue from now on."""

    def leave(self, link: "DeliveryLink") -> None:
        """A link is closed."""

    def feed(self, queue: Queue) -> None:
        """Deliver on the next turn of the loop: a message or a ready link may have come."""

    def feed_now(self, queue: Queue) -> None:
        """Deliver at once."""


class Link:
    """What all links have. ``credit`` is how many more messages the receiving side accepts."""

    def __init__(self, session: LinkSession, attach: Attach, address: str) -> None:
        self.session = session
        self.handle: int = attach.handle
        self.name = attach.name
        self.address = address  # the entity's path
        self.credit = 0
        self.delivery_count = 0

    def attached(self) -> None:
        """The attach has been confirmed to the client."""

    def resume(self) -> None:
        """The session may have room again."""

    def closed(self) -> None:
        """The link is closed."""


class IncomingLink(Link):
    """A client sends. ``size_limit`` returns the largest message accepted now, in bytes."""

    def __init__(
        self,
        session: LinkSession,
        attach: Attach,
        address: str,
        target: LinkTarget,
        size_limit: Callable[[], int],
    ) -> None:
        super().__init__(session, attach, address)
        self.target = target
        self._size_limit = size_limit
        self._first: Transfer | None = None
        self._payload = bytearray()
        self._size = 0

    @property
    def receiving(self) -> bool:
        """Whether a delivery has begun and not ended."""
        return self._first is not None

    def attached(self) -> None:
        """See :class:`Link`."""
        self.credit = CREDIT
        self.session.send_flow(self)

    def on_transfer(self, transfer: Transfer, payload: bytes) -> None:
        """A frame of a delivery."""
        if self._first is None:
            self._first, self._size = transfer, 0
        first = self._first
        limit = self._size_limit()
        self._size += len(payload)
        if self._size <= limit:  # beyond it, only the size counts
            self._payload += payload
        if transfer.aborted or not transfer.more:
            data = bytes(self._payload)
            self._payload.clear()
            self._first = None
            self._use_credit()
            if not transfer.aborted:
                outcome = self._outcome(data, first, limit)
                if outcome is not None and not first.settled and first.delivery_id is not None:
                    self.session.settle_incoming(first.delivery_id, outcome)

    def _outcome(self, data: bytes, first: Transfer, limit: int) -> Composite | None:
        try:
            if self._size > limit:
                raise BrokerError(
                    "amqp:link:message-size-exceeded",
                    f"The received message (size {self._size}) exceeds the limit ({limit}).",
                )
            return self.target.take(self.session, data, first.message_format or 0)
        except BrokerError as error:
            return Rejected(AmqpError.because(error.condition, error.description))

    def _use_credit(self) -> None:
        self.delivery_count += 1
        self.credit -= 1
        if self.credit < CREDIT // 2:
            self.credit = CREDIT
            self.session.send_flow(self)


class OutgoingLink(Link):
    """A client receives; what deliveries and responses have in common."""

    def on_flow(self, flow: Flow) -> None:
        """The client grants credit, or wants what is there now and then none (drain)."""
        if flow.link_credit is not None:
            self.credit = max(0, (flow.delivery_count or 0) + flow.link_credit - self.delivery_count)
        if flow.drain:
            self.flush()
            self.delivery_count += self.credit
            self.credit = 0
            self.session.send_flow(self, drain=True)
            return
        self.resume()
        if flow.echo:
            self.session.send_flow(self)

    def flush(self) -> None:
        """Send what is there, at once."""
        self.resume()

    def _count(self) -> None:
        self.credit -= 1
        self.delivery_count += 1


class DeliveryLink(OutgoingLink):
    """A client receives from a queue, a subscription or a dead-letter queue."""

    def __init__(
        self, session: LinkSession, attach: Attach, address: str, queue: Queue, consumers: LinkConsumers
    ) -> None:
        super().__init__(session, attach, address)
        self.queue = queue
        self.locking = attach.snd_settle_mode != 1  # 1: settled when sent, receive and delete
        self.open = True
        self._consumers = consumers

    @property
    def ready(self) -> bool:
        """Whether a message would be sent at once."""
        return self.open and self.credit > 0 and self.session.can_deliver

    def attached(self) -> None:
        """See :class:`Link`."""
        self._consumers.join(self)

    def closed(self) -> None:
        """See :class:`Link`."""
        self.open = False
        self._consumers.leave(self)

    def resume(self) -> None:
        """See :class:`Link`."""
        if self.ready:
            self._consumers.feed(self.queue)

    def flush(self) -> None:
        """See :class:`OutgoingLink`."""
        if self.ready:
            self._consumers.feed_now(self.queue)

    def deliver(self, queued: QueuedMessage) -> None:
        """Send one message."""
        self._count()
        token = queued.lock_token
        # The lock token: a GUID, whose bytes Service Bus has in little-endian order.
        tag = token.bytes_le if token is not None else self.delivery_count.to_bytes(4, "big")
        data = queued.message.encoded(queued.delivery_count, broker_annotations(queued))
        self.session.deliver(self, tag, data, lock=(self.queue, queued) if token is not None else None)


class ReplyLink(OutgoingLink):
    """A client receives the responses of ``$cbs`` or of a ``$management``."""

    def __init__(self, session: LinkSession, attach: Attach, address: str, reply_to: str | None) -> None:
        super().__init__(session, attach, address)
        self.reply_to = reply_to
        self._pending: deque[Message] = deque()

    def reply(self, message: Message) -> None:
        """Send a response as soon as there is credit."""
        self._pending.append(message)
        self.resume()

    def resume(self) -> None:
        """See :class:`Link`."""
        while self._pending and self.credit > 0:
            self._count()
            data = self._pending.popleft().encoded(0, {})
            self.session.deliver(self, self.delivery_count.to_bytes(4, "big"), data, lock=None)
