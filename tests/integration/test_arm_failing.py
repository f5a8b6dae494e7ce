"""Errors of Azure Resource Manager: each in a subscription of its own, all requests run at the same time."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Mapping
from fnmatch import fnmatch
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from maintenance.arm.responses import ArmResponse
from maintenance.arm.transport import AiohttpTransport, Headers
from sandbox.resource_manager import ArmEvent, Call, CallReceived, Fault, InstanceSeed, ResourceManager, ScaleSetSeed
from tests.integration.arm_errors import ERROR_CASES
from tests.support.limit import LIMIT
from tests.support.received import Event
from tests.support.time_travel import START, Journey, journey

# The fixture runs all requests to their end.
FIXTURE_LIMIT = 5 * LIMIT
pytestmark = pytest.mark.asyncio(loop_scope="module")

SUBSCRIPTIONS = {name: f"{number:08x}-1111-4111-8111-111111111111" for number, name in enumerate(ERROR_CASES)}
RELIABILITY = Path(__file__).parents[2] / "docs" / "reliability.md"


class Log(logging.Handler):
    """Lines that the worker logs."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


class TimingOutTransport(AiohttpTransport):
    """Transport whose call times out as soon as ARM has received it, where a fault delays the response for ever.

    So no time limit has to pass in real time, and a slow machine makes no other call time out.
    """

    def __init__(self) -> None:
        super().__init__()
        self.arm: ResourceManager | None = None
        self.delays: list[Fault] = []

    async def exchange(self, method: str, url: str, headers: Headers, body: bytes | None = None) -> ArmResponse:
        path = urlsplit(url).path
        for fault in self.delays:
            if fault.method in ("*", method) and fnmatch(path, str(fault.path)):
                self.delays.remove(fault)
                return await self._time_out(method, url, headers, body, worked=bool(fault.delay_response))
        return await super().exchange(method, url, headers, body)

    async def _time_out(
        self, method: str, url: str, headers: Headers, body: bytes | None, *, worked: bool
    ) -> ArmResponse:
        assert self.arm is not None
        path = urlsplit(url).path
        earlier = len(self.arm.calls.matching(method, path))
        call = asyncio.create_task(super().exchange(method, url, headers, body))
        give_up = time.monotonic() + LIMIT
        while len(self.arm.calls.matching(method, path)) == earlier or (worked and not self._works(path)):
            assert time.monotonic() < give_up, f"ARM did not receive {method} {path}"
            await asyncio.sleep(0.01)
        call.cancel()
        raise TimeoutError

    def _works(self, path: str) -> bool:
        """Whether ARM has started the maintenance that was posted."""
        assert self.arm is not None
        reports = self.arm.instances(path.split("/")[2], "shop", "web")
        return any(report.state == "in-progress" for report in reports)


class Results:
    """The results of all error cases."""

    def __init__(self, azure: Journey, ended: dict[str, Event], log: Log) -> None:
        self.azure = azure
        self.environment = azure.environment
        self.ended = ended
        self.log = log
        self._calls = azure.calls

    def posts(self, name: str) -> list[Call]:
        return self._calls(SUBSCRIPTIONS[name], "/performMaintenance")

    def polls(self, name: str) -> list[Call]:
        return self._calls(SUBSCRIPTIONS[name], "/operations/")

    def views(self, name: str) -> list[Call]:
        return [call for call in self._calls(SUBSCRIPTIONS[name]) if call.path.endswith("/virtualMachines")]


