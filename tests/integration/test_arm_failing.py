"""Azure Resource Manager in trouble: each kind, in a subscription of its own, all followed at the same time."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import pytest
import pytest_asyncio

from sandbox.resource_manager import Call, InstanceSeed, ScaleSetSeed
from tests.integration.arm_troubles import TROUBLES
from tests.support.environment import OPERATIONS, Event
from tests.support.time_travel import START, Journey, journey

pytestmark = pytest.mark.asyncio(loop_scope="module")

IDS = {name: f"{number:08x}-1111-4111-8111-111111111111" for number, name in enumerate(TROUBLES)}
IMPATIENT = 2.0
RELIABILITY = Path(__file__).parents[2] / "docs" / "reliability.md"


class Log(logging.Handler):
    """What the worker logs."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


class Troubled:
    """What came of all troubles."""

    def __init__(self, there: Journey, ended: dict[str, Event], log: Log) -> None:
        self.there = there
        self.environment = there.environment
        self.ended = ended
        self.log = log
        self._calls = there.calls

    def posts(self, name: str) -> list[Call]:
        return self._calls(IDS[name], "/performMaintenance")

    def polls(self, name: str) -> list[Call]:
        return self._calls(IDS[name], "/operations/")

    def views(self, name: str) -> list[Call]:
        return [call for call in self._calls(IDS[name]) if call.path.endswith("/virtualMachines")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def troubled() -> AsyncIterator[Troubled]:
    """Every trouble, followed to its end."""
    log = Log()
    logging.getLogger("maintenance").addHandler(log)
    async with journey(IDS.values(), worker_options={"arm_timeout": IMPATIENT}) as there:
        for name, transient_error in TROUBLES.items():
            seeds = [
                InstanceSeed(number, outcome=transient_error.seeded, duration=transient_error.lasts)
                for number in ("0", "1")
            ]
            there.environment.arm.seed(ScaleSetSeed(IDS[name], "shop", "web", instances=tuple(seeds)))
            for fault in transient_error.ordered(IDS[name]):
                there.environment.arm.faults.add(fault)
            deadline = {"deadline": (START + transient_error.within).isoformat()} if transient_error.within else {}
            await there.send(IDS[name], name, instanceIds=["0", "1"], **deadline)
        yield Troubled(there, await there.finish(*TROUBLES), log)
    logging.getLogger("maintenance").removeHandler(log)


@pytest.mark.parametrize("name", TROUBLES)
async def test_the_event_says_how_it_ended(troubled: Troubled, name: str) -> None:
    transient_error, event = TROUBLES[name], troubled.ended[name]
    assert event.kind == "completed"
    assert event.status == transient_error.status
    assert event.outcomes == {"0": transient_error.outcome, "1": transient_error.outcome}
    told = json.dumps(event.data["error"])
    for part in transient_error.tells:
        assert part in told
    assert (event.data["error"] is None) == (transient_error.status == "Succeeded")
    assert any(transient_error.logs in line for line in troubled.log.lines)


@pytest.mark.parametrize("name", TROUBLES)
async def test_arm_sees_so_many_calls_and_no_instance_is_maintained_twice(troubled: Troubled, name: str) -> None:
    transient_error = TROUBLES[name]
    posts, polls, views = troubled.posts(name), troubled.polls(name), troubled.views(name)
    assert len(posts) == transient_error.posts
    assert transient_error.polls is None or len(polls) == transient_error.polls
    assert transient_error.views is None or len(views) == transient_error.views
    reports = troubled.environment.arm.instances(IDS[name], "shop", "web")
    assert [report.maintenance_count for report in reports] == [transient_error.maintained] * 2
    if transient_error.at_least:
        calls = posts if name.startswith("post") else polls if name.startswith("poll") else views
        assert calls[1].time - calls[0].time >= transient_error.at_least


@pytest.mark.parametrize("name", ["poll-500-always", "poll-401-always", "views-500-always"])
async def test_what_fails_again_and_again_is_asked_ever_more_seldom(troubled: Troubled, name: str) -> None:
    calls = troubled.views(name) if name.startswith("views") else troubled.polls(name)
    pauses = [later.time - earlier.time for earlier, later in pairwise(calls)]
    assert 5 <= len(calls) <= 9
    assert pauses[-1] > 3 * pauses[0]


async def test_each_request_ends_once_and_nothing_is_left(troubled: Troubled) -> None:
    endings = [event.data["requestId"] for event in troubled.environment.events if event.ends]
    assert sorted(endings) == sorted(TROUBLES)
    assert troubled.environment.left_over() == {}
    assert troubled.environment.bus.counts(OPERATIONS).empty


async def test_every_trouble_stands_in_the_documentation() -> None:
    described = RELIABILITY.read_text()
    assert [name for name in TROUBLES if f"`{name}`" not in described] == []


async def test_after_a_token_was_revoked_another_is_asked_for(troubled: Troubled) -> None:
    there, own = troubled.there, IDS["none"]
    there.environment.arm.seed(ScaleSetSeed(own, "shop", "web", instances=(InstanceSeed("0"),)))
    given_out = there.environment.identity.issued
    there.environment.identity.revoke()
    await there.send(own, "revoked", instanceIds=["0"])
    ended = await there.finish("revoked")
    assert ended["revoked"].status == "Succeeded"
    # By the look that came too late for the old one; no second POST, and no waiting for the old one to expire.
    assert there.environment.identity.issued == given_out + 1
