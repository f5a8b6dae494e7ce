"""The host: starts and stops the listeners of an app's functions."""

import asyncio
import contextlib
import logging
import secrets
import signal
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Self

import azure.functions as func

from sandbox.functions_host.alarm_clock import AlarmClock, SystemAlarmClock
from sandbox.functions_host.configuration import HostConfiguration
from sandbox.functions_host.indexing import IndexedFunction, index_functions
from sandbox.functions_host.invocation import Invoker
from sandbox.functions_host.listeners.http import HttpListener
from sandbox.functions_host.listeners.servicebus import ServiceBusListener
from sandbox.functions_host.listeners.timer import TimerListener
from sandbox.functions_host.triggers import HttpTrigger, ServiceBusTrigger, TimerTrigger

_log = logging.getLogger("sandbox.functions_host")

# Seconds that running functions have to finish once the host is told to stop.
_GRACE = 30.0
# Seconds that the listeners have to come up. One that can't reach its namespace counts as up.
_START_BOUND = 60.0


class FunctionsHost:
    """Runs the functions of an app while it is entered; all of them on the event loop it was entered on.

    Attributes:
        functions: those of the app, in the order in which they were declared.
        function_key: what opens the HTTP functions that ask for a key.
        http_endpoint: such as `http://127.0.0.1:7071`, without the route prefix; None while not entered or
            when no function has an HTTP trigger.
    """

    def __init__(
        self,
        app: func.FunctionApp,
        *,
        environment: Mapping[str, str],
        host_json: Mapping[str, object] | None = None,
        clock: AlarmClock | None = None,
        http_port: int | None = None,
        function_key: str | None = None,
    ) -> None:
        """Index the app; nothing listens before the host is entered.

        Args:
            environment: the app settings that the decorators name. The functions themselves see `os.environ`.
            host_json: the parsed host.json; None for its defaults.
            clock: for the timers; None for this machine's.
            http_port: None or 0 for any free one.
            function_key: None for one made here.

        Raises:
            IndexingError: naming everything in the app that could not be run.
            HostJsonError: naming everything wrong in host.json.
        """
        self._configuration = HostConfiguration.from_host_json(host_json)
        self.functions = index_functions(app, environment)
        self.function_key = function_key or secrets.token_urlsafe(32)
        self.http_endpoint: str | None = None
        self._clock = clock or SystemAlarmClock()
        self._http_port = http_port or 0
        self._invoker = Invoker(self._configuration.function_timeout)
        self._stopping = asyncio.Event()
        self._listeners = [listener for function in self.functions for listener in self._listeners_of(function)]
        self._http: HttpListener | None = None
        self._supervisor: asyncio.Task[None] | None = None

    def _listeners_of(self, function: IndexedFunction) -> list[ServiceBusListener | TimerListener]:
        if isinstance(function.trigger, ServiceBusTrigger):
            return [
                ServiceBusListener(
                    function,
                    function.trigger,
                    configuration=self._configuration,
                    invoker=self._invoker,
                    stopping=self._stopping,
                )
            ]
        if isinstance(function.trigger, TimerTrigger):
            return [
                TimerListener(
                    function,
                    function.trigger,
                    clock=self._clock,
                    invoker=self._invoker,
                    stopping=self._stopping,
                )
            ]
        return []

    async def __aenter__(self) -> Self:
        """Start listening. Returns once every listener listens, or found that it can't yet and keeps trying.

        Raises:
            OSError: the HTTP port is taken.
        """
        if any(isinstance(function.trigger, HttpTrigger) for function in self.functions):
            self._http = HttpListener(
                self.functions,
                route_prefix=self._configuration.route_prefix,
                function_key=self.function_key,
                invoker=self._invoker,
            )
            self.http_endpoint = await self._http.start(self._http_port)
        # A task of its own: a TaskGroup entered here could not be left by another task, and fixtures do that.
        self._supervisor = asyncio.create_task(self._supervise(), name="functions-host")
        async with asyncio.timeout(_START_BOUND):
            for listener in self._listeners:
                await listener.started.wait()
        for function in self.functions:
            _log.info("%s waits for %s", function.name, function.trigger)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take nothing new, let what runs finish for 30 s, then cancel it, and close."""
        self._stopping.set()
        if self._http is not None:
            await self._http.close()
            self.http_endpoint = None
        if self._supervisor is not None:
            _, unfinished = await asyncio.wait({self._supervisor}, timeout=_GRACE)
            if unfinished:
                _log.warning("some functions did not finish within %.0f s and are cancelled", _GRACE)
                self._supervisor.cancel()
                await asyncio.wait({self._supervisor}, timeout=_GRACE)
        self._invoker.close()
        if self._supervisor is not None and self._supervisor.done() and not self._supervisor.cancelled():
            self._supervisor.result()  # a listener that failed is a fault of this host: let it be seen

    async def _supervise(self) -> None:
        async with asyncio.TaskGroup() as group:
            for listener in self._listeners:
                group.create_task(listener.run())

    async def fire(self, function_name: str, *, past_due: bool = False) -> None:
        """Run a timer function now, whether or not it runs already, and wait for its end.

        Two at once are what a lost timer lease leads to in Azure. How a run ends is logged, not raised.

        Raises:
            LookupError: no function with a timer trigger has that name.
        """
        for listener in self._listeners:
            if isinstance(listener, TimerListener) and listener.function.name == function_name:
                await listener.fire(past_due=past_due)
                return
        raise LookupError(f"no function with a timer trigger is called {function_name!r}")

    async def run_until_stopped(self) -> None:
        """Wait for SIGINT or SIGTERM. The host must be entered; leaving it then ends what runs in order.

        Raises:
            ExceptionGroup: a listener failed, which is a fault of this host.
        """
        with self.stopped_by_signals():
            await self._stopping_or_failed()

    @contextlib.contextmanager
    def stopped_by_signals(self) -> Iterator[None]:
        """While the block runs, SIGINT and SIGTERM stop the host; entering it is then cut short too."""
        loop = asyncio.get_running_loop()
        signals = (signal.SIGINT, signal.SIGTERM)
        for number in signals:
            loop.add_signal_handler(number, self._stopping.set)
        try:
            yield
        finally:
            for number in signals:
                loop.remove_signal_handler(number)

    async def _stopping_or_failed(self) -> None:
        if self._supervisor is None:
            raise RuntimeError("the host is not entered")
        async with asyncio.TaskGroup() as group:
            stopped = group.create_task(self._stopping.wait())
            # With no listeners (HTTP alone) the supervisor is done at once, and that is not a failure.
            waited = {stopped, self._supervisor} if self._listeners else {stopped}
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
