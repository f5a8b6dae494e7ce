"""One environment for each module of tests of a Service Bus that fails."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from sandbox.servicebus import ServiceBus, Topology
from tests.support.bus_faults import SUBSCRIPTIONS, seed
from tests.support.entities import TOPOLOGY
from tests.support.time_travel import Journey, journey

# Seconds for which a send is retried: minutes, in the product.
PATIENCE = 2.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared() -> AsyncIterator[Journey]:
    async with journey(SUBSCRIPTIONS, worker_options={"patience": PATIENCE}) as shared:
        yield shared
    gc.collect()  # here, where its warnings are ignored, and not in another module's test


@pytest.fixture
def service() -> Iterator[ServiceBus]:
    """A Service Bus alone. The modules that use it ignore warnings of sockets."""
    with ServiceBus(Topology.read(TOPOLOGY)) as service:
        yield service
    gc.collect()  # here, where its warnings are ignored, and not in another module's test


@pytest.fixture
def azure(shared: Journey) -> Iterator[Journey]:
    """The module's environment, without faults before and after the test."""
    shared.environment.events.clear()
    shared.environment.arm.calls.clear()
    yield shared
    shared.environment.bus.faults.reset()
    shared.environment.arm.observers.clear()


@pytest.fixture
def subscription(azure: Journey) -> str:
    return seed(azure)
