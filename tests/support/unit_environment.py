"""The worker's two use cases on the fake Azure, run until both queues are empty."""

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
    FakeArm,
    FakeBoard,
    FakeBus,
    Fate,
    HandClock,
    Killed,
    Message,
    all_eligible,
    envelope_of,
)
from tests.support.samples import SUBSCRIPTION, request_body

DELIVERIES = 10


class World:
    """One app, one scale set, one Service Bus namespace."""

    def __init__(
        self, instances: Sequence[Instance] | None = None, *, die_at: int | None = None, **settings: Any
    ) -> None:
        self.clock = HandClock()
        self.fate = Fate(die_at)
        self.bus = FakeBus(self.clock, self.fate)
        self.board = FakeBoard(self.fate)
        self.arm = FakeArm(self.clock, self.fate, all_eligible(3) if instances is None else instances)
        self.settings = replace(
            Settings(service_bus=ServiceBusConnection(namespace="ns"), allowed_scopes=(Scope(SUBSCRIPTION),)),
            **settings,
        )
        self.failures: list[Exception] = []
        self.restart()

    def restart(self) -> None:
        """A new process: nothing in memory is left."""
        rules = Rules(
            allowed_scopes=self.settings.allowed_scopes,
            timing=self.settings.timing,
            views=self.settings.read_instance_views,
        )
        runner = Runner(
            ThrottlingGateway(cast(Gateway, self.arm), default_pause=self.settings.timing.min_poll, now=self.clock),
            rules,
            coordination=self.board,
            now=self.clock,
        )
        self.views = runner.views
        canceler = CancellationHandler(self.board, self.bus, self.settings, now=self.clock)
        self.handler = RequestHandler(runner, self.bus, self.settings, now=self.clock, routes=(canceler,))
        self.poller = Poller(runner, self.bus, self.board, self.settings, now=self.clock, monotonic=self.clock.seconds)

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
                if message.deliveries >= DELIVERIES:
                    self.bus.requests.dead.append(("MaxDeliveryCountExceeded", type(error).__name__))
                    self.bus.requests.settle(message)
            else:
                self.fate.step("request is settled")
                self.bus.requests.settle(message)

    async def tick(self) -> Tick:
        return await self.poller.tick()

    async def run(self, *, hours: float = 48) -> None:
        """Until both queues are empty, through any death of the process. Fails where that takes too long."""
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
