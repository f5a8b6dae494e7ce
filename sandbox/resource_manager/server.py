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
from sandbox.resource_manager.errors import Refusal
from sandbox.resource_manager.events import CallReceived, Observer
from sandbox.resource_manager.faults import Fault, Faults
from sandbox.resource_manager.http_conversion import bearer_token, response_of
from sandbox.resource_manager.instances import InstanceReport
from sandbox.resource_manager.messages import Answer, Request
from sandbox.resource_manager.rest_api import RestApi
from sandbox.resource_manager.scale_sets import Estate, ScaleSet
from sandbox.resource_manager.seeds import InstanceSeed, ScaleSetSeed
from sandbox.resource_manager.throttling import Limits, Throttle

TokenCheck = Callable[[str], bool]
"""Answers whether a bearer token is good for ARM: `ManagedIdentity.accepts` is one."""

_LOG = logging.getLogger(__name__)

# How often instances are looked after for observers; without any, they mature when somebody asks.
_TICK_SECONDS = 0.05


class ResourceManager(LoopbackService):
    """Scale sets, their maintenance, and the HTTP server that answers for them. Safe for threads."""

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
        """
        super().__init__(port)
        self._clock = clock
        self._tokens = tokens
        self._duration = duration
        self._retention = retention
        self._retry_after = retry_after
        self._limits = (limits or Limits()) if throttling else None
        self._page_size = page_size
        self._lock = threading.RLock()
        self._headers = Headers()
        self.calls = Calls(keep_calls)
        """Every call received, but for those under `/sandbox/`."""
        self.faults = Faults()
        """Faults on order."""
        self.observers: list[Observer] = []
        """Functions told what happens, in order, in whichever thread it happens: be quick, never wait."""
        self._clear()

    def _clear(self) -> None:
        self._estate = Estate(duration=self._duration, retention=self._retention)
        self._api = RestApi(
            self._estate,
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

    # The estate, from Python

    def seed(self, scale_set: ScaleSetSeed) -> None:
        """Place a scale set; one of the same name is replaced. Raises ValueError for a seed that can't be."""
        with self._lock:
            self._mature()
            self._estate.seed(scale_set, self._clock())

    def place(self, subscription_id: str, resource_group_name: str, name: str, instance: InstanceSeed) -> None:
        """Add an instance to a scale set, or put a new one in the place of the one with its id.

        Raises LookupError if there is no such scale set.
        """
        with self._lock:
            self._mature()
            found = self._find(subscription_id, resource_group_name, name)
            self._estate.place(found, instance, self._clock())

    def remove(self, subscription_id: str, resource_group_name: str, name: str, instance_id: str) -> None:
        """Scale in: the instance is gone. Raises LookupError if there is no such scale set or instance."""
        with self._lock:
            del self._find(subscription_id, resource_group_name, name).instances[instance_id]

    def instances(self, subscription_id: str, resource_group_name: str, name: str) -> list[InstanceReport]:
        """How the instances of a scale set stand now. Raises LookupError if there is no such scale set."""
        with self._lock:
            self._mature()
            found = self._find(subscription_id, resource_group_name, name)
            return [InstanceReport.of(each) for each in found.instances.values()]

    @property
    def scale_sets(self) -> list[ScaleSetSeed]:
        """The scale sets there are, as they were seeded."""
        with self._lock:
            return [each.seed for each in self._estate.scale_sets]

    def operations(self) -> list[dict[str, Any]]:
        """The operations that can still be read, oldest first: id, VMs, start, end, status, error, as JSON has them."""
        with self._lock:
            self._mature()
            return [each.report() for each in self._estate.operations]

    def reset(self) -> None:
        """As new: no scale sets, operations, faults or calls, all buckets full. Observers stay."""
        with self._lock:
            self._clear()
            self.faults.reset()
            self.calls.clear()

    def _find(self, subscription_id: str, resource_group_name: str, name: str) -> ScaleSet:
        try:
            return self._estate.scale_set(subscription_id, resource_group_name, name)
        except Refusal as refusal:
            raise LookupError(refusal.message) from refusal

    def mature(self) -> None:
        """Let everything happen that is due by the clock, and tell the observers.

        Each call does it as well; so this is for those who look without calling.
        """
        with self._lock:
            self._mature()

    def _mature(self) -> None:
        self._estate.observed = bool(self.observers)
        self._estate.mature(self._clock())
        self._tell()

    def _tell(self) -> None:
        happenings = self._estate.happenings
        if happenings:
            self._estate.happenings = []
            for happening in happenings:
                for observer in self.observers:
                    try:
                        observer(happening)
                    except Exception:
                        # What it has seen has happened: the call must be answered, and time must go on.
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

            return response_of(control(self, request, http_request.headers))
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

        answer: Answer | None
        fault = self.faults.strike(request)
        if fault is None:
            authorized, answer = self._answer(request, token)
            received = call(authorized, answer.status)
            self.calls.append(received)
        else:
            # Written down before anything else: whoever hangs up on a delayed call finds it in the list.
            number = self.calls.append(call(False, None))
            authorized, answer = await self._answer_with(fault, request, token)
            received = call(authorized, answer.status if answer else None)
            self.calls.replace(number, received)
        if self.observers:
            with self._lock:
                self._estate.happenings.append(CallReceived(now, received))
                self._tell()
        if answer is None:
            reset_connection(http_request)
            return web.Response(status=500)  # goes nowhere: the connection is gone
        return response_of(answer)

    async def _answer_with(self, fault: Fault, request: Request, token: str | None) -> tuple[bool, Answer | None]:
        if fault.delay:
            await asyncio.sleep(fault.delay.total_seconds())
        authorized, answer = self._answer(request, token) if fault.does_work else (False, Answer(200))
        if fault.delay_answer:
            await asyncio.sleep(fault.delay_answer.total_seconds())
        return authorized, None if fault.cut else fault.change(answer)

    def _answer(self, request: Request, token: str | None) -> tuple[bool, Answer]:
        if token is None:
            return False, Answer.refused(errors.no_token())
        if self._tokens is not None and not self._tokens(token):
            return False, Answer.refused(errors.token_not_accepted())
        with self._lock:
            self._mature()
            answer = self._api.answer(request, self._clock())
            # What has no duration is done at once, and is told at once.
            self._tell()
        return True, answer
