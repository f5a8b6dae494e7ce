"""An AMQP session of a connection: links by their handles, windows, and the settlement of deliveries.

OASIS AMQP 1.0, part 2, section 2.5. Not to be confused with Service Bus' message sessions, which the sandbox does
not have.
"""

from collections import deque
from typing import Final, Protocol
from uuid import UUID

from sandbox.servicebus.amqp import frames
from sandbox.servicebus.amqp.codec import CodecError, Uint, Ulong, Ushort
from sandbox.servicebus.amqp.composites import Composite
from sandbox.servicebus.amqp.outcomes import AmqpError, Rejected, delivery_state
from sandbox.servicebus.amqp.performatives import Attach, Begin, Detach, Disposition, End, Flow, Transfer
from sandbox.servicebus.broker.errors import BrokerError
from sandbox.servicebus.broker.queues import Queue
from sandbox.servicebus.broker.storage import QueuedMessage
from sandbox.servicebus.protocol.links import DeliveryLink, IncomingLink, Link, LinkSession, ReplyLink

WINDOW: Final = 2048  # transfer frames; renewed when half of it is used
HANDLES: Final = 255
_SERIAL: Final = 0x1_0000_0000  # ids are serial numbers of 32 bits (RFC 1982)


class FrameSink(Protocol):
    """The connection of a session, as far as the session uses it: frames go out there."""

    @property
    def writable(self) -> bool:
        """Whether the client reads as fast as frames are sent, and is to be sent any."""

    @property
    def max_frame(self) -> int:
        """The largest frame that the client accepts, in bytes."""

    def send(self, channel: int, body: Composite, payload: bytes = b"") -> None:
        """Send one frame."""

    def send_encoded(self, data: bytes) -> None:
        """Send a frame that is encoded already."""


class LinkFactory(Protocol):
    """Makes the links that clients attach, and settles what they deliver."""

    @property
    def max_message_size(self) -> int:
        """The largest message accepted, in bytes."""

    def link_for(self, session: LinkSession, attach: Attach) -> Link:
        """The link that a client asks for. Raises :class:`BrokerError` if there is nothing to link to."""

    def settle(self, queue: Queue, token: UUID, state: Composite | None) -> Composite:
        """Settle a delivery; returns the state to confirm with. Raises :class:`BrokerError`."""


