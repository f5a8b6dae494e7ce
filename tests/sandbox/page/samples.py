"""A page with its services, and a reader of its stream."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from azure.servicebus import ServiceBusClient, ServiceBusSender

from sandbox.page import Page
from sandbox.page.access import TOKEN_HEADER
from sandbox.resource_manager import EXAMPLE_SUBSCRIPTION_ID, ResourceManager, seed_example
from sandbox.servicebus import HandMovedClock, ServiceBus, Topology
from tests.support.entities import TOPIC, TOPOLOGY
from tests.support.limit import LIMIT

WEB = f"{EXAMPLE_SUBSCRIPTION_ID}/shop/web"
HOSTILE = "<img src=x onerror=alert(1)>"


@dataclass
class Services:
    """What a page shows. `clock` stands still until it is moved."""

    clock: HandMovedClock
    bus: ServiceBus
    arm: ResourceManager
    page: Page
    client: ServiceBusClient
    senders: dict[str, ServiceBusSender] = field(default_factory=dict)

    def cleared(self) -> Services:
        """Itself, without messages and faults."""
        self.bus.faults.reset()
        self.arm.faults.reset()
        self.bus.clear()
        return self

    def sender(self, entity: str) -> ServiceBusSender:
        """One for each entity: the SDK takes a second to open and close its links."""
        if entity not in self.senders:
            make = self.client.get_topic_sender if entity == TOPIC else self.client.get_queue_sender
            self.senders[entity] = make(entity)
        return self.senders[entity]

    def close_senders(self) -> None:
        """Also after an outage, which detaches their links: the SDK finds that out with a later call, which it retries
        for some seconds."""
        for sender in self.senders.values():
            sender.close()
        self.senders.clear()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.page.port}"

    @property
    def token(self) -> str:
        return self.page.address.partition("#")[2]

    def perform(self, **command: Any) -> httpx.Response:
        """POST a command, with the token."""
        headers = {TOKEN_HEADER: self.token}
        return httpx.post(f"{self.url}/do", json=command, headers=headers, timeout=LIMIT, trust_env=False)

    def get(self, path: str, **headers: str) -> httpx.Response:
        return httpx.get(f"{self.url}{path}", headers=headers, timeout=LIMIT, trust_env=False)

    def call_arm(
        self, path: str = "", method: str = "GET", bearer: str = "made-up-token-of-a-test", body: str = ""
    ) -> int | None:
        """Call the example scale set `web`; the status, None where the connection was cut."""
        url = f"{self.arm.endpoint}/subscriptions/{EXAMPLE_SUBSCRIPTION_ID}/resourceGroups/shop/providers"
        url += f"/Microsoft.Compute/virtualMachineScaleSets/web{path}?api-version=2024-07-01"
        headers = {"Authorization": f"Bearer {bearer}"}
        try:
            return httpx.request(method, url, content=body, headers=headers, timeout=LIMIT, trust_env=False).status_code
        except httpx.HTTPError:
            return None


@contextmanager
def services(**options: Any) -> Iterator[Services]:
    """The example scale sets, the project's queues, and their page."""
    clock = HandMovedClock()
    with (
        ResourceManager(clock=clock) as arm,
        ServiceBus(Topology.read(TOPOLOGY), clock=clock) as bus,
        Page(bus, arm, clock=clock, **options) as page,
        ServiceBusClient.from_connection_string(bus.connection_string) as client,
    ):
        seed_example(arm)
        running = Services(clock, bus, arm, page, client)
        yield running
        running.close_senders()


@dataclass
class Seen:
    """What a page knows after the frames so far, as its scripts keep it."""

    sections: dict[str, dict[str, Any]] = field(default_factory=dict)
    calls: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    frames: list[str] = field(default_factory=list)
    last_id: str = ""

    def take(self, event: str, content: dict[str, Any]) -> None:
        self.frames.append(event)
        if event == "snapshot":
            self.sections, self.calls, self.events = {}, [], []
        for section, changed in content["changes"].items():
            entries = self.sections.setdefault(section, {})
            entries.update(changed.get("set", {}))
            for key in changed.get("gone", ()):
                del entries[key]
        self.calls += content["calls"]
        self.events += content["events"]


def watch(url: str, until: Callable[[Seen], object], seen: Seen | None = None, *, after: str = "") -> Seen:
    """Read the stream until the page knows what is waited for. `after`: the number to go on from."""
    seen = seen or Seen()
    headers = {"Last-Event-ID": after} if after else {}
    with httpx.stream("GET", f"{url}/stream", headers=headers, timeout=LIMIT, trust_env=False) as response:
        assert response.status_code == 200, response.read()
        event = ""
        for line in response.iter_lines():
            name, _, value = line.partition(": ")
            if name == "event":
                event = value
            elif name == "id":
                seen.last_id = value
            elif name == "data":
                seen.take(event, json.loads(value))
                if until(seen):
                    return seen
    raise AssertionError("the stream has ended")
