"""Azure Resource Manager as an HTTP server on loopback, to be embedded in a process."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from aiohttp import web

from sandbox.clock import Clock, system_clock
from sandbox.loopback_http import LoopbackServer, LoopbackService, reset_connection
from sandbox.resource_manager import errors
from sandbox.resource_manager.calls import Call, Calls, Headers
from sandbox.resource_manager.errors import ArmError
from sandbox.resource_manager.events import CallReceived, Observer
from sandbox.resource_manager.faults import Fault, Faults
from sandbox.resource_manager.http_conversion import bearer_token, to_web_response
from sandbox.resource_manager.instances import InstanceReport
from sandbox.resource_manager.messages import Request, Response
from sandbox.resource_manager.rest_api import RestApi
from sandbox.resource_manager.scale_sets import ComputeState, ForeignUpdates, ScaleSet
from sandbox.resource_manager.seeds import Hiding, InstanceSeed, ScaleSetSeed
from sandbox.resource_manager.throttling import Limits, Throttle

TokenCheck = Callable[[str], bool]
"""Returns whether a bearer token is valid for ARM: `ManagedIdentity.accepts` is one."""

_LOG = logging.getLogger(__name__)

# How often instances mature for observers; without any, they mature when somebody calls.
_TICK_SECONDS = 0.05


class ResourceManager(LoopbackService):
    """Scale sets, their maintenance, and the HTTP server for them. Safe for threads."""

    def __init__(
        self,
        *,
        port: int = 0,
        clock: Clock = system_clock,
        tokens: TokenCheck | None = None,
        duration: timedelta = timedelta(seconds=20),
        retry_after: int | None = None,
        throttling: bool = True,
        limits: Limits | None = None,
        retention: timedelta = timedelta(hours=24),
        page_size: int = 100,
        keep_calls: int = 100_000,
        view_lag: timedelta = timedelta(0),
        foreign_updates: float = 0.0,
        foreign_update_duration: timedelta = timedelta(minutes=1),
        seed: int = 0,
    ) -> None:
        """Nothing listens before `start()`; seeding works before it.

        Args:
            port: 0 = any free one.
            clock: what time it is: operations, instances and token buckets move by it.
            tokens: which bearer tokens are accepted; None = any, but there must be one.
            duration: of a maintenance whose instance names none.
            retry_after: seconds, sent while an operation runs; None = not sent, as Compute often does.
            throttling: whether the token buckets run empty.
            limits: their sizes; Azure's if left out.
            retention: how long an operation that ended can be read.
            page_size: instances or scale sets on one page of a listing.
            keep_calls: how many of the last calls `calls` keeps.
            view_lag: reads show instances as they were that long ago, but where a scale set's seed names a lag.
            foreign_updates: how often others update an instance, at random: updates an hour, of each instance.
            foreign_update_duration: how long that takes, on average.
            seed: of what is random: the same seed, scale sets and clock give the same updates.

        Raises ValueError for a negative lag or rate.
        """
        if view_lag < timedelta(0) or foreign_updates < 0:
            raise ValueError("view_lag and foreign_updates are not negative")
        super().__init__(port)
        self._clock = clock
        self._tokens = tokens
        self._duration = duration
        self._retention = retention
        self._retry_after = retry_after
        self._view_lag = view_lag
        self._foreign_updates: ForeignUpdates | None = None
        if foreign_updates:
            self._foreign_updates = ForeignUpdates(foreign_updates, foreign_update_duration, seed)
        self._limits = (limits or Limits()) if throttling else None
        self._page_size = page_size
        self._lock = threading.RLock()
        self._headers = Headers()
        self.calls = Calls(keep_calls)
        """Every call received, but for those under `/sandbox/`."""
        self.faults = Faults()
        """The injected faults."""
        self.observers: list[Observer] = []
        """Functions called with each event, in order, in the thread it occurs in: they must not block."""
        self._clear()

    def _clear(self) -> None:
        self._compute = ComputeState(
            duration=self._duration,
            retention=self._retention,
            view_lag=self._view_lag,
            foreign_updates=self._foreign_updates,
        )
        self._api = RestApi(
            self._compute,
            throttle=Throttle(self._limits) if self._limits else None,
            retry_after=self._retry_after,
            page_size=self._page_size,
        )

    # Listening

    def _serve(self, port: int) -> LoopbackServer:
        return LoopbackServer(self._handle, port=port, name="sandbox-resource-manager", background=self._tick)

    @property
    def endpoint(self) -> str:
        """What stands in place of `https://management.azure.com`."""
        return f"http://127.0.0.1:{self._port}"

    # The scale sets, from Python

    def seed(self, scale_set: ScaleSetSeed) -> None:
        """Place a scale set; one of the same name is replaced. Raises ValueError for a seed that can't be."""
        with self._lock:
            self._mature()
            self._compute.seed(scale_set, self._clock())

    def place(self, subscription_id: str, resource_group_name: str, name: str, instance: InstanceSeed) -> None:
        """Add an instance to a scale set, or put a new one in the place of the one with its id.

        Raises LookupError if there is no such scale set.
        """
        with self._lock:
            self._mature()
            found = self._find(subscription_id, resource_group_name, name)
            self._compute.place(found, instance, self._clock())

    def remove(self, subscription_id: str, resource_group_name: str, name: str, instance_id: str) -> None:
        """Scale in: the instance is gone. Raises LookupError if there is no such scale set or instance."""
        with self._lock:
            self._mature()
            self._find(subscription_id, resource_group_name, name).remove(instance_id, self._clock())

    def update(
        self, subscription_id: str, resource_group_name: str, name: str, instance_id: str, duration: timedelta
    ) -> None:
        """Somebody else updates an instance: it is `Updating` for that long, then as before.

        Raises LookupError if there is no such scale set or instance, ValueError if it is under maintenance.
        """
        with self._lock:
            self._mature()
            found = self._find(subscription_id, resource_group_name, name)
            self._compute.update(found, found.instances[instance_id], duration, self._clock())

    def write(self, subscription_id: str, resource_group_name: str, name: str, duration: timedelta) -> None:
        """Somebody else writes to a scale set: for that long performMaintenance on it is refused, 409 `Conflict`.

        Raises LookupError if there is no such scale set.
        """
        with self._lock:
            self._mature()
            self._compute.write(self._find(subscription_id, resource_group_name, name), duration, self._clock())

    def hide_view(
        self,
        subscription_id: str,
        resource_group_name: str,
        name: str,
        instance_id: str,
        *,
        times: int | None = 1,
        how: Hiding = "null",
    ) -> None:
        """The next listings do not tell the instance view of an instance; `times`: None = from now on none does.

        Raises LookupError if there is no such scale set or instance.
        """
        with self._lock:
            hidden = self._find(subscription_id, resource_group_name, name).instances[instance_id].hidden
            hidden.how, hidden.left = how, times

    def instances(self, subscription_id: str, resource_group_name: str, name: str) -> list[InstanceReport]:
        """The present state of the instances of a scale set. Raises LookupError if there is no such scale set."""
        with self._lock:
            self._mature()
            found = self._find(subscription_id, resource_group_name, name)
            return [InstanceReport.of(each) for each in found.instances.values()]

    @property
    def scale_sets(self) -> list[ScaleSetSeed]:
        """The scale sets there are, as they were seeded."""
        with self._lock:
            return [each.seed for each in self._compute.scale_sets]

    def operations(self) -> list[dict[str, Any]]:
        """The operations that can still be read, oldest first: id, VMs, start, end, status, error, as JSON has them."""
        with self._lock:
            self._mature()
            return [each.report() for each in self._compute.operations]

    def reset(self) -> None:
        """Reset: no scale sets, operations, faults or calls, all buckets full. Observers stay."""
        with self._lock:
            self._clear()
            self.faults.reset()
            self.calls.clear()

    def _find(self, subscription_id: str, resource_group_name: str, name: str) -> ScaleSet:
        try:
            return self._compute.scale_set(subscription_id, resource_group_name, name)
        except ArmError as error:
            raise LookupError(error.message) from error

    def mature(self) -> None:
        """Do everything that is due by the clock, and notify the observers.

        Each call does it as well; this is for observers without calls.
        """
        with self._lock:
            self._mature()

    def _mature(self) -> None:
        self._compute.observed = bool(self.observers)
        self._compute.mature(self._clock())
        self._notify()

    def _notify(self) -> None:
        events = self._compute.events
        if events:
            self._compute.events = []
            for event in events:
                for observer in self.observers:
                    try:
                        observer(event)
                    except Exception:
                        # The event has taken place: the call must get its response, and time must go on.
                        _LOG.exception("An observer of the sandbox's Resource Manager failed")

    async def _tick(self) -> None:
        while True:
            if self.observers:
                self.mature()
            await asyncio.sleep(_TICK_SECONDS)

    # HTTP

    async def _handle(self, http_request: web.BaseRequest) -> web.StreamResponse:
        body = await http_request.read() if http_request.body_exists else b""
        host = http_request.headers.get("Host") or f"127.0.0.1:{self._port}"
        request = Request(http_request.method, http_request.raw_path, f"http://{host}", body)
        if request.path.startswith("/sandbox/"):
            from sandbox.resource_manager.control import control  # noqa: PLC0415 - it needs pydantic, few need it

            return to_web_response(control(self, request, http_request.headers))
        return await self._receive(http_request, request)

    async def _receive(self, http_request: web.BaseRequest, request: Request) -> web.StreamResponse:
        token = bearer_token(http_request)
        now = self._clock()

        def call(authorized: bool, status: int | None) -> Call:
            return Call(
                time=now,
                method=request.method,
                path=request.path,
                query=request.query_names(),
                headers=self._headers.of(http_request.headers.items()),
                token_seen=token is not None,
                authorized=authorized,
                body=request.body,
                status=status,
            )

        response: Response | None
        fault = self.faults.strike(request)
        if fault is None:
            authorized, response = self._respond(request, token)
            received = call(authorized, response.status)
            self.calls.append(received)
        else:
            # Written down before anything else: whoever hangs up on a delayed call finds it in the list.
            number = self.calls.append(call(False, None))
            authorized, response = await self._respond_with(fault, request, token)
            received = call(authorized, response.status if response else None)
            self.calls.replace(number, received)
        if self.observers:
            with self._lock:
                self._compute.events.append(CallReceived(now, received))
                self._notify()
        if response is None:
            reset_connection(http_request)
            return web.Response(status=500)  # goes nowhere: the connection is gone
        return to_web_response(response)

    async def _respond_with(self, fault: Fault, request: Request, token: str | None) -> tuple[bool, Response | None]:
        if fault.delay:
            await asyncio.sleep(fault.delay.total_seconds())
        if fault.scale_in or fault.update:
            self._interfere(fault, request)
        authorized, response = self._respond(request, token) if fault.does_work else (False, Response(200))
        if fault.delay_response:
            await asyncio.sleep(fault.delay_response.total_seconds())
        return authorized, None if fault.cut else fault.change(response)

    def _interfere(self, fault: Fault, request: Request) -> None:
        """Others were faster than this call: what it is about is gone, or being updated."""
        with self._lock:
            self._mature()
            now, found = self._clock(), self._api.scale_set_of(request)
            if found is None:
                return
            for instance_id in fault.scale_in:
                if instance_id in found.instances:
                    found.remove(instance_id, now)
            for instance_id in fault.update:
                instance = found.instances.get(instance_id)
                if instance is not None and instance.state != "in-progress":
                    self._compute.update(found, instance, fault.update_duration, now)

    def _respond(self, request: Request, token: str | None) -> tuple[bool, Response]:
        if token is None:
            return False, Response.of_error(errors.no_token())
        if self._tokens is not None and not self._tokens(token):
            return False, Response.of_error(errors.token_not_accepted())
        with self._lock:
            self._mature()
            response = self._api.respond(request, self._clock())
            # What has no duration is done at once, and its events are due at once.
            self._notify()
        return True, response
