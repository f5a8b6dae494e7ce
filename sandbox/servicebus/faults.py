"""Fault injection: the errors and outages of Azure, on demand."""

from collections.abc import Callable
from random import Random
from typing import TypeVar

from sandbox.servicebus.amqp.performatives import AmqpError
from sandbox.servicebus.broker.errors import BrokerError
from sandbox.servicebus.service.fault_state import FailingCalls, FailingEntity
from sandbox.servicebus.service.service import Service

Result = TypeVar("Result")
OnLoop = Callable[[Callable[[Service], Result]], Result]

SERVER_BUSY = "com.microsoft:server-busy"
NOT_FOUND = "amqp:not-found"
DETACH_FORCED = "amqp:link:detach-forced"


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
        status = {NOT_FOUND: 404, SERVER_BUSY: 503}.get(condition, 400)
        entry = FailingEntity(BrokerError(condition, text, status), times)

        def refuse(service: Service) -> None:
            service.faults.failing_entities[service.broker.store(entity).name.casefold()] = entry

        self._run(refuse)

    def accept(self, entity: str) -> None:
        """End what :meth:`refuse` and :meth:`fill` began."""

        def accept(service: Service) -> None:
            service.faults.failing_entities.pop(entity.casefold(), None)
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

    def lose_locks(self, entity: str) -> int:
        """Let the locks on all messages of an entity run out; how many there were."""

        def lose(service: Service) -> int:
            lost = service.broker.queue(entity).lose_locks(service.broker.now())
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

    def stop_responding(self) -> None:
        """Become unresponsive: connections stay open, bytes are read and nothing is sent, until :meth:`reset`.

        What is waiting to be sent is lost, and so is what clients send meanwhile: :meth:`reset` resets the connections.
        """
        self._run(lambda service: setattr(service.faults, "unresponsive", True))

    def reset(self) -> None:
        """Remove all faults."""

        def reset(service: Service) -> None:
            if service.faults.unresponsive:
                for connection in tuple(service.connections):
                    connection.abort()
            service.faults.__init__()  # type: ignore[misc]  # the one way to have no fault forgotten

        self._run(reset)

    def _count(self, action: Callable[[Service], int]) -> int:
        counted = self._run(action)
        assert isinstance(counted, int)  # noqa: S101  narrows the type
        return counted
