"""Test environment of real sockets and SDKs: the sandbox's Azure services on loopback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from sandbox.cli.environment import worker_environment
from sandbox.managed_identity import ManagedIdentity
from sandbox.resource_manager import EXAMPLE_RESOURCE_GROUP, EXAMPLE_SUBSCRIPTION_ID, ResourceManager, seed_example
from sandbox.servicebus import HandMovedClock, ServiceBus, Topology, system_clock
from tests.support.contract_watch import CONTRACT_WATCH
from tests.support.entities import ENTITIES, REQUESTS, TOPOLOGY, entries, left_over
from tests.support.received import Event
from tests.support.secret_scanner import SECRET_SCANNER

DURATION = timedelta(seconds=0.3)
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
    *,
    duration: timedelta = DURATION,
    throttling: bool = False,
    clock: HandMovedClock | None = None,
    topology: Path = TOPOLOGY,
) -> Iterator[Environment]:
    """All services, with the example scale sets. With `clock`, they and the worker read the time from it."""
    time_of = clock or system_clock
    with (
        ManagedIdentity() as identity,
        ResourceManager(tokens=identity.accepts, duration=duration, throttling=throttling, clock=time_of) as arm,
        ServiceBus(Topology.read(topology), clock=time_of) as bus,
    ):
        seed_example(arm, duration=duration)
        services = Environment(bus, arm, identity, worker_options={"now": time_of})
        if clock is not None:
            services.worker_options["monotonic"] = lambda: clock().timestamp()
        SECRET_SCANNER.watch_environment(services)
        CONTRACT_WATCH.watch(bus)
        try:
            yield services
        finally:
            SECRET_SCANNER.scan_queues(services)


def request(scale_set: str = "web", **fields: Any) -> dict[str, Any]:
    """The document of a request for one of the example scale sets."""
    return {
        "subscriptionId": EXAMPLE_SUBSCRIPTION_ID,
        "resourceGroupName": EXAMPLE_RESOURCE_GROUP,
        "vmScaleSetName": scale_set,
        **fields,
    }