def add_faults_at_post(azure: Journey, name: str) -> None:
    """Add the faults of a case once its POST is called."""
    arm, subscription = azure.environment.arm, SUBSCRIPTIONS[name]

    def observe(event: ArmEvent) -> None:
        if isinstance(event, CallReceived) and event.call.method == "POST" and subscription in event.call.path:
            for fault in ERROR_CASES[name].ordered(subscription):
                arm.faults.add(fault)

    arm.observers.append(observe)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def results() -> AsyncIterator[Results]:
    """A request for every error case, all run to their end."""
    log = Log()
    logging.getLogger("maintenance").addHandler(log)
    transport = TimingOutTransport()
    async with journey(SUBSCRIPTIONS.values(), worker_options={"transport": transport}) as azure:
        transport.arm = azure.environment.arm
        for name, case in ERROR_CASES.items():
            seeds = [InstanceSeed(number, outcome=case.seeded, duration=case.lasts) for number in ("0", "1")]
            azure.environment.arm.seed(ScaleSetSeed(SUBSCRIPTIONS[name], "shop", "web", instances=tuple(seeds)))
            if case.afterwards:
                add_faults_at_post(azure, name)
            for fault in () if case.afterwards else case.ordered(SUBSCRIPTIONS[name]):
                azure.environment.arm.faults.add(fault)
                if fault.delay or fault.delay_response:
                    transport.delays.append(fault)
            deadline: Mapping[str, str] = {"deadline": (START + case.within).isoformat()} if case.within else {}
            await azure.send(SUBSCRIPTIONS[name], name, instanceIds=["0", "1"], **deadline)
        yield Results(azure, await azure.finish(*ERROR_CASES, limit=FIXTURE_LIMIT), log)
        assert transport.delays == []
    logging.getLogger("maintenance").removeHandler(log)


@pytest.mark.parametrize("name", ERROR_CASES)
async def test_request_ends_with_expected_status_and_error(results: Results, name: str) -> None:
    case, event = ERROR_CASES[name], results.ended[name]
    assert event.kind == "completed"
    assert event.status == case.status
    assert event.outcomes == {"0": case.outcome, "1": case.second or case.outcome}
    error = json.dumps(event.data["error"])
    for part in case.error:
        assert part in error
    assert (event.data["error"] is None) == (case.status == "Succeeded")
    assert any(case.logs in line for line in results.log.lines)


@pytest.mark.parametrize("name", ERROR_CASES)
async def test_arm_receives_expected_calls_and_maintains_no_instance_twice(results: Results, name: str) -> None:
    case = ERROR_CASES[name]
    posts, polls, views = results.posts(name), results.polls(name), results.views(name)
    assert len(posts) == case.posts
    assert case.polls is None or len(polls) == case.polls
    assert case.views is None or 0 <= len(views) - case.views <= len(posts)
    reports = results.environment.arm.instances(SUBSCRIPTIONS[name], "shop", "web")
    assert [report.maintenance_count for report in reports] == [case.maintained] * 2
    if case.at_least:
        calls = posts if name.startswith("post") else polls if name.startswith("poll") else views
        assert calls[1].time - calls[0].time >= case.at_least


@pytest.mark.parametrize("name", ["poll-500-always", "poll-401-always", "views-500-always"])
async def test_repeated_failure_is_retried_with_growing_pauses(results: Results, name: str) -> None:
    calls = results.views(name) if name.startswith("views") else results.polls(name)
    pauses = [later.time - earlier.time for earlier, later in pairwise(calls)]
    assert 5 <= len(calls) <= 9
    assert pauses[-1] > 3 * pauses[0]


async def test_every_request_ends_once_and_no_message_is_left(results: Results) -> None:
    endings = [event.data["requestId"] for event in results.environment.events if event.ends]
    assert sorted(endings) == sorted(ERROR_CASES)
    assert results.environment.left_over() == []


async def test_every_error_case_is_in_the_documentation() -> None:
    described = RELIABILITY.read_text()
    assert [name for name in ERROR_CASES if f"`{name}`" not in described] == []


async def test_revoked_token_is_replaced_without_waiting(results: Results) -> None:
    azure, subscription = results.azure, SUBSCRIPTIONS["none"]
    azure.environment.arm.seed(ScaleSetSeed(subscription, "shop", "web", instances=(InstanceSeed("0"),)))
    issued = azure.environment.identity.issued
    azure.environment.identity.revoke()
    await azure.send(subscription, "revoked", instanceIds=["0"])
    ended = await azure.finish("revoked")
    assert ended["revoked"].status == "Succeeded"
    # Reading the views is refused with 401, which fetches another token before the old one expires.
    assert azure.environment.identity.issued == issued + 1
