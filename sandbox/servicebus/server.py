"""The embedded server: a daemon thread with its own loop, listening on loopback."""

import asyncio
import ssl
import threading
from collections.abc import Callable
from functools import partial
from typing import Final, Self, TypeVar

from sandbox.clock import Clock, HandMovedClock, milliseconds, system_clock
from sandbox.latency import NONE, Latency, late
from sandbox.servicebus.broker.broker import Broker
from sandbox.servicebus.broker.errors import BrokerError
from sandbox.servicebus.broker.events import BusEvent
from sandbox.servicebus.faults import Faults
from sandbox.servicebus.inspection import EntityCounts, EntityReport, PeekedMessage, peeked, report_of
from sandbox.servicebus.protocol.connections import Connection
from sandbox.servicebus.service.authorization import TokenCheck
from sandbox.servicebus.service.fault_state import FaultState
from sandbox.servicebus.service.peek_pages import PeekPages
from sandbox.servicebus.service.service import Service
from sandbox.servicebus.topology.topology import Topology

Result = TypeVar("Result")
MAX_MESSAGE_SIZE: Final = 1024 * 1024 + 64 * 1024  # 1 MB of body and what Azure lets the headers have
KEY_NAME: Final = "RootManageSharedAccessKey"
KEY: Final = "SAS_KEY_VALUE"  # as in the emulator's documentation: no secret, nothing is checked


