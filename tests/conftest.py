"""Fixtures for tests that talk to the sandbox."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from sandbox.resource_manager import seed_example
from tests.estate import DURATION, Estate, Running, estate, running


@pytest.fixture
def azure(monkeypatch: pytest.MonkeyPatch) -> Iterator[Estate]:
    """An estate of its own, with this process having its managed identity."""
    with estate() as services:
        for name, value in services.identity.environment.items():
            monkeypatch.setenv(name, value)
        yield services


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_job() -> AsyncIterator[Running]:
    """One worker for all tests of a module: the SDK takes seconds to open and close its links."""
    with estate() as services, pytest.MonkeyPatch.context() as patch:
        for name, value in services.identity.environment.items():
            patch.setenv(name, value)
        async with running(services) as job:
            yield job


@pytest.fixture
def job(shared_job: Running) -> Running:
    """The module's worker, its estate as new. Needs a pytestmark of asyncio(loop_scope="module")."""
    services = shared_job.estate
    services.arm.reset()
    seed_example(services.arm, duration=DURATION)
    services.events.clear()
    return shared_job
