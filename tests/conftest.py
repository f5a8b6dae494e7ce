"""Fixtures for tests that talk to the sandbox."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from sandbox.resource_manager import seed_example
from tests.support.environment import DURATION, Estate, Running, estate, running
from tests.support.secret_scanner import SECRECY


@pytest.fixture(scope="session", autouse=True)
def _all_is_heard() -> Iterator[None]:
    """All of the worker's log is listened to, and of the libraries' what the worker lets through."""
    levels = {"maintenance": logging.DEBUG, "azure": logging.WARNING, "httpx": logging.WARNING}
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    logging.getLogger().addHandler(SECRECY)
    yield
    logging.getLogger().removeHandler(SECRECY)
    # What came after the last test: its module's services were closed.
    assert SECRECY.leaks() == []


@pytest.fixture(autouse=True)
def _nothing_secret_is_told() -> Iterator[None]:
    yield
    assert SECRECY.leaks() == []


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