class Observers:
    """The observers of events. Called on the server's thread, in order; must not block or raise."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def add(self, observer: Callable[[BusEvent], None]) -> None:
        """Have ``observer`` called with each :class:`BusEvent` from now on."""
        self._broker.observers = [*self._broker.observers, observer]

    def remove(self, observer: Callable[[BusEvent], None]) -> None:
        """The opposite of :meth:`add`."""
        self._broker.observers = [other for other in self._broker.observers if other != observer]


class ServiceBus:
    """An Azure Service Bus namespace on loopback for AMQP 1.0 clients, on plain TCP unless it is given `tls`. All
    methods may be called from any thread but the server's own (that of observers)."""

    def __init__(
        self,
        topology: Topology,
        *,
        port: int = 0,
        host: str = "127.0.0.1",
        clock: Clock = system_clock,
        max_message_size: int = MAX_MESSAGE_SIZE,
        peek_limit: int | None = None,
        seed: int = 0,
        tls: ssl.SSLContext | None = None,
        tokens: TokenCheck | None = None,
        latency: Latency = NONE,
    ) -> None:
        """Nothing listens before :meth:`start`.

        Args:
            topology: the entities.
            port: 0 = any free one.
            host: a loopback address.
            clock: what time it is: locks, schedules, expiry and duplicate detection go by it.
            max_message_size: bytes of the largest message accepted.
            peek_limit: messages on one page that a client peeks; None = a random number, at least one if there is one.
            seed: of what is random: pages are cut the same way for the same seed, for each entity by itself.
            tls: with the server's certificate.
            tokens: which tokens of identities are accepted; None = any.
            latency: of all that it receives and sends.
        """
        self.port = port  # a port of 0 is any free one, and known once started
        self.host = host
        self._tls = tls
        self._tokens = tokens
        self._latency = latency
        self._clock = clock
        self._max_message_size = max_message_size
        self._peek_pages = PeekPages(peek_limit, seed)
        self._broker = Broker(topology, lambda: milliseconds(clock()))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._service: Service | None = None
        self._listening: asyncio.Server | None = None
        self.observers = Observers(self._broker)
        self.faults = Faults(self._on_service)

    @property
    def peek_limit(self) -> int | None:
        """Messages on one page that a client peeks; ``None`` = a random number. It can be set at any time."""
        return self._peek_pages.limit

    @peek_limit.setter
    def peek_limit(self, limit: int | None) -> None:
        self._peek_pages.limit = limit

    @property
    def connection_string(self) -> str:
        """For ``ServiceBusClient.from_connection_string``."""
        return (
            f"Endpoint=sb://{self.host}:{self.port};SharedAccessKeyName={KEY_NAME};SharedAccessKey={KEY};"
            "UseDevelopmentEmulator=true"
        )

    # -------------------------------------------------------------------------------- life and death

    def start(self) -> Self:
        """Listen. Raises :class:`OSError` if the port is taken."""
        if self._thread is not None:
            raise RuntimeError("the server has been started already")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="servicebus", daemon=True)
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        except BaseException:
            self._stop()
            raise
        if isinstance(self._clock, HandMovedClock):
            self._clock.follow(self.wake)
        return self

    def close(self) -> None:
        """Cut all connections and stop listening. A second time does nothing."""
        if self._thread is None or self._loop is None:
            return
        if isinstance(self._clock, HandMovedClock):
            self._clock.unfollow(self.wake)
        asyncio.run_coroutine_threadsafe(self._shut(), self._loop).result()
        self._stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _serve(self) -> None:
        assert self._loop is not None  # noqa: S101  set before the thread is started
        self._loop.run_forever()

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        self._service = service = Service(
            self._broker,
            FaultState(),
            loop,
            max_message_size=self._max_message_size,
            timed=not isinstance(self._clock, HandMovedClock),
            peek_pages=self._peek_pages,
            tokens=self._tokens,
        )
        made = late(partial(Connection, service), self._latency, loop)
        self._listening = await loop.create_server(made, self.host, self.port, backlog=256, ssl=self._tls)
        self.port = self._listening.sockets[0].getsockname()[1]

    async def _shut(self) -> None:
        if self._service is not None:
            self._service.close()  # from here on a connection that begins is cut at once
        if self._listening is not None:
            # No more are accepted; those that have been are let begin, for a closed asyncio.Server forgets them open.
            for listening in self._listening.sockets:
                asyncio.get_running_loop().remove_reader(listening.fileno())
            await _turns(3)
            self._listening.close()
        await _turns(2)  # in which transports close their sockets

    def _stop(self) -> None:
        assert self._loop is not None  # noqa: S101  only called once started
        assert self._thread is not None  # noqa: S101  only called once started
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._thread = self._loop = None

    # ------------------------------------------------------------------------------------ inspection

    def wake(self) -> None:
        """Do what has fallen due, and read the clock again. A :class:`HandMovedClock` calls it itself."""
        self._on_service(lambda service: service.wake())

    def clear(self) -> None:
        """Remove every message and every id seen; entities, links and faults stay. For use between tests."""

        def clear(service: Service) -> None:
            service.broker.clear()
            service.changed()

        self._on_service(clear)

    def entities(self) -> list[str]:
        """The names of queues, topics and ``topic/Subscriptions/name``, without their dead-letter queues."""
        return self._on_service(lambda service: service.broker.names())

    def counts(self, entity: str) -> EntityCounts:
        """How many messages an entity holds; of a topic, those that are scheduled. Raises :class:`LookupError`."""
        return self.report(entity).counts

    def report(self, entity: str) -> EntityReport:
        """Its counts, and when the next of its messages falls due. Raises :class:`LookupError`."""
        return self._on_service(lambda service: report_of(service.broker.store(entity), service.broker.now()))

    def peek(self, entity: str, max_count: int = 100, *, skip: int = 0, first: int = 0) -> list[PeekedMessage]:
        """Messages of an entity in any state, untouched, in order: all of them, however pages are cut for clients.

        ``first``: from this sequence number on. ``skip``: leave out so many. Raises :class:`LookupError`.
        """

        def peek(service: Service) -> list[PeekedMessage]:
            store = service.broker.store(entity)
            return [peeked(queued) for queued in store.peek(first, skip + max_count, service.broker.now())[skip:]]

        return self._on_service(peek)

    def _on_service(self, action: Callable[[Service], Result]) -> Result:
        """Run ``action`` on the loop and wait for what it gives."""
        loop, service = self._loop, self._service
        if loop is None or service is None:
            raise RuntimeError("the server has not been started")

        async def act() -> Result:
            try:
                return action(service)
            except BrokerError as error:
                raise LookupError(error.description) from error

        return asyncio.run_coroutine_threadsafe(act(), loop).result()


async def _turns(number: int) -> None:
    """Let the loop go round."""
    for _ in range(number):
        await asyncio.sleep(0)