class AmqpSession:
    """One session of a connection; a :class:`LinkSession` to its links."""

    def __init__(self, connection: FrameSink, factory: LinkFactory, channel: int, begin: Begin) -> None:
        self.over = False
        self._connection = connection
        self._factory = factory
        self._channel = channel
        self._links: dict[int, Link] = {}
        self._next_incoming_id = begin.next_outgoing_id
        self._incoming_window = WINDOW
        self._expected_delivery: int | None = None
        self._next_outgoing_id = 0
        self._remote_window: int = begin.incoming_window
        self._outbox: deque[bytes] = deque()  # transfer frames that wait for the client's window
        self._next_delivery = 0
        self._unsettled: dict[int, tuple[Queue, UUID]] = {}
        self.send(Begin(Uint(0), Uint(WINDOW), Uint(WINDOW), Uint(HANDLES), remote_channel=Ushort(channel)))

    def on_frame(self, body: Composite, payload: bytes) -> None:
        """A frame of this session. Raises :class:`CodecError` for what breaks the protocol."""
        if isinstance(body, Transfer):
            self._on_transfer(body, payload)
        elif isinstance(body, Disposition):
            self._on_disposition(body)
        elif isinstance(body, Flow):
            self._on_flow(body)
        elif isinstance(body, Attach):
            self._on_attach(body)
        elif isinstance(body, Detach):
            self._on_detach(body)
        elif isinstance(body, End):
            self.ended()
            self.send(End())
        else:
            raise CodecError(f"{type(body).__name__} has no place in a session")

    def send(self, body: Composite) -> None:
        """Send a frame of this session."""
        self._connection.send(self._channel, body)

    def ended(self) -> None:
        """The session has ended. What it delivered stays locked until the locks run out, as in Azure."""
        self.over = True
        for link in self._links.values():
            link.closed()
        self._links.clear()

    # -------------------------------------------------------------------------------------- links

    @property
    def links(self) -> tuple[Link, ...]:
        """The links that are attached."""
        return tuple(self._links.values())

    def _on_attach(self, attach: Attach) -> None:
        if attach.handle in self._links or attach.handle > HANDLES:
            raise CodecError(f"handle {attach.handle} cannot be attached")
        try:
            link = self._factory.link_for(self, attach)
        except BrokerError as error:
            # Section 2.6.3: attach without source and target, then close. The client's detach in response finds no
            # link here, and is ignored.
            self._confirm_attach(attach, established=False)
            reason = AmqpError.because(error.condition, error.description)
            self.send(Detach(attach.handle, closed=True, error=reason))
            return
        self._links[attach.handle] = link
        self._confirm_attach(attach, established=True)
        link.attached()

    def _confirm_attach(self, attach: Attach, *, established: bool) -> None:
        self.send(
            Attach(
                name=attach.name,
                handle=attach.handle,
                role=not attach.role,
                snd_settle_mode=attach.snd_settle_mode,
                rcv_settle_mode=attach.rcv_settle_mode,
                source=attach.source if established else None,
                target=attach.target if established else None,
                initial_delivery_count=Uint(0) if attach.role else None,
                max_message_size=Ulong(self._factory.max_message_size),
            )
        )

    def detach(self, link: Link, error: AmqpError) -> None:
        """Detach a link from the server's side, with an error."""
        if self._links.pop(link.handle, None) is not None:
            link.closed()
            self.send(Detach(Uint(link.handle), closed=True, error=error))

    def _on_detach(self, detach: Detach) -> None:
        link = self._links.pop(detach.handle, None)
        if link is not None:
            link.closed()
            self.send(Detach(detach.handle, closed=detach.closed))

    # ----------------------------------------------------------------------------------- incoming

    def _on_transfer(self, transfer: Transfer, payload: bytes) -> None:
        self._next_incoming_id = Uint((self._next_incoming_id + 1) % _SERIAL)
        self._incoming_window -= 1
        link = self._links.get(transfer.handle)
        if isinstance(link, IncomingLink):
            if not link.receiving:
                self._check_order(transfer)
            link.on_transfer(transfer, payload)
        # Else the server has detached the link, and the client has not processed that yet.
        if self._incoming_window < WINDOW // 2:
            self._incoming_window = WINDOW
            self.send_flow()

    def _check_order(self, transfer: Transfer) -> None:
        """Delivery ids count up by one (section 2.7.5): a client that uses one twice has lost count."""
        if transfer.delivery_id is None:
            raise CodecError("the first transfer of a delivery has no delivery-id")
        if self._expected_delivery not in (None, transfer.delivery_id):
            raise CodecError(f"delivery-id {transfer.delivery_id} where {self._expected_delivery} was next")
        self._expected_delivery = (transfer.delivery_id + 1) % _SERIAL

    def settle_incoming(self, delivery_id: int, outcome: Composite) -> None:
        """Send the outcome of a delivery from the client."""
        first = Uint(delivery_id)
        self.send(Disposition(role=True, first=first, last=first, settled=True, state=outcome.described()))

    # ----------------------------------------------------------------------------------- outgoing

    @property
    def can_deliver(self) -> bool:
        """Whether a message would be sent at once. If not, it stays unlocked in its queue."""
        return not self._outbox and self._remote_window > 0 and self._connection.writable

    def deliver(self, link: Link, tag: bytes, message: bytes, *, lock: tuple[Queue, QueuedMessage] | None) -> None:
        """Send a message on a link, in as many frames as it takes. Without a lock it goes settled."""
        number = self._next_delivery
        self._next_delivery = (number + 1) % _SERIAL
        if lock is not None and lock[1].lock_token is not None:
            self._unsettled[number] = (lock[0], lock[1].lock_token)
        room = self._connection.max_frame - 8 - 64  # a transfer with our fields encodes to less than 64 bytes
        for start in range(0, len(message) or 1, room):
            transfer = Transfer(
                handle=Uint(link.handle),
                delivery_id=Uint(number),
                delivery_tag=tag,
                message_format=Uint(0),
                settled=lock is None,
                more=start + room < len(message),
            )
            chunk = message[start : start + room]
            self._outbox.append(frames.frame(frames.AMQP, self._channel, transfer.encoded(), chunk))
        self._drain_outbox()

    def _drain_outbox(self) -> None:
        while self._outbox and self._remote_window > 0:
            self._connection.send_encoded(self._outbox.popleft())
            self._remote_window -= 1
            self._next_outgoing_id = (self._next_outgoing_id + 1) % _SERIAL

    def send_flow(self, link: Link | None = None, *, drain: bool = False) -> None:
        """Send the state of the session, and of a link."""
        self.send(
            Flow(
                next_incoming_id=self._next_incoming_id,
                incoming_window=Uint(self._incoming_window),
                next_outgoing_id=Uint(self._next_outgoing_id),
                outgoing_window=Uint(WINDOW),
                handle=Uint(link.handle) if link else None,
                delivery_count=Uint(link.delivery_count) if link else None,
                link_credit=Uint(link.credit) if link else None,
                drain=drain,
            )
        )

    def _on_flow(self, flow: Flow) -> None:
        client_has = flow.next_incoming_id or 0
        in_flight = (self._next_outgoing_id - client_has) % _SERIAL
        self._remote_window = max(0, flow.incoming_window - in_flight)
        self._drain_outbox()
        if flow.handle is not None:
            link = self._links.get(flow.handle)
            if isinstance(link, DeliveryLink | ReplyLink):
                link.on_flow(flow)
            elif link is not None and flow.echo:
                self.send_flow(link)
        elif flow.echo:
            self.send_flow()
        self.resume()

    def resume(self) -> None:
        """There may be room to send again."""
        for link in self._links.values():
            link.resume()

    def _on_disposition(self, disposition: Disposition) -> None:
        if not disposition.role:  # of a sender, about what it sent: all of that is settled here already
            return
        first, last = disposition.first, disposition.first if disposition.last is None else disposition.last
        state = delivery_state(disposition.state)
        if last - first < len(self._unsettled):
            settled = [number for number in range(first, last + 1) if number in self._unsettled]
        else:
            settled = [number for number in self._unsettled if first <= number <= last]
        for number in settled:
            queue, token = self._unsettled[number]
            if state is None and not disposition.settled:
                continue
            try:
                outcome = self._factory.settle(queue, token, state)
            except BrokerError as error:
                outcome = Rejected(AmqpError.because(error.condition, error.description))
            del self._unsettled[number]
            if not disposition.settled:
                at = Uint(number)
                self.send(Disposition(role=False, first=at, last=at, settled=True, state=outcome.described()))
