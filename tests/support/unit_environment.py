"""The worker's use cases on the fake Azure, run until both queues are empty."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

from maintenance.arm.throttling import Gateway, ThrottlingGateway
from maintenance.domain.instances import Instance
from maintenance.domain.resources import Scope
from maintenance.operations.dead_letters import DeadLetterReader
from maintenance.operations.poller import Poller
from maintenance.operations.ports import UNWATCHED, RunWatch
from maintenance.operations.runner import Runner
from maintenance.operations.units import Tick
from maintenance.requests.handler import RequestHandler
from maintenance.requests.tags import read_tag_policy
from maintenance.settings import ServiceBusConnection, Settings
from tests.support.crash_point import CrashPoint, HandClock, Killed, pass_over_killed
from tests.support.fake_arm import FakeArm, all_eligible
from tests.support.fake_bus import FakeBus, FakeCoordinationQueue, Message, envelope_of
from tests.support.samples import SUBSCRIPTION, request_body


class UnitEnvironment:
    """One app, one scale set, one Service Bus namespace."""

    def __init__(
        self,
        instances: Sequence[Instance] | None = None,
        *,
        die_at: int | None = None,
        watch: RunWatch = UNWATCHED,
        **settings: Any,
    ) -> None:
        self.watch = watch
        self.clock = HandClock()
        self.crash_point = CrashPoint(die_at)
        self.bus = FakeBus(self.clock, self.crash_point)
        self.coordination = FakeCoordinationQueue(self.clock, self.crash_point)
        self.arm = FakeArm(self.clock, self.crash_point, all_eligible(3) if instances is None else instances)
        self.settings = replace(
            Settings(service_bus=ServiceBusConnection(namespace="ns"), allowed_scopes=(Scope(SUBSCRIPTION),)),
            **settings,
        )
        self.failures: list[Exception] = []
        self.restart()

    def restart(self) -> None:
        """A new process: nothing in memory is left."""
        self.crash_point.dead = False
        arm = ThrottlingGateway(
            cast(Gateway, self.arm), default_pause=self.settings.timing.min_poll, monotonic=self.clock.seconds
        )
        clocks: dict[str, Any] = {"now": self.clock, "monotonic": self.clock.seconds}
        self.runner = Runner(
            arm,
            self.bus,
            self.coordination,
            self.settings.rules,
            **clocks,
            watch=self.watch,
            read_tags=read_tag_policy,
        )
        self.views = self.runner.views
        self.handler = RequestHandler(
            self.bus, self.coordination, self.settings, work_off=self._work_off, now=self.clock
        )
        intake = {"request": self.handler.handle_delivery}
        self.poller = Poller(self.runner, self.bus, self.settings, intake=intake, **clocks, watch=self.watch)
        self.dead_letters = DeadLetterReader(
            self.bus,
            self.handler.give_up,
            self.handler.deadline,
            intake=tuple(intake),
            now=self.clock,
            watch=self.watch,
        )

    async def _work_off(self) -> None:
        """Left to the next tick, so that a crash point kills one thing at a time."""

    def send(self, body: object = None, *, message_id: str = "req-1", **properties: str | int | bool) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(request_body() if body is None else body).encode()
        self.bus.requests.send(Message(raw, message_id, self.clock(), properties))

    async def deliver(self) -> None:
        """Every request that is due, each completed where the function returns and abandoned where it raises."""
        for message in self.bus.requests.take(100):
            try:
                await self.handler.handle(envelope_of(message))
            except Exception as error:
                self.failures.append(error)
                message.locked_until = self.clock()
            else:
                self.crash_point.step("request is completed")
                self.bus.requests.settle(message)

    async def tick(self) -> Tick:
        return await self.poller.tick()

    async def run(self, *, hours: float = 72) -> None:
        """Until both queues are empty, through any death of the process. Fails where that takes too long."""
        asyncio.get_running_loop().set_exception_handler(pass_over_killed)
        for _ in range(5_000):
            try:
                await self.deliver()
                await self.tick()
                await self.dead_letters.read()
            except (Killed, BaseExceptionGroup):
                if not self.crash_point.dead:
                    raise
            if self.crash_point.dead:
                self.restart()
            queues = (self.bus.requests, self.bus.operations_queue)
            upcoming = [at for queue in queues if (at := queue.next_at) is not None]
            if not upcoming and not any(queue.dead for queue in queues):
                return
            if upcoming:
                self.clock.time = max(self.clock.time, min(upcoming))
            assert self.clock.seconds() < timedelta(hours=hours).total_seconds(), "it does not come to an end"
        raise AssertionError("it does not come to an end")

    @property
    def end(self) -> dict[str, Any]:
        """The data of the one end that subscribers saw."""
        assert len(self.bus.ends) == 1, sorted(self.bus.events)
        return dict(self.bus.ends[0].data)

    @property
    def outcomes(self) -> dict[str, str]:
        return {entry["instanceId"]: entry["outcome"] for entry in self.end["instances"]}
