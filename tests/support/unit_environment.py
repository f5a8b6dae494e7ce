"""Test environment in memory: the worker's use cases on fakes of Azure, run until both queues are empty."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

from maintenance.arm.throttling import Gateway, ThrottlingGateway
from maintenance.domain.instances import Instance
from maintenance.domain.resources import Scope
from maintenance.lifecycle.actions import Rules
from maintenance.operations.poller import Poller, Tick
from maintenance.operations.runner import Runner
from maintenance.requests.cancellation import CancellationHandler
from maintenance.requests.handler import RequestHandler
from maintenance.settings import ServiceBusConnection, Settings
from tests.support.fakes import (
    CrashPoint,
    FakeArm,
    FakeBus,
    FakeCoordinationQueue,
    HandClock,
    Killed,
    Message,
    all_eligible,
    envelope_of,
)
from tests.support.samples import SUBSCRIPTION, request_body

DELIVERIES = 10


class UnitEnvironment:
    """One app, one scale set, one Service Bus namespace."""

    def __init__(
        self, instances: Sequence[Instance] | None = None, *, die_at: int | None = None, **settings: Any
    ) -> None:
        self.clock = HandClock()
        self.crash_point = CrashPoint(die_at)
        self.bus = FakeBus(self.clock, self.crash_point)
        self.coordination = FakeCoordinationQueue(self.crash_point)
        self.arm = FakeArm(self.clock, self.crash_point, all_eligible(3) if instances is None else instances)
        self.settings = replace(
            Settings(service_bus=ServiceBusConnection(namespace="ns"), allowed_scopes=(Scope(SUBSCRIPTION),)),
            **settings,
        )
        self.failures: list[Exception] = []
        self.restart()

    def restart(self) -> None:
        """Start a new process: everything in memory is lost."""
        rules = Rules(
            allowed_scopes=self.settings.allowed_scopes,
            timing=self.settings.timing,
            views=self.settings.read_instance_views,
        )
        runner = Runner(
            ThrottlingGateway(cast(Gateway, self.arm), default_pause=self.settings.timing.min_poll, now=self.clock),
            rules,
            coordination=self.coordination,
            now=self.clock,
        )
        self.views = runner.views
        cancellation = CancellationHandler(self.coordination, self.bus, self.settings, now=self.clock)
        self.handler = RequestHandler(runner, self.bus, self.settings, now=self.clock, routes=(cancellation,))
        self.poller = Poller(
            runner, self.bus, self.coordination, self.settings, now=self.clock, monotonic=self.clock.seconds
        )

    def send(self, body: object = None, *, message_id: str = "req-1", **properties: str | int | bool) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(request_body() if body is None else body).encode()
        self.bus.requests.send(Message(raw, message_id, self.clock(), properties))

    async def deliver(self) -> None:
        """Handle every request that is due; complete it where the handler returns, abandon it where it raises."""
        for message in self.bus.requests.take(100):
            try:
                await self.handler.handle(envelope_of(message))
            except Exception as error:
                self.failures.append(error)
                message.locked_until = self.clock()
                if message.deliveries >= DELIVERIES:
                    self.bus.requests.dead.append(("MaxDeliveryCountExceeded", type(error).__name__))
                    self.bus.requests.settle(message)
            else:
                self.crash_point.reach("request is settled")
                self.bus.requests.settle(message)

    async def tick(self) -> Tick:
        return await self.poller.tick()

    async def run(self, *, hours: float = 48) -> None:
        """Run until both queues are empty, restarting after crashes. Fails after `hours` of the fake clock."""
        for _ in range(2_000):
            try:
                await self.deliver()
                await self.tick()
            except (Killed, BaseExceptionGroup):
                self.restart()
            upcoming = [at for queue in (self.bus.requests, self.bus.operations) if (at := queue.next_at) is not None]
            if not upcoming:
                return
            self.clock.time = max(self.clock.time, min(upcoming))
            assert self.clock.seconds() < timedelta(hours=hours).total_seconds(), "it does not end"
        raise AssertionError("it does not end")

    @property
    def end(self) -> dict[str, Any]:
        """The data of the only final event that subscribers received."""
        assert len(self.bus.ends) == 1, sorted(self.bus.events)
        return dict(self.bus.ends[0].data)

    @property
    def outcomes(self) -> dict[str, str]:
        return {entry["instanceId"]: entry["outcome"] for entry in self.end["instances"]}
