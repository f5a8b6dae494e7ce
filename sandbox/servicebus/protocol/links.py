"""The links of a session: from a client into an entity, from a queue to a client, and for replies.

OASIS AMQP 1.0, part 2, section 2.6.
"""

from collections import deque
from typing import TYPE_CHECKING, Final

from sandbox.servicebus.amqp.codec import Int, Long, Symbol, Timestamp
from sandbox.servicebus.amqp.performatives import AmqpError, Attach, Composite, Flow, Rejected, Transfer
from sandbox.servicebus.broker.errors import Refusal
from sandbox.servicebus.broker.messages import Message
from sandbox.servicebus.broker.queues import Held, Queue

if TYPE_CHECKING:
    from sandbox.servicebus.protocol.sessions import AmqpSession
    from sandbox.servicebus.service.service import Entrance

CREDIT: Final = 1000  # messages that a client may send ahead; renewed when half of it is used


class Link:
    """What all links have. ``credit`` is how many more messages the receiving side takes."""

    def __init__(self, session: "AmqpSession", attach: Attach, address: str) -> None:
        self.session = session
        self.handle: int = attach.handle
        self.name = attach.name
        self.address = address  # the entity's path
        self.credit = 0
        self.delivery_count = 0

    def attached(self) -> None:
        """The client has been told that the link stands."""

    def resume(self) -> None:
        """The session may have room again."""

    def closed(self) -> None:
        """The link is no more."""


class IncomingLink(Link):
    """A client sends."""

    def __init__(self, session: "AmqpSession", attach: Attach, address: str, entrance: "Entrance") -> None:
        super().__init__(session, attach, address)
        self._entrance = entrance
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
        limit = self.session.service.max_message_size
        self._size += len(payload)
        if self._size <= limit:  # beyond it, only the size counts
            self._payload += payload
        if transfer.aborted or not transfer.more:
            data = bytes(self._payload)
            self._payload.clear()
            self._first = None
            self._used_credit()
            if not transfer.aborted:
                outcome = self._outcome(data, first, limit)
                if outcome is not None and not first.settled and first.delivery_id is not None:
                    self.session.settle_incoming(first.delivery_id, outcome)

    def _outcome(self, data: bytes, first: Transfer, limit: int) -> Composite | None:
        try:
            if self._size > limit:
                raise Refusal(
                    "amqp:link:message-size-exceeded",
                    f"The received message (size {self._size}) exceeds the limit ({limit}).",
                )
            return self._entrance.take(self.session, data, first.message_format or 0)
        except Refusal as refusal:
            return Rejected(AmqpError.because(refusal.condition, refusal.description))

    def _used_credit(self) -> None:
        self.delivery_count += 1
        self.credit -= 1
        if self.credit < CREDIT // 2:
            self.credit = CREDIT
            self.session.send_flow(self)


class OutgoingLink(Link):
    """A client receives; what is common to deliveries and replies."""

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

    def __init__(self, session: "AmqpSession", attach: Attach, address: str, queue: Queue) -> None:
        super().__init__(session, attach, address)
        self.queue = queue
        self.locking = attach.snd_settle_mode != 1  # 1: settled when sent, receive and delete
        self.open = True

    @property
    def hungry(self) -> bool:
        """Whether a message would leave at once."""
        silent = self.session.service.faults.silent  # a message handed out now would be locked and never arrive
        return self.open and self.credit > 0 and self.session.can_deliver and not silent

    def attached(self) -> None:
        """See :class:`Link`."""
        self.session.service.consumers.join(self)

    def closed(self) -> None:
        """See :class:`Link`."""
        self.open = False
        self.session.service.consumers.leave(self)

    def resume(self) -> None:
        """See :class:`Link`."""
        if self.hungry:
            self.session.service.consumers.feed(self.queue)

    def flush(self) -> None:
        """See :class:`OutgoingLink`."""
        if self.hungry:
            self.session.service.consumers.feed_now(self.queue)

    def deliver(self, held: Held) -> None:
        """Send one message."""
        self._count()
        token = held.lock_token
        # The lock token: a GUID, whose bytes Service Bus has in little-endian order.
        tag = token.bytes_le if token is not None else self.delivery_count.to_bytes(4, "big")
        data = held.message.encoded(held.delivery_count, marks(held))
        self.session.deliver(self, tag, data, lock=(self.queue, held) if token is not None else None)


class ReplyLink(OutgoingLink):
    """A client receives the answers of ``$cbs`` or of a ``$management``."""

    def __init__(self, session: "AmqpSession", attach: Attach, address: str, reply_to: str | None) -> None:
        super().__init__(session, attach, address)
        self.reply_to = reply_to
        self._pending: deque[Message] = deque()

    def reply(self, message: Message) -> None:
        """Send an answer as soon as there is credit."""
        self._pending.append(message)
        self.resume()

    def resume(self) -> None:
        """See :class:`Link`."""
        while self._pending and self.credit > 0:
            self._count()
            data = self._pending.popleft().encoded(0, {})
            self.session.deliver(self, self.delivery_count.to_bytes(4, "big"), data, lock=None)


def marks(held: Held, *, state: bool = False) -> dict[object, object]:
    """The annotations that Service Bus adds to a message it hands out."""
    added: dict[object, object] = {
        Symbol("x-opt-sequence-number"): Long(held.sequence_number),
        Symbol("x-opt-enqueued-time"): Timestamp(held.enqueued_at),
    }
    if held.lock_token is not None:
        added[Symbol("x-opt-locked-until")] = Timestamp(held.locked_until)
    if held.scheduled_for is not None:
        added[Symbol("x-opt-scheduled-enqueue-time")] = Timestamp(held.scheduled_for)
    if state or held.state:
        added[Symbol("x-opt-message-state")] = Int(held.state)
    return added
