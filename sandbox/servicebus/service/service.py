"""The service behind the wire: addresses to entities, ``$cbs``, settling, and the timer that the broker asks for."""

import asyncio
import re
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from sandbox.servicebus.amqp.codec import Described, Int, Symbol, WireError
from sandbox.servicebus.amqp.performatives import (
    Accepted,
    Attach,
    Composite,
    Modified,
    Rejected,
    Released,
    error_of,
)
from sandbox.servicebus.broker.broker import Broker
from sandbox.servicebus.broker.errors import Refusal, not_allowed, not_implemented
from sandbox.servicebus.broker.messages import BATCH_FORMAT, parse, parse_batch
from sandbox.servicebus.broker.queues import Queue
from sandbox.servicebus.protocol.consumers import Consumers
from sandbox.servicebus.protocol.links import DeliveryLink, IncomingLink, Link, ReplyLink
from sandbox.servicebus.service.management import Management
from sandbox.servicebus.service.memory import FreedMemory
from sandbox.servicebus.service.replies import request_of, respond

if TYPE_CHECKING:
    from sandbox.servicebus.protocol.connections import Connection
    from sandbox.servicebus.protocol.sessions import AmqpSession
    from sandbox.servicebus.service.fault_state import FaultState

MANAGEMENT = "/$management"
SESSION_FILTER = "com.microsoft:session-filter"
SOURCE, TARGET = 0x28, 0x29


class Entrance(Protocol):
    """Where a client's messages go."""

    def take(self, session: "AmqpSession", data: bytes, message_format: int) -> Composite:
        """A whole delivery; the outcome to answer with. Raises :class:`Refusal` or :class:`WireError`."""


class Service:
    """What the connections of one server share. Lives on the server's loop."""

    def __init__(
        self,
        broker: Broker,
        faults: "FaultState",
        loop: asyncio.AbstractEventLoop,
        *,
        max_message_size: int,
        timed: bool,
    ) -> None:
        self.broker = broker
        self.faults = faults
        self.loop = loop
        self.connections: set[Connection] = set()
        self.consumers = Consumers(loop, broker.now, self.changed)
        broker.on_available = self.consumers.feed
        self._memory = FreedMemory(loop)
        self._max_message_size = max_message_size
        self._timed = timed  # whether time passes by itself
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at: int | None = None
        self._looking = False
        self.closed = False

    @property
    def max_message_size(self) -> int:
        """Bytes."""
        return self.faults.max_message_size or self._max_message_size

    # -------------------------------------------------------------------------------------- time

    def changed(self) -> None:
        """Something was sent, handed out or settled: the next time to wake up may be another one."""
        self._memory.changed()
        if self._timed and not self._looking:
            self._looking = True
            self.loop.call_soon(self._set_timer)

    def _set_timer(self) -> None:
        self._looking = False
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
        """Stop the timer and cut all connections, also those that have been accepted but not begun."""
        self.closed = True
        self._timed = False
        self._memory.close()
        if self._timer is not None:
            self._timer.cancel()
        for connection in tuple(self.connections):
            connection.abort()

    # ------------------------------------------------------------------------------------- links

    def link_for(self, session: "AmqpSession", attach: Attach) -> Link:
        """The link that a client asks for. Raises :class:`Refusal` if there is nothing to link to."""
        if attach.role:
            return self._outgoing(session, attach)
        path = _address(attach.target, TARGET)
        if path.casefold() == "$cbs":
            return IncomingLink(session, attach, path, Authorization(path))
        if path.casefold().endswith(MANAGEMENT):
            entity = path[: -len(MANAGEMENT)]
            self.faults.check(entity)
            return IncomingLink(session, attach, entity, ManagementEntrance(self, entity, path))
        self.faults.check(path)
        store = self.broker.entrance(path)
        return IncomingLink(session, attach, store.name, EntityEntrance(self, store.name))

    def _outgoing(self, session: "AmqpSession", attach: Attach) -> Link:
        path = _address(attach.source, SOURCE)
        if path.casefold() == "$cbs" or path.casefold().endswith(MANAGEMENT):
            reply_to = _field(attach.target, TARGET, 0)
            return ReplyLink(session, attach, path, reply_to if isinstance(reply_to, str) else None)
        self.faults.check(path)
        filters = _field(attach.source, SOURCE, 7)
        if isinstance(filters, dict) and SESSION_FILTER in filters:
            raise not_implemented("Sessions are not part of the sandbox: a session receiver cannot be opened.")
        return DeliveryLink(session, attach, path, self.broker.queue(path))

    def links(self) -> list[Link]:
        """All links of all connections."""
        return [link for connection in self.connections for session in connection.sessions for link in session.links]

    # ----------------------------------------------------------------------------------- settling

    def settle(self, queue: Queue, token: UUID, state: Composite | None) -> Composite:
        """Do what a delivery state asks for; the state to answer with. Raises :class:`Refusal`."""
        self.changed()
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


