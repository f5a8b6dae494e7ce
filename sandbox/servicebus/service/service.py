"""The Service Bus service: addresses to entities, ``$cbs``, settlement, and the broker's timer."""

import asyncio
import re
from uuid import UUID

from sandbox.servicebus.amqp.codec import CodecError, Described, Int, Symbol
from sandbox.servicebus.amqp.composites import Composite
from sandbox.servicebus.amqp.outcomes import Accepted, Modified, Rejected, Released, error_of
from sandbox.servicebus.amqp.performatives import Attach
from sandbox.servicebus.broker.broker import Broker
from sandbox.servicebus.broker.errors import BrokerError, not_implemented
from sandbox.servicebus.broker.messages import BATCH_FORMAT, parse, parse_batch
from sandbox.servicebus.broker.queues import Queue
from sandbox.servicebus.protocol.connections import Connection
from sandbox.servicebus.protocol.consumers import Consumers
from sandbox.servicebus.protocol.links import DeliveryLink, IncomingLink, Link, LinkSession, LinkTarget, ReplyLink
from sandbox.servicebus.service.administration import Administration
from sandbox.servicebus.service.authorization import AuthorizationTarget, TokenCheck
from sandbox.servicebus.service.fault_state import FaultState
from sandbox.servicebus.service.management import Management
from sandbox.servicebus.service.memory import FreedMemory
from sandbox.servicebus.service.peek_pages import PeekPages
from sandbox.servicebus.service.replies import request_of, respond

MANAGEMENT = "/$management"
SESSION_FILTER = "com.microsoft:session-filter"
SOURCE, TARGET = 0x28, 0x29


class Service:
    """What the connections of one server share. Runs on the server's loop."""

    def __init__(
        self,
        broker: Broker,
        faults: FaultState,
        loop: asyncio.AbstractEventLoop,
        *,
        max_message_size: int,
        timed: bool,
        peek_pages: PeekPages,
        tokens: TokenCheck | None = None,
    ) -> None:
        self.tokens = tokens
        self.broker = broker
        self._administration = Administration(broker.topology)
        self.faults = faults
        self.peek_pages = peek_pages
        self.loop = loop
        self.connections: set[Connection] = set()
        self.consumers = Consumers(loop, broker.now, self.changed)
        broker.on_available = self.consumers.feed
        self._memory = FreedMemory(loop)
        self._max_message_size = max_message_size
        self._timed = timed  # whether time passes by itself
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at: int | None = None
        self._timer_pending = False
        self.closed = False

    @property
    def max_message_size(self) -> int:
        """The largest message accepted, in bytes."""
        return self.faults.max_message_size or self._max_message_size

    @property
    def unresponsive(self) -> bool:
        """Whether connections neither read nor write, as a fault has it."""
        return self.faults.unresponsive

    def administer(self, received: bytes) -> bytes | None:
        """Respond to a request of the administration API; None while its head is not complete."""
        return self._administration.respond(received)

    def check(self, path: str) -> None:
        """Raises :class:`BrokerError` if the entity is to fail, or is away."""
        self.faults.check(path, self.broker.now())

    def _size_limit(self) -> int:
        return self.max_message_size

    # -------------------------------------------------------------------------------------- time

    def changed(self) -> None:
        """Something was sent, handed out or settled: the next time to wake up may be another one."""
        self._memory.changed()
        if self._timed and not self._timer_pending:
            self._timer_pending = True
            self.loop.call_soon(self._set_timer)

    def _set_timer(self) -> None:
        self._timer_pending = False
        at = self.broker.next_wakeup()
        if at == self._timer_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_at = None, at
        if at is not None:
            # At most a day ahead: the machine's clock may be set meanwhile.
            delay = min(max(0, at - self.broker.now()) / 1000, 86_400)
            self._timer = self.loop.call_later(delay, self.wake)

    def wake(self) -> None:
        """Do what has fallen due."""
        self._timer_at = None
        self.broker.elapse()
        self.changed()

    def close(self) -> None:
        """Stop the timer and reset all connections, also those that have been accepted but not begun."""
        self.closed = True
        self._timed = False
        self._memory.close()
        if self._timer is not None:
            self._timer.cancel()
        for connection in tuple(self.connections):
            connection.abort()

    # ------------------------------------------------------------------------------------- links

    def link_for(self, session: LinkSession, attach: Attach) -> Link:
        """The link that a client asks for. Raises :class:`BrokerError` if there is nothing to link to."""
        if attach.role:
            return self._outgoing(session, attach)
        path = _address(attach.target, TARGET)
        if path.casefold() == "$cbs":
            return self._incoming(session, attach, path, AuthorizationTarget(path, self.tokens))
        if path.casefold().endswith(MANAGEMENT):
            entity = path[: -len(MANAGEMENT)]
            self.check(entity)
            return self._incoming(session, attach, entity, ManagementTarget(self, entity, path))
        self.check(path)
        store = self.broker.send_target(path)
        return self._incoming(session, attach, store.name, EntityTarget(self, store.name))

    def _incoming(self, session: LinkSession, attach: Attach, address: str, target: LinkTarget) -> IncomingLink:
        return IncomingLink(session, attach, address, target, self._size_limit)

    def _outgoing(self, session: LinkSession, attach: Attach) -> Link:
        path = _address(attach.source, SOURCE)
        if path.casefold() == "$cbs" or path.casefold().endswith(MANAGEMENT):
            reply_to = _field(attach.target, TARGET, 0)
            return ReplyLink(session, attach, path, reply_to if isinstance(reply_to, str) else None)
        self.check(path)
        filters = _field(attach.source, SOURCE, 7)
        if isinstance(filters, dict) and SESSION_FILTER in filters:
            raise not_implemented("Sessions are not part of the sandbox: a session receiver cannot be opened.")
        return DeliveryLink(session, attach, path, self.broker.queue(path), self.consumers)

    def links(self) -> list[Link]:
        """All links of all connections."""
        return [link for connection in self.connections for session in connection.sessions for link in session.links]

    # ----------------------------------------------------------------------------------- settling

    def settle(self, queue: Queue, token: UUID, state: Composite | None) -> Composite:
        """Do what a delivery state asks for; returns the state to confirm with. Raises :class:`BrokerError`."""
        self.changed()
        self.faults.check_outage(queue.name, self.broker.now())
        return self.faults.call(lambda: self._settle(queue, token, state))

    def _settle(self, queue: Queue, token: UUID, state: Composite | None) -> Composite:
        now = self.broker.now()
        if isinstance(state, Modified):
            changes = state.message_annotations or {}
            if state.undeliverable_here:
                queue.defer(token, changes, now)
            else:
                queue.abandon(token, changes, now)
            return state
        if isinstance(state, Rejected):
            error = error_of(state.error)
            info = dict(error.info or {}) if error else {}
            reason, description = info.pop("DeadLetterReason", None), info.pop("DeadLetterErrorDescription", None)
            if error is not None and description is None:
                description = error.description
            queue.dead_letter(
                token,
                str(reason) if reason is not None else None,
                str(description) if description is not None else None,
                {str(key): value for key, value in info.items()},
                now,
            )
            return Rejected()  # with an error it would mean that dead-lettering has failed
        if isinstance(state, Released):
            queue.release(token, now)
            return state
        queue.complete(token, now)  # accepted; settled without a state means the same in Service Bus
        return Accepted()


