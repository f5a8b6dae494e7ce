"""Test environment of real sockets and SDKs: the sandbox's Azure services on loopback, and a worker on them."""

from __future__ import annotations

import asyncio
import functools
import json
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import azure.functions as func
from azure.servicebus import ServiceBusMessage, ServiceBusReceivedMessage
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver

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
from tests.support.contract import check_event, check_sent
from tests.support.secret_scanner import SECRET_SCANNER

TOPOLOGY = Path(__file__).parents[2] / "infra" / "topology.json"
REQUESTS = "maintenance-requests"
OPERATIONS = "maintenance-operations"
COORDINATION = "maintenance-coordination"
TOPIC = "maintenance-events"
SUBSCRIPTION = "all-events"
ENTITIES = (REQUESTS, OPERATIONS, f"{TOPIC}/Subscriptions/{SUBSCRIPTION}")

DURATION = timedelta(seconds=0.3)
# Seconds. Tests wait for events; the limit only ends a test that would wait for ever.
LIMIT = 100.0

# The product's pauses are seconds to minutes; tests wait for events, not for pauses.
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
    """CloudEvent as a subscriber receives it, with the properties of its message."""

    message_id: str
    subject: str
    correlation_id: str
    properties: dict[str, Any]
    document: dict[str, Any]

    def __post_init__(self) -> None:
        check_event(self.document)

    @property
    def kind(self) -> str:
        return str(self.document["type"]).split(".")[-2]

    @property
    def status(self) -> str:
        return str(self.document["data"]["status"])

    @property
    def run_id(self) -> str:
        """Run that the event is about: every message of it has an id made of this."""
        return str(self.document["data"]["runId"])

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


def left_over(bus: ServiceBus) -> list[str]:
    """Messages in the request and operation queues, dead letters too, but for the waiting records of runs that have
    ended: a REST record looks once more for a lease that came late, minutes after the end."""
    found = [
        f"{queue}: {message.message_id} {message.subject} {message.state}"
        for queue in (REQUESTS, OPERATIONS)
        for message in bus.peek(queue, 20_000)
        if (message.subject, message.state) != ("rest", "scheduled")
    ]
    counts = {queue: bus.counts(queue).dead_lettered for queue in (REQUESTS, OPERATIONS)}
    return found + [f"{queue}: {count} dead letters" for queue, count in counts.items() if count]


def entries(bus: ServiceBus, kind: str) -> list[dict[str, Any]]:
    """Documents of the entries of a kind that Service Bus shows as scheduled in the coordination queue."""
    messages = bus.peek(COORDINATION, 20_000)
    return [json.loads(each.body) for each in messages if (each.subject, each.state) == (kind, "scheduled")]


def remains(bus: ServiceBus) -> list[str]:
    """What runs that have not ended leave in the queues, and leases."""
    return [*left_over(bus), *(f"the lease of {entry['requestId']}" for entry in entries(bus, "lease"))]


@dataclass
class Environment:
    """Azure services, the events read from the topic so far, and the progress of requests.

    `handling`: the requests that the worker is handling. `unsettled`: the deliveries of requests whose settlement
    failed, by sequence number and delivery count; they stay locked until the clock is moved.
    """

    bus: ServiceBus
    arm: ResourceManager
    identity: ManagedIdentity
    events: list[Event] = field(default_factory=list)
    worker_options: dict[str, Any] = field(default_factory=dict)
    last_event_read: int = 0
    handling: int = 0
    unsettled: set[tuple[int | None, int | None]] = field(default_factory=set)

    def app_settings(self, **settings: str) -> dict[str, str]:
        """App settings of a worker in this environment."""
        defaults = worker_environment(
            servicebus=self.bus.connection_string,
            arm_endpoint=self.arm.endpoint,
            identity=self.identity.environment,
            function_key="test",
        )
        return {**defaults, **QUICK, **settings}

    def left_over(self) -> list[str]:
        """Messages in the request and operation queues, but for the waiting records of runs that have ended."""
        return left_over(self.bus)

    def entries(self, kind: str, scale_set: str = "") -> list[dict[str, Any]]:
        """Documents of the entries in the coordination queue: `lease` or `cancellation`, of one scale set or of all."""
        end = f"/{scale_set.lower()}" if scale_set else ""
        return [each for each in entries(self.bus, kind) if each["scaleSet"].endswith(end)]

    def read_events(self) -> None:
        """Read the events that have arrived, by peeking: without a connection that could fail itself."""
        for message in self.bus.peek(ENTITIES[-1], 10_000):
            if message.sequence_number > self.last_event_read:
                self.last_event_read = message.sequence_number
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

    @property
    def handles_requests(self) -> bool:
        """Whether a request that is due is still to be delivered, handled or settled."""
        if self.bus.counts(REQUESTS).active or self.handling:
            return True
        locked = [message for message in self.bus.peek(REQUESTS, 10_000) if message.state == "locked"]
        return any((message.sequence_number, message.delivery_count) not in self.unsettled for message in locked)


@contextmanager
def environment(
    *, duration: timedelta = DURATION, throttling: bool = False, clock: HandMovedClock | None = None
) -> Iterator[Environment]:
    """All services, with the example scale sets. With `clock`, they and the worker read the time from it."""
    time_of = clock or system_clock
    with (
        ManagedIdentity() as identity,
        ResourceManager(tokens=identity.accepts, duration=duration, throttling=throttling, clock=time_of) as arm,
        ServiceBus(Topology.read(TOPOLOGY), clock=time_of) as bus,
    ):
        seed_example(arm, duration=duration)
        services = Environment(bus, arm, identity, worker_options={"now": time_of})
        SECRET_SCANNER.watch_environment(services)
        try:
            yield services
        finally:
            SECRET_SCANNER.scan_queues(services)


