"""Azure Resource Manager as an HTTP server on loopback, to be embedded in a process."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from aiohttp import web

from sandbox.clock import Clock, system_clock
from sandbox.latency import NONE, Latency
from sandbox.loopback_http import LoopbackServer, LoopbackService
from sandbox.resource_manager.calls import Calls
from sandbox.resource_manager.compute.foreign_updates import ForeignUpdates
from sandbox.resource_manager.compute.instances import InstanceReport
from sandbox.resource_manager.compute.scale_sets import ScaleSet
from sandbox.resource_manager.compute.seeds import Hiding, InstanceSeed, Outcome, ScaleSetSeed
from sandbox.resource_manager.compute.state import ComputeState
from sandbox.resource_manager.endpoint import Endpoint, TokenCheck
from sandbox.resource_manager.errors import ArmError
from sandbox.resource_manager.events import Observer
from sandbox.resource_manager.faults import Faults
from sandbox.resource_manager.http_conversion import to_web_response
from sandbox.resource_manager.live_api import LiveApi
from sandbox.resource_manager.rest.messages import Request
from sandbox.resource_manager.rest.rest_api import RestApi
from sandbox.resource_manager.rest.throttling import LimitLeft, Limits, Throttle

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
        latency: Latency = NONE,
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
            latency: of all that it receives and sends.

        Raises ValueError for a negative lag or rate.
        """
        if view_lag < timedelta(0) or foreign_updates < 0:
            raise ValueError("view_lag and foreign_updates are not negative")
        super().__init__(port)
        self._latency = latency
        self._duration = duration
        self._retention = retention
        self._retry_after = retry_after
        self._view_lag = view_lag
        self._foreign_updates: ForeignUpdates | None = None
        if foreign_updates:
            self._foreign_updates = ForeignUpdates(foreign_updates, foreign_update_duration, seed)
        self._limits = (limits or Limits()) if throttling else None
        self._page_size = page_size
        self.calls = Calls(keep_calls)
        """Every call received, but for those under `/sandbox/`."""
        self.faults = Faults()
        """The injected faults."""
        self._api = LiveApi(self._new_api, clock)
        self._endpoint = Endpoint(self._api, faults=self.faults, calls=self.calls, tokens=tokens)

    def _new_api(self) -> RestApi:
        compute = ComputeState(
            duration=self._duration,
            retention=self._retention,
            view_lag=self._view_lag,
            foreign_updates=self._foreign_updates,
        )
        return RestApi(
            compute,
            throttle=Throttle(self._limits) if self._limits else None,
            retry_after=self._retry_after,
            page_size=self._page_size,
        )

    @property
    def observers(self) -> list[Observer]:
        """Functions called with each event, in order, in the thread it occurs in: they must not block."""
        return self._api.observers

    # Listening

    def _serve(self, port: int) -> LoopbackServer:
        return LoopbackServer(
            self._handle, port=port, name="sandbox-resource-manager", background=self._tick, latency=self._latency
        )

    @property
    def endpoint(self) -> str:
        """What takes the place of `https://management.azure.com`."""
        return f"http://127.0.0.1:{self._port}"

    # The scale sets, from Python

    def seed(self, scale_set: ScaleSetSeed) -> None:
        """Place a scale set; one of the same name is replaced. Raises ValueError for a seed that can't be."""
        with self._api.current() as api:
            api.compute.seed(scale_set, self._api.clock())

    def place(self, subscription_id: str, resource_group_name: str, name: str, instance: InstanceSeed) -> None:
        """Add an instance to a scale set, or put a new one in the place of the one with its id.

        Raises LookupError if there is no such scale set.
        """
        with self._api.current() as api:
            found = _find(api, subscription_id, resource_group_name, name)
            api.compute.place(found, instance, self._api.clock())

    def remove(self, subscription_id: str, resource_group_name: str, name: str, instance_id: str) -> None:
        """Scale in: the instance is gone. Raises LookupError if there is no such scale set or instance."""
        with self._api.current() as api:
            _find(api, subscription_id, resource_group_name, name).remove(instance_id, self._api.clock())

    def update(
        self, subscription_id: str, resource_group_name: str, name: str, instance_id: str, duration: timedelta
    ) -> None:
        """Somebody else updates an instance: it is `Updating` for that long, then as before.

        Raises LookupError if there is no such scale set or instance, ValueError if it is under maintenance.
        """
        with self._api.current() as api:
            found = _find(api, subscription_id, resource_group_name, name)
            api.compute.update(found, found.instances[instance_id], duration, self._api.clock())

    def write(self, subscription_id: str, resource_group_name: str, name: str, duration: timedelta) -> None:
        """Somebody else writes to a scale set: for that long performMaintenance on it is refused, 409 `Conflict`.

        Raises LookupError if there is no such scale set.
        """
        with self._api.current() as api:
            api.compute.write(_find(api, subscription_id, resource_group_name, name), duration, self._api.clock())

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
        """The next listings leave out the instance view of an instance; `times`: None = from now on all do.

        Raises LookupError if there is no such scale set or instance.
        """
        with self._api.current() as api:
            hidden = _find(api, subscription_id, resource_group_name, name).instances[instance_id].hidden
            hidden.how, hidden.left = how, times

    def lag_views(self, subscription_id: str, resource_group_name: str, name: str, lag: timedelta) -> None:
        """From now on reads show the instances of a scale set as they were that long ago, but not before now.

        A lag of 0 ends it. Raises LookupError if there is no such scale set, ValueError for a negative lag.
        """
        if lag < timedelta(0):
            raise ValueError(f"a view cannot lag by {lag}")
        with self._api.current() as api:
            _find(api, subscription_id, resource_group_name, name).lag(lag)

    def set_outcome(
        self, subscription_id: str, resource_group_name: str, name: str, instance_id: str, outcome: Outcome
    ) -> None:
        """The maintenance of an instance ends like this from now on, also one that is under way.

        Raises LookupError if there is no such scale set or instance.
        """
        with self._api.current() as api:
            _find(api, subscription_id, resource_group_name, name).instances[instance_id].will_end_as(outcome)

    def limits_left(self) -> list[LimitLeft]:
        """What is left of each limit that was used; empty without throttling. Changes nothing."""
        with self._api.current() as api:
            return api.limits_left(self._api.clock())

    def instances(self, subscription_id: str, resource_group_name: str, name: str) -> list[InstanceReport]:
        """The present state of the instances of a scale set. Raises LookupError if there is no such scale set."""
        with self._api.current() as api:
            found = _find(api, subscription_id, resource_group_name, name)
            return [InstanceReport.of(each) for each in found.instances.values()]

    @property
    def scale_sets(self) -> list[ScaleSetSeed]:
        """The scale sets there are, as they were seeded."""
        with self._api.current() as api:
            return [each.seed for each in api.compute.scale_sets]

    def operations(self) -> list[dict[str, Any]]:
        """The operations that can still be read, oldest first: id, VMs, start, end, status, error, as JSON has them."""
        with self._api.current() as api:
            return [each.report() for each in api.compute.operations]

    def reset(self) -> None:
        """Reset: no scale sets, operations, faults or calls, all buckets full. Observers stay."""
        self._api.reset()
        self.faults.reset()
        self.calls.clear()

    def mature(self) -> None:
        """Do everything that is due by the clock, and notify the observers.

        Each call does it as well; this is for observers without calls.
        """
        self._api.mature()

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
        return await self._endpoint.respond(http_request, request)


def _find(api: RestApi, subscription_id: str, resource_group_name: str, name: str) -> ScaleSet:
    try:
        return api.compute.scale_sets.named(subscription_id, resource_group_name, name)
    except ArmError as error:
        raise LookupError(error.message) from error
