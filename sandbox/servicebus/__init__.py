"""An Azure Service Bus on loopback, in pure Python: an AMQP 1.0 server that the real SDKs talk to.

    with ServiceBus(Topology.read(Path("infra/topology.json"))) as bus:
        client = ServiceBusClient.from_connection_string(bus.connection_string)

Packages, bottom to top: ``amqp`` (types to bytes, frames) → ``broker`` (semantics, no I/O, time passed in) →
``protocol`` (connections, sessions, links) → ``service`` (addresses and operations) → ``faults``,
``inspection`` → ``server``.
"""

from sandbox.clock import Clock, HandMovedClock, system_clock
from sandbox.servicebus.broker.events import (
    BusEvent,
    DuplicateDropped,
    LockLost,
    MessageAbandoned,
    MessageCompleted,
    MessageDeadLettered,
    MessageDeferred,
    MessageExpired,
    MessageReceived,
    MessageSent,
    ScheduledMessageCancelled,
)
from sandbox.servicebus.faults import DETACH_FORCED, NOT_FOUND, SERVER_BUSY, FaultInForce, Faults
from sandbox.servicebus.inspection import EntityCounts, EntityReport, PeekedMessage
from sandbox.servicebus.server import ServiceBus
from sandbox.servicebus.topology.topology import Topology, TopologyError

__all__ = [
    "DETACH_FORCED",
    "NOT_FOUND",
    "SERVER_BUSY",
    "BusEvent",
    "Clock",
    "DuplicateDropped",
    "EntityCounts",
    "EntityReport",
    "FaultInForce",
    "Faults",
    "HandMovedClock",
    "LockLost",
    "MessageAbandoned",
    "MessageCompleted",
    "MessageDeadLettered",
    "MessageDeferred",
    "MessageExpired",
    "MessageReceived",
    "MessageSent",
    "PeekedMessage",
    "ScheduledMessageCancelled",
    "ServiceBus",
    "Topology",
    "TopologyError",
    "system_clock",
]