class Running:
    """Worker running in an environment: its queue trigger listens, and a test fires its timer."""

    def __init__(self, environment: Environment, worker: Worker, client: ServiceBusClient) -> None:
        self.environment = environment
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
        """Send a request and return its message id."""
        message_id = message_id or f"test-{uuid.uuid4().hex[:8]}"
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        check_sent(raw)
        await self._sender.send_messages(
            ServiceBusMessage(raw, message_id=message_id, application_properties=dict(properties or {}))  # type: ignore[arg-type] # str keys are str | bytes keys
        )
        return message_id

    async def send_operations(self, *messages: ServiceBusMessage) -> None:
        """Send messages to the operations queue, as nobody but the worker should."""
        async with self.client.get_queue_sender(OPERATIONS) as sender:
            await sender.send_messages(list(messages))

    async def read_events(self, *, wait: float = 0.2) -> None:
        """Receive the events that have arrived. Waits up to `wait` seconds for the first one."""
        for message in await self._receiver.receive_messages(max_message_count=50, max_wait_time=wait):
            SECRET_SCANNER.scan("event", b"".join(message.body), message.application_properties)
            properties = {
                (key.decode() if isinstance(key, bytes) else key): (
                    value.decode() if isinstance(value, bytes) else value
                )
                for key, value in (message.application_properties or {}).items()
            }
            self.environment.events.append(
                Event(
                    message_id=str(message.message_id),
                    subject=str(message.subject),
                    correlation_id=str(message.correlation_id),
                    properties=properties,
                    document=json.loads(b"".join(message.body)),
                )
            )
            await self._receiver.complete_message(message)

    async def finish(self, *request_ids: str) -> dict[str, Event]:
        """Fire the timer until each of the requests has ended, and return their last events."""
        give_up = time.monotonic() + LIMIT
        while True:
            ended = {event.data["requestId"]: event for event in self.environment.events if event.ends}
            if all(request_id in ended for request_id in request_ids):
                return ended
            if time.monotonic() > give_up:
                read = [(event.message_id, event.status) for event in self.environment.events]
                raise AssertionError(f"{request_ids} did not end; events: {read}")
            await self.worker.poll()
            await self.read_events()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Fire the timer and read events until the condition holds."""
        give_up = time.monotonic() + LIMIT
        while not holds():
            if time.monotonic() > give_up:
                raise AssertionError("the condition did not become true")
            await self.worker.poll()
            await self.read_events()

    async def leave_lease(self, scale_set: ScaleSet, *, until: datetime) -> None:
        """Leave the lease of a worker that crashed and whose records are lost."""
        queue = CoordinationQueue(self.client, COORDINATION, now=self.environment.worker_options["now"])
        await queue.put(Lease(run_id="0" * 32, request_id="crashed", scale_set=scale_set.key, until=until))
        await queue.close()

    async def drain(self) -> None:
        """Fire the timer until every run has ended and nothing else is left in the queues."""
        give_up = time.monotonic() + LIMIT
        while self.environment.left_over():
            if time.monotonic() > give_up:
                raise AssertionError(f"the queues are not empty: {self.environment.left_over()}")
            await self.worker.poll()

    async def open(self) -> None:
        await self._receiver.__aenter__()

    async def close(self) -> None:
        # The SDK takes about a second to close a link, so they are closed concurrently.
        async with asyncio.TaskGroup() as group:
            for resource in (self._sender, self._receiver, self.worker):
                group.create_task(resource.close())


@asynccontextmanager
async def running(environment: Environment, **settings: str) -> AsyncIterator[Running]:
    """A worker in `environment`, with its app settings changed by `settings`.

    The managed identity's variables must be set in this process, as they are in Azure.
    """
    worker = Worker(read_settings(environment.app_settings(**settings)), **environment.worker_options)
    client = ServiceBusClient.from_connection_string(environment.bus.connection_string, retry_backoff_factor=0.05)
    job = Running(environment, worker, client)
    app = func.FunctionApp()

    @app.service_bus_queue_trigger(
        arg_name="message", queue_name=REQUESTS, connection="ServiceBusConnection", data_type=func.DataType.BINARY
    )
    async def receive_request(message: func.ServiceBusMessage) -> None:
        environment.handling += 1
        try:
            await job.worker.receive(message)
        finally:
            environment.handling -= 1

    with _settlements_watched(environment):
        async with client, FunctionsHost(app, environment=environment.app_settings()):
            await job.open()
            try:
                yield job
            finally:
                await job.close()


@contextmanager
def _settlements_watched(environment: Environment) -> Iterator[None]:
    """Note the deliveries of requests whose settlement fails, at the SDK's receivers."""

    def watched(settle: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        @functools.wraps(settle)
        async def settle_and_note(receiver: ServiceBusReceiver, message: ServiceBusReceivedMessage) -> None:
            try:
                await settle(receiver, message)
            except BaseException:
                if receiver._entity_name == REQUESTS:
                    environment.unsettled.add((message.sequence_number, message.delivery_count))
                raise

        return settle_and_note

    with (
        patch.object(ServiceBusReceiver, "complete_message", watched(ServiceBusReceiver.complete_message)),
        patch.object(ServiceBusReceiver, "abandon_message", watched(ServiceBusReceiver.abandon_message)),
    ):
        yield


def request(scale_set: str = "web", **fields: Any) -> dict[str, Any]:
    """The document of a request for one of the example scale sets."""
    return {
        "subscriptionId": EXAMPLE_SUBSCRIPTION_ID,
        "resourceGroupName": EXAMPLE_RESOURCE_GROUP,
        "vmScaleSetName": scale_set,
        **fields,
    }
