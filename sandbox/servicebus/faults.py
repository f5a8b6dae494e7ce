"""Fault injection: the errors and outages of Azure, on demand."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Literal

from sandbox.clock import moment
from sandbox.servicebus.amqp.outcomes import AmqpError
from sandbox.servicebus.broker.errors import BrokerError
from sandbox.servicebus.protocol.links import DeliveryLink, IncomingLink, Link
from sandbox.servicebus.service.fault_state import FailingCalls, FailingEntity, Outage
from sandbox.servicebus.service.service import MANAGEMENT, EntityTarget, Service

LinkRole = Literal["sender", "receiver", "management"]
"""What a client does on a link."""

SERVER_BUSY = "com.microsoft:server-busy"
NOT_FOUND = "amqp:not-found"
DETACH_FORCED = "amqp:link:detach-forced"


@dataclass(frozen=True, slots=True)
class FaultInForce:
    """A fault of an entity, in one word (``outage``, ``refused``, ``full``), or of all (``entity`` is None:
    ``unresponsive``, ``failing calls``, ``small messages``). ``until``: when it ends by itself."""

    kind: str
    entity: str | None
    until: datetime | None = None


class Faults:
    """Thread-safe. Entities are named ``queue``, ``topic``, ``topic/Subscriptions/name``, ``…/$DeadLetterQueue``.

    Every method has taken effect when it returns. An unknown entity raises :class:`LookupError`.
    """

    def __init__(self, run: "Callable[[Callable[[Service], object]], object]") -> None:
        self._run = run

    def drop_connections(self) -> int:
        """Reset every connection without a close; how many there were."""

        def drop(service: Service) -> int:
            connections = tuple(service.connections)
            for connection in connections:
                connection.abort()
            return len(connections)

        return self._count(drop)

    def refuse(
        self, entity: str, condition: str = SERVER_BUSY, *, times: int | None = None, description: str = ""
    ) -> None:
        """Fail attaches, sends and management requests of an entity with an error.

        ``times`` is how often, ``None`` until :meth:`accept` or :meth:`reset`. Receivers that are attached stay;
        :meth:`detach_links` detaches them. Useful conditions are those of this module.
        """
        text = description or f"'{entity}' is refused by a fault."
        entry = FailingEntity(_error(condition, text), times)

        def refuse(service: Service) -> None:
            service.faults.failing_entities[service.broker.store(entity).name.casefold()] = entry

        self._run(refuse)

    def accept(self, entity: str) -> None:
        """End what :meth:`refuse`, :meth:`outage` and :meth:`fill` began."""

        def accept(service: Service) -> None:
            service.faults.failing_entities.pop(entity.casefold(), None)
            service.faults.outages.pop(entity.casefold(), None)
            service.faults.full.discard(entity.casefold())

        self._run(accept)

    def fill(self, entity: str) -> None:
        """Fail sends to an entity with the error of a full one, until :meth:`accept` or :meth:`reset`."""
        self._run(lambda service: service.faults.full.add(service.broker.store(entity).name.casefold()))

    def detach_links(self, entity: str, condition: str = DETACH_FORCED) -> int:
        """Detach all links of an entity, as the service does with idle ones after ten minutes; how many."""

        def detach(service: Service) -> int:
            error = AmqpError.because(condition, "The link was detached by a fault, as an idle one would be.")
            path = service.broker.store(entity).name.casefold()
            chosen = [link for link in service.links() if link.address.casefold() == path]
            for link in chosen:
                link.session.detach(link, error)
            return len(chosen)

        return self._count(detach)

    def outage(self, entity: str, duration: timedelta, condition: str = SERVER_BUSY) -> int:
        """Let an entity, with its subscriptions and dead-letter queue, be away for a span of the bus's time.

        Attached links are detached (how many, is returned); attaches, sends, settlements and management requests
        fail. The other entities work on. :meth:`accept` ends it early; ``timedelta.max`` does not end.
        """
        error = _error(condition, f"'{entity}' is away by a fault.")

        def begin(service: Service) -> int:
            path = service.broker.store(entity).name.casefold()
            until = None
            if duration != timedelta.max:
                until = service.broker.now() + duration // timedelta(milliseconds=1)
            service.faults.outages[path] = Outage(error, until)
            reason = AmqpError.because(condition, error.description)
            chosen = [link for link in service.links() if f"{link.address}/".casefold().startswith(f"{path}/")]
            for link in chosen:
                link.session.detach(link, reason)
            return len(chosen)

        return self._count(begin)

    def lose_locks(self, entity: str, *, counted: bool = True, message_id: str | None = None) -> int:
        """Let the locks on all messages of an entity run out, or on those of one id; how many there were.

        ``counted=False``: without the delivery being counted, as when the service loses a lock by itself. The messages
        are delivered again at once; whoever settles with the old lock gets ``com.microsoft:message-lock-lost``.
        """

        def lose(service: Service) -> int:
            queue, now = service.broker.queue(entity), service.broker.now()
            lost = queue.lose_locks(now, counted=counted, message_id=message_id)
            service.changed()
            return lost

        return self._count(lose)

    def fail_calls(self, rate: float, *, seed: int = 0, condition: str = SERVER_BUSY, after: bool = False) -> None:
        """Fail a random share (0 to 1) of sends, settlements and management requests.

        With ``after`` the work is done and only the response says otherwise: what a lost response looks like.
        """
        error = BrokerError(condition, "The call fails by a fault.", 503)
        failing = FailingCalls(rate, Random(seed), error, after)
        self._run(lambda service: setattr(service.faults, "failing", failing))

    def limit_message_size(self, size: int) -> None:
        """Refuse messages of more bytes than that. Links attached earlier have announced the old limit."""
        self._run(lambda service: setattr(service.faults, "max_message_size", size))

    def stop_responding(
        self, entity: str | None = None, *, role: LinkRole | None = None, most: int | None = None
    ) -> int:
        """Become unresponsive: connections stay open, bytes are read and nothing is sent, until :meth:`reset`.

        Without an entity all connections do, also those that begin later. With one, only those that have a link to it
        now (of the ``role``, and ``most`` of them, the oldest first): all others work on, also new ones. How many are
        held is returned. What is waiting to be sent is lost, and so is what clients send meanwhile: :meth:`reset`
        resets the connections.
        """

        def stop(service: Service) -> int:
            if entity is None:
                service.faults.unresponsive = True
                return len(service.connections)
            path = service.broker.store(entity).name.casefold()
            chosen = []
            for connection in service.connections:
                links = [link for session in connection.sessions for link in session.links]
                if any(_is_of(link, path, role) for link in links):
                    chosen.append(connection)
            chosen = sorted(chosen, key=lambda connection: connection.number)[:most]
            for connection in chosen:
                connection.frozen = True
            return len(chosen)

        return self._count(stop)

    def reset(self) -> None:
        """Remove all faults."""

        def reset(service: Service) -> None:
            for connection in tuple(service.connections):
                if connection.unresponsive:
                    connection.abort()
            service.faults.__init__()  # type: ignore[misc]  # the one way to have no fault forgotten

        self._run(reset)

    def in_force(self) -> list[FaultInForce]:
        """The faults that strike now. Those of single connections, and those that strike once, are not among them."""
        found: list[FaultInForce] = []

        def look(service: Service) -> None:
            state, now = service.faults, service.broker.now()
            for name, outage in state.outages.items():
                if outage.until is None or outage.until > now:
                    until = None if outage.until is None else moment(outage.until)
                    found.append(FaultInForce("outage", service.broker.store(name).name, until))
            found.extend(FaultInForce("refused", service.broker.store(name).name) for name in state.failing_entities)
            found.extend(FaultInForce("full", service.broker.store(name).name) for name in sorted(state.full))
            for kind, set_ in (
                ("unresponsive", state.unresponsive),
                ("failing calls", state.failing is not None),
                ("small messages", state.max_message_size is not None),
            ):
                if set_:
                    found.append(FaultInForce(kind, None))

        self._run(look)
        return found

    def _count(self, action: Callable[[Service], int]) -> int:
        counted = self._run(action)
        assert isinstance(counted, int)  # noqa: S101  narrows the type
        return counted


def _error(condition: str, text: str) -> BrokerError:
    return BrokerError(condition, text, {NOT_FOUND: 404, SERVER_BUSY: 503}.get(condition, 400))


def _is_of(link: Link, path: str, role: LinkRole | None) -> bool:
    """Whether a link goes to or from the entity, or its `$management`, in a role."""
    name = link.address.casefold()
    if name.removesuffix(MANAGEMENT) != path:
        return False
    if isinstance(link, DeliveryLink):
        found: LinkRole = "receiver"
    elif isinstance(link, IncomingLink) and isinstance(link.target, EntityTarget):
        found = "sender"
    else:
        found = "management"
    return role in (None, found)
