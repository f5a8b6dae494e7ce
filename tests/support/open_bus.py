"""A `Bus` over the real SDK, on a Service Bus whose links are made to fail."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import monotonic as stopwatch

from maintenance.domain.messages import Record
from maintenance.servicebus.bus import Bus
from maintenance.servicebus.connection import connect
from sandbox.servicebus import ServiceBus
from tests.support.connections import close_forgotten
from tests.support.entities import OPERATIONS, REQUESTS, TOPIC
from tests.support.limit import LIMIT


@asynccontextmanager
async def opened(service: ServiceBus, monotonic: Callable[[], float] = stopwatch) -> AsyncIterator[Bus]:
    async with connect(connection_string=service.connection_string) as client:
        bus = Bus(
            client,
            requests_queue=REQUESTS,
            operations_queue=OPERATIONS,
            events_topic=TOPIC,
            call_timeout=LIMIT,
            monotonic=monotonic,
        )
        yield bus
        service.faults.reset()
        await close_forgotten(service)
        await bus.close()
    await close_forgotten(service)


def record(number: int) -> Record:
    return Record(f"{number:032x}:s0", b"{}", None, "plan")
