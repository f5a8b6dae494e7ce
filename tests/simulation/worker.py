"""The product's use cases put together as `maintenance.worker` does, over what a simulated process has for gateways."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, cast

from azure.servicebus.aio import ServiceBusClient

from maintenance.alerts.messages import REQUEST
from maintenance.arm.throttling import ThrottlingGateway
from maintenance.domain.errors import BusUnavailable
from maintenance.domain.messages import Envelope
from maintenance.domain.operation import Operation
from maintenance.domain.resources import Scope
from maintenance.lifecycle.actions import Continue, Done, LeaveToJudge
from maintenance.operations.dead_letters import DeadLetterReader
from maintenance.operations.poller import Poller
from maintenance.operations.runner import Runner
from maintenance.requests.handler import RequestHandler
from maintenance.servicebus.coordination_queue import CoordinationQueue
from maintenance.settings import ServiceBusConnection, Settings
from tests.simulation.arm_gateway import RUN, Arm
from tests.simulation.clock import moment_of
from tests.simulation.gateways import Bus, CoordinationClient
from tests.simulation.plans import SUBSCRIPTION
from tests.simulation.process import Process
from tests.simulation.service_bus import Message

SETTINGS = Settings(service_bus=ServiceBusConnection(), allowed_scopes=(Scope(SUBSCRIPTION),))


class WatchedRunner(Runner):
    """The product's, and the calls that it makes know on whose account they are made."""

    process: Process

    async def run(self, operation: Operation, **delivery: Any) -> Continue | Done | LeaveToJudge:
        RUN.set(operation)
        tell, name = (
            self.process.simulation.tell,
            f"{operation.phase.value} s{operation.number} of run {operation.run_id[:6]}",
        )
        tell("  {} delivers {}{}", self.process, name, " again" if delivery["redelivered"] else "")
        result = await super().run(operation, **delivery)
        if isinstance(result, Continue):
            followed, due = result.operation, result.due.strftime("%d %H:%M:%S")
            tell("  {} decides after {}: {}, due {}", self.process, name, followed.describe(), due)
        return result


class SimulatedWorker:
    """The parts of one process. See `maintenance.worker.Worker`."""

    def __init__(self, process: Process) -> None:
        knobs = process.simulation.plan.knobs
        settings = replace(SETTINGS, read_instance_views=knobs.views, wait_for_lease=knobs.wait_for_lease)
        if knobs.policies is not None:
            settings = replace(settings, calendar=knobs.policies.calendar, limits=knobs.policies.limits)
        self.process = process
        self._simulation = process.simulation
        bus = Bus(process)
        client = cast(ServiceBusClient, CoordinationClient(process))
        coordination = CoordinationQueue(
            client, settings.coordination_queue, now=process.now, monotonic=process.monotonic
        )
        arm = ThrottlingGateway(Arm(process), default_pause=settings.timing.min_poll, monotonic=process.monotonic)
        runner = WatchedRunner(arm, bus, coordination, settings.rules, now=process.now, monotonic=process.monotonic)
        runner.process = process
        self._handler = RequestHandler(bus, coordination, settings, work_off=self._work_off, now=process.now)
        intake = {REQUEST: self._handler.handle_delivery}
        self._poller = Poller(runner, bus, settings, intake=intake, now=process.now, monotonic=process.monotonic)
        self._dead_letters = DeadLetterReader(
            bus, self._handler.give_up, self._handler.deadline, intake=tuple(intake), now=process.now
        )

    async def poll(self) -> None:
        await self._guard("tick", self._poller.tick())

    async def read_dead_letters(self) -> None:
        await self._guard("dead letters", self._dead_letters.read())

    async def receive(self, message: Message, token: int) -> None:
        """As the Functions host does: complete where the function returns, abandon where it raises, and renew the lock
        as long as the process lives."""
        queue, loop = self._simulation.requests, self._simulation.loop

        def renew() -> None:
            if queue.renew(message, token):
                loop.call_later(120.0, renew, context=self.process.context)

        loop.call_later(120.0, renew, context=self.process.context)
        envelope = Envelope(
            body=message.body,
            message_id=message.message_id,
            sequence_number=message.number,
            delivery_count=message.deliveries,
            enqueued_at=moment_of(message.enqueued_at),
            correlation_id=message.correlation_id,
        )
        try:
            await self.process.call("request", "requests", lambda: None, RuntimeError)
            await self._handler.handle(envelope)
            await self.process.call(
                "complete request", "requests", lambda: queue.complete(message, token), RuntimeError
            )
        except Exception as error:
            self._simulation.note("handler failed")
            self._simulation.tell("{}: the handler raises {!r}", self.process, error)
            queue.abandon(message, token)

    async def _work_off(self) -> None:
        await self._poller.work_off()

    async def _guard(self, name: str, work: object) -> None:
        try:
            await work  # type: ignore[misc]
        except BusUnavailable:
            self._simulation.note(f"{name}: ended by Service Bus")
        except BaseExceptionGroup as group:
            if group.split(BusUnavailable)[1] is not None:
                self._simulation.promises.break_("unexpected", f"{name} raises {group!r}")
            self._simulation.note(f"{name}: raised a group of errors of Service Bus's")
        except Exception as error:
            self._simulation.promises.break_("unexpected", f"{name} raises {error!r}")


def body_of(document: object) -> bytes:
    return document if isinstance(document, bytes) else json.dumps(document).encode()
