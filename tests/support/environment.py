"""Azure on loopback with a worker in it, for tests over real SDKs and sockets."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import azure.functions as func
from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient

from maintenance.domain.coordination import Lease
from maintenance.domain.resources import ScaleSet
from maintenance.servicebus.coordination_queue import CoordinationQueue
from maintenance.settings import read_settings
from maintenance.worker import Worker
from sandbox.cli.environment import worker_environment
from sandbox.functions_host import FunctionsHost
from sandbox.managed_identity import ManagedIdentity
from sandbox.resource_manager import EXAMPLE_RESOURCE_GROUP, EXAMPLE_SUBSCRIPTION_ID, ResourceManager, seed_example
from sandbox.servicebus import HandMovedClock, ServiceBus, Topology, system_clock
from tests.support.secret_scanner import SECRECY

TOPOLOGY = Path(__file__).parents[2] / "infra" / "topology.json"
REQUESTS = "maintenance-requests"
OPERATIONS = "maintenance-operations"
ROLLOUTS = "maintenance-coordination"
TOPIC = "maintenance-events"
SUBSCRIPTION = "all-events"
ENTITIES = (REQUESTS, OPERATIONS, f"{TOPIC}/Subscriptions/{SUBSCRIPTION}")

DURATION = timedelta(seconds=0.3)

# The product's pauses are seconds to minutes; tests wait for what happens, not for pauses.
QUICK = {
    "MAINTENANCE_MIN_POLL_INTERVAL": "PT0.05S",
    "MAINTENANCE_DEFAULT_POLL_INTERVAL": "PT0.1S",
    "MAINTENANCE_MAX_POLL_INTERVAL": "PT1S",
    # Longer than any POST takes here, even on a busy machine: JUDGE must not speak before its answer.
    "MAINTENANCE_SETTLE_TIME": "PT5S",
    "MAINTENANCE_VIEW_LAG": "PT0S",
    "MAINTENANCE_LEASE_WAIT": "PT0S",
    "MAINTENANCE_RECEIVE_WAIT": "PT0.2S",
    "MAINTENANCE_TICK_BUDGET": "PT2S",
}


@dataclass(frozen=True, slots=True)
class Event:
    """A CloudEvent as a subscriber sees it, with the properties of its message."""

    message_id: str
    subject: str
    correlation_id: str
    properties: dict[str, Any]
    document: dict[str, Any]

    @property
    def kind(self) -> str:
        return str(self.document["type"]).split(".")[-2]

    @property
    def status(self) -> str:
        return str(self.document["data"]["status"])

    @property
    def data(self) -> dict[str, Any]:
        data: dict[str, Any] = self.document["data"]
        return data

    @property
    def outcomes(self) -> dict[str, str]:
        return {entry["instanceId"]: entry["outcome"] for entry in self.data.get("instances", [])}

    @property
    def ends(self) -> bool:
        return self.kind in ("completed", "rejected", "duplicate")


@dataclass
class Estate:
    """The services, what has been heard from the events topic so far, and how many requests are being handled."""

    bus: ServiceBus
    arm: ResourceManager
    identity: ManagedIdentity
    events: list[Event] = field(default_factory=list)
    worker_options: dict[str, Any] = field(default_factory=dict)
    heard_up_to: int = 0
    handling: int = 0

    def environment(self, **settings: str) -> dict[str, str]:
        names = worker_environment(
            servicebus=self.bus.connection_string,
            arm_endpoint=self.arm.endpoint,
            identity=self.identity.environment,
            function_key="test",
        )
        return {**names, **QUICK, **settings}

    def left_over(self) -> dict[str, str]:
        """What is left in the queues, the events subscription aside; empty when everything was dealt with."""
        counts = {entity: self.bus.counts(entity) for entity in (REQUESTS, OPERATIONS)}
        return {entity: str(count) for entity, count in counts.items() if not count.empty}

    def notices(self) -> list[str]:
        """The notices of rollouts and cancellations that are up."""
        return [message.body.decode() for message in self.bus.peek(ROLLOUTS)]

    def overhear(self) -> None:
        """Look at the events that have arrived, without a connection that could be in trouble itself."""
        for message in self.bus.peek(ENTITIES[-1], 10_000):
            if message.sequence_number > self.heard_up_to:
                self.heard_up_to = message.sequence_number
                self.events.append(
                    Event(
                        message_id=message.message_id,
                        subject=str(message.subject),
                        correlation_id=str(message.correlation_id),
                        properties=message.application_properties,
                        document=json.loads(message.body),
                    )
                )

    def posts(self) -> list[Any]:
        return [call for call in self.arm.calls if call.method == "POST"]


@contextmanager
def estate(
    *, duration: timedelta = DURATION, throttling: bool = False, clock: HandMovedClock | None = None
) -> Iterator[Estate]:
    """All services, with the example scale sets in them. With `clock` they, and the worker, go by it."""
    time_of = clock or system_clock
    with (
        ManagedIdentity() as identity,
        ResourceManager(tokens=identity.accepts, duration=duration, throttling=throttling, clock=time_of) as arm,
        ServiceBus(Topology.read(TOPOLOGY), clock=time_of) as bus,
    ):
        seed_example(arm, duration=duration)
        services = Estate(bus, arm, identity, worker_options={"now": time_of})
        SECRECY.watch(services)
        try:
            yield services
        finally:
            SECRECY.look_through(services)


class Running:
    """A worker at work on an estate: its queue trigger listens, its timer fires when a test says so."""

    def __init__(self, estate: Estate, worker: Worker, client: ServiceBusClient) -> None:
        self.estate = estate
        self.worker = worker
        self.client = client
        self._sender = client.get_queue_sender(REQUESTS)
        self._receiver = client.get_subscription_receiver(TOPIC, SUBSCRIPTION, socket_timeout=0.01)

    async def send(
        self,
        body: Mapping[str, Any] | bytes,
        *,
        message_id: str | None = None,
        properties: dict[str, Any] | None = None,
    ) -> str:
        """Send a request; returns its message id."""
        message_id = message_id or f"test-{uuid.uuid4().hex[:8]}"
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        await self._sender.send_messages(
            ServiceBusMessage(raw, message_id=message_id, application_properties=dict(properties or {}))  # type: ignore[arg-type] # str keys are str | bytes keys
        )
        return message_id

    async def send_operations(self, *messages: ServiceBusMessage) -> None:
        """Put messages into the operations queue, as nobody but the worker should."""
        async with self.client.get_queue_sender(OPERATIONS) as sender:
            await sender.send_messages(list(messages))

    async def hear(self, *, wait: float = 0.2) -> None:
        """Receive the events that have arrived."""
        for message in await self._receiver.receive_messages(max_message_count=50, max_wait_time=wait):
            SECRECY.saw("event", b"".join(message.body), message.application_properties)
            properties = {
                (key.decode() if isinstance(key, bytes) else key): (
                    value.decode() if isinstance(value, bytes) else value
                )
                for key, value in (message.application_properties or {}).items()
            }
            self.estate.events.append(
                Event(
                    message_id=str(message.message_id),
                    subject=str(message.subject),
                    correlation_id=str(message.correlation_id),
                    properties=properties,
                    document=json.loads(b"".join(message.body)),
                )
            )
            await self._receiver.complete_message(message)

    async def finish(self, *request_ids: str, within: float = 30.0) -> dict[str, Event]:
        """Fire the timer until each of the requests has ended; returns how. Fails with what was heard otherwise."""
        give_up = time.monotonic() + within
        while True:
            ended = {event.data["requestId"]: event for event in self.estate.events if event.ends}
            if all(request_id in ended for request_id in request_ids):
                return ended
            if time.monotonic() > give_up:
                heard = [(event.message_id, event.status) for event in self.estate.events]
                raise AssertionError(f"{request_ids} did not end within {within} s; heard: {heard}")
            await self.worker.poll()
            await self.hear()

    async def until(self, holds: Callable[[], bool], *, within: float = 20.0) -> None:
        """Fire the timer and listen until something holds."""
        give_up = time.monotonic() + within
        while not holds():
            if time.monotonic() > give_up:
                raise AssertionError(f"it did not hold within {within} s")
            await self.worker.poll()
            await self.hear()

    async def haunt(self, scale_set: str, *, lasts: timedelta) -> None:
        """Leave a notice as a worker leaves it that died, with all that it knew."""
        key = ScaleSet(EXAMPLE_SUBSCRIPTION_ID, EXAMPLE_RESOURCE_GROUP, scale_set).key
        now = self.estate.worker_options["now"]
        board = CoordinationQueue(self.client, ROLLOUTS, now=now)
        await board.put(Lease(run_id="0" * 32, request_id="dead", scale_set=key, until=now() + lasts))
        await board.close()

    async def drain(self, *, within: float = 10.0) -> None:
        """Fire the timer until the queues are empty."""
        give_up = time.monotonic() + within
        while self.estate.left_over():
            if time.monotonic() > give_up:
                raise AssertionError(f"the queues are not empty: {self.estate.left_over()}")
            await self.worker.poll()

    async def open(self) -> None:
        await self._receiver.__aenter__()

    async def close(self) -> None:
        # Closing a link takes the SDK about a second; together they take no longer than one.
        async with asyncio.TaskGroup() as group:
            for resource in (self._sender, self._receiver, self.worker):
                group.create_task(resource.close())


@asynccontextmanager
async def running(estate: Estate, **settings: str) -> AsyncIterator[Running]:
    """A worker on `estate`, with the settings of the sandbox but for those given.

    The identity's variables must be in the environment of this process, as they are in Azure.
    """
    worker = Worker(read_settings(estate.environment(**settings)), **estate.worker_options)
    app = func.FunctionApp()

    @app.service_bus_queue_trigger(
        arg_name="message", queue_name=REQUESTS, connection="ServiceBusConnection", data_type=func.DataType.BINARY
    )
    async def receive_request(message: func.ServiceBusMessage) -> None:
        # What a worker writes onto the clone of a request; the body is the sender's own.
        SECRECY.saw("request", message.application_properties)
        estate.handling += 1
        try:
            await worker.receive(message)
        finally:
            estate.handling -= 1

    client = ServiceBusClient.from_connection_string(estate.bus.connection_string, retry_backoff_factor=0.05)
    async with client, FunctionsHost(app, environment=estate.environment()):
        job = Running(estate, worker, client)
        await job.open()
        try:
            yield job
        finally:
            await job.close()


def request(scale_set: str = "web", **fields: Any) -> dict[str, Any]:
    """A request for a scale set of the example estate."""
    return {
        "subscriptionId": EXAMPLE_SUBSCRIPTION_ID,
        "resourceGroupName": EXAMPLE_RESOURCE_GROUP,
        "vmScaleSetName": scale_set,
        **fields,
    }