class EntityEntrance:
    """A queue or a topic."""

    def __init__(self, service: Service, path: str) -> None:
        self._service = service
        self._path = path

    def take(self, session: "AmqpSession", data: bytes, message_format: int) -> Composite:
        """See :class:`Entrance`. A batch is taken whole or not at all."""
        service = self._service
        service.faults.check(self._path)
        service.faults.check_room(self._path)
        messages = parse_batch(data) if message_format == BATCH_FORMAT else [parse(data)]
        service.changed()

        def send() -> Composite:
            service.broker.send(self._path, messages)
            return Accepted()

        return service.faults.call(send)


class Authorization:
    """``$cbs``: every token is good here."""

    def __init__(self, path: str) -> None:
        self._path = path

    def take(self, session: "AmqpSession", data: bytes, message_format: int) -> Composite:
        """See :class:`Entrance`."""
        request = parse(data)
        asked = request.user_properties().get("operation")
        if asked != "put-token":
            raise not_allowed(f"$cbs knows the operation put-token, not {asked!r}.")
        properties: dict[object, object] = {"status-code": Int(200), "status-description": "OK"}
        respond(session, request, self._path, properties, None)
        return Accepted()


class ManagementEntrance:
    """The ``$management`` of an entity: requests in messages, answers in messages."""

    def __init__(self, service: Service, entity: str, path: str) -> None:
        self._service = service
        self._management = Management(service.broker, service.settle)
        self._entity = entity
        self._path = path

    def take(self, session: "AmqpSession", data: bytes, message_format: int) -> Composite:
        """See :class:`Entrance`. A refused request is an answer with a status, and the delivery accepted."""
        service = self._service
        request = parse(data)
        service.changed()
        body: object = None
        properties: dict[object, object]
        try:
            service.faults.check(self._entity)
            operation, arguments = request_of(request)

            def call() -> tuple[int, object]:
                return self._management.answer(self._entity, operation, arguments)

            # A disposition is counted as a call where it settles.
            settles = operation == "com.microsoft:update-disposition"
            status, body = call() if settles else service.faults.call(call)
            properties = {"statusCode": Int(status), "statusDescription": "OK"}
        except Refusal as refusal:
            properties = refusal_properties(refusal)
        except WireError as error:
            properties = refusal_properties(Refusal("com.microsoft:argument-error", str(error)))
        respond(session, request, self._path, properties, body)
        return Accepted()


def refusal_properties(refusal: Refusal) -> dict[object, object]:
    """A refusal as the application properties of an answer."""
    return {
        "statusCode": Int(refusal.status),
        "statusDescription": refusal.description,
        "errorCondition": Symbol(refusal.condition),
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
        raise Refusal("amqp:invalid-field", "A link needs an address.")
    return re.sub(r"^(?:amqps?|sb)://[^/]*", "", address).strip("/")
