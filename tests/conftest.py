"""Fixtures for tests that talk to the sandbox."""

from __future__ import annotations

import gc
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import hypothesis
import pytest
import pytest_asyncio

from sandbox.resource_manager import seed_example
from tests.support.contract import CHECKED
from tests.support.contract_watch import CONTRACT_WATCH
from tests.support.environment import DURATION, Environment, environment
from tests.support.running import Running, running
from tests.support.secret_scanner import SECRET_SCANNER

# No test is timed: by default hypothesis fails an example of over 200 ms, and a test whose examples are made slowly.
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")


def pytest_collection_finish() -> None:
    # What was collected lives until the end. Without it in the collector's rounds the unit tests take 64 s, not 71.
    gc.collect()
    gc.freeze()


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["checked"] = dict(CHECKED)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """A worker process of xdist has ended."""
    CHECKED.update(getattr(node, "workeroutput", {}).get("checked", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if CHECKED:
        counts = ", ".join(f"{count:,} {kind}" for kind, count in sorted(CHECKED.items()))
        terminalreporter.write_line(f"Checked by the JSON Schemas: {counts}")


@pytest.fixture(scope="session", autouse=True)
def _scan_logs() -> Iterator[None]:
    """Scan the worker's log at every level, and the libraries' logs at the levels that the worker lets through."""
    levels = {"maintenance": logging.DEBUG, "azure": logging.WARNING, "httpx": logging.WARNING}
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    logging.getLogger().addHandler(SECRET_SCANNER)
    yield
    logging.getLogger().removeHandler(SECRET_SCANNER)
    # Logged after the last test, when its module's services were closed.
    assert SECRET_SCANNER.leaks() == []
    assert CONTRACT_WATCH.problems() == []


@pytest.fixture(autouse=True)
def _messages_are_as_the_schemas_say() -> Iterator[None]:
    yield
    assert CONTRACT_WATCH.problems() == []


@pytest.fixture(autouse=True)
def _no_secret_leaks() -> Iterator[None]:
    yield
    assert SECRET_SCANNER.leaks() == []


@pytest.fixture
def azure(monkeypatch: pytest.MonkeyPatch) -> Iterator[Environment]:
    """An environment of its own, whose managed identity this process has."""
    with environment() as services:
        for name, value in services.identity.environment.items():
            monkeypatch.setenv(name, value)
        yield services


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_job() -> AsyncIterator[Running]:
    """One worker for all tests of a module, since the SDK takes seconds to open and close its links."""
    with environment() as services, pytest.MonkeyPatch.context() as patch:
        for name, value in services.identity.environment.items():
            patch.setenv(name, value)
        async with running(services) as job:
            yield job


@pytest.fixture
def job(shared_job: Running) -> Running:
    """The module's worker, its environment reset. Needs a pytestmark of asyncio(loop_scope="module")."""
    services = shared_job.environment
    # With the notes of runs that would keep those of the next test waiting for a minute, while views may be stale.
    services.bus.clear()
    services.arm.reset()
    seed_example(services.arm, duration=DURATION)
    services.events.clear()
    return shared_job