class EntityTarget:
    """A queue or a topic."""

    def __init__(self, service: Service, path: str) -> None:
        self._service = service
        self._path = path

    def take(self, session: LinkSession, data: bytes, message_format: int) -> Composite:
        """See :class:`LinkTarget`. A batch is taken whole or not at all."""
        service = self._service
        service.check(self._path)
        service.faults.check_room(self._path)
        messages = parse_batch(data) if message_format == BATCH_FORMAT else [parse(data)]
        service.changed()

        def send() -> Composite:
            service.broker.send(self._path, messages)
            return Accepted()

        return service.faults.call(send)


class ManagementTarget:
    """The ``$management`` of an entity: requests and responses in messages."""

    def __init__(self, service: Service, entity: str, path: str) -> None:
        self._service = service
        self._management = Management(service.broker, service.settle, service.peek_pages)
        self._entity = entity
        self._path = path

    def take(self, session: LinkSession, data: bytes, message_format: int) -> Composite:
        """See :class:`LinkTarget`. An error is a response with a status; the delivery is accepted."""
        service = self._service
        request = parse(data)
        service.changed()
        body: object = None
        properties: dict[object, object]
        try:
            service.check(self._entity)
            operation, arguments = request_of(request)

            def call() -> tuple[int, object]:
                return self._management.call(self._entity, operation, arguments)

            # A disposition is counted as a call where it settles.
            settles = operation == "com.microsoft:update-disposition"
            status, body = call() if settles else service.faults.call(call)
            properties = {"statusCode": Int(status), "statusDescription": "OK"}
        except BrokerError as error:
            properties = error_properties(error)
        except CodecError as error:
            properties = error_properties(BrokerError("com.microsoft:argument-error", str(error)))
        respond(session, request, self._path, properties, body)
        return Accepted()


def error_properties(error: BrokerError) -> dict[object, object]:
    """An error as the application properties of a response."""
    return {
        "statusCode": Int(error.status),
        "statusDescription": error.description,
        "errorCondition": Symbol(error.condition),
    }


def _field(terminus: Described | None, code: int, place: int) -> object:
    if terminus is None or terminus.descriptor != code or not isinstance(terminus.value, list):
        return None
    return terminus.value[place] if place < len(terminus.value) else None


def _address(terminus: Described | None, code: int) -> str:
    """The entity's path: clients send it bare, or as ``amqps://host:port/path`` even over plain TCP."""
    if terminus is not None and terminus.descriptor == 0x30:
        raise not_implemented("Transactions are not part of the sandbox.")
    address = _field(terminus, code, 0)
    if not isinstance(address, str):
        raise BrokerError("amqp:invalid-field", "A link needs an address.")
    return re.sub(r"^(?:amqps?|sb)://[^/]*", "", address).strip("/")
