"""The entities of the namespace, and what is in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from maintenance.servicebus.namespace_check import SUBJECT as CHECK
from sandbox.servicebus import ServiceBus

TOPOLOGY = Path(__file__).parents[2] / "infra" / "topology.json"
REQUESTS = "maintenance-requests"
OPERATIONS = "maintenance-operations"
COORDINATION = "maintenance-coordination"
TOPIC = "maintenance-events"
SUBSCRIPTION = "all-events"
ENTITIES = (REQUESTS, OPERATIONS, f"{TOPIC}/Subscriptions/{SUBSCRIPTION}")


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


def remains(bus: ServiceBus, *, leases: bool = True) -> list[str]:
    """What runs that have not ended leave in the queues, and their leases, unless they may keep them."""
    # A process killed while it checks the namespace leaves a message that a tick drops an hour later.
    left = [each for each in left_over(bus) if f" {CHECK} " not in each]
    return left + [f"the lease of {entry['requestId']}" for entry in entries(bus, "lease") if leases]
