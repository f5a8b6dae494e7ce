"""The process dies after any awaited step: what was exported is one whole trace, and nothing of it is lost."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import ReadableSpan

from maintenance.domain.observations import Submission
from maintenance.domain.resources import ScaleSet
from tests.support.fake_arm import FakeArm, all_eligible
from tests.support.samples import NOW, request_body
from tests.support.telemetry import Recorded, ids_of
from tests.support.unit_environment import UnitEnvironment

TRACE, SENDER = 0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331
TRACEPARENT = f"00-{TRACE:032x}-{SENDER:016x}-01"


@pytest.fixture(autouse=True)
def _silence() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


class CalledArm(FakeArm):
    """Its calls are reported as the client of Resource Manager reports them."""

    recorded: Recorded

    async def perform_maintenance(self, scale_set: ScaleSet, instance_ids: object) -> Submission:
        submission: Submission = await super().perform_maintenance(scale_set, instance_ids)  # type: ignore[arg-type] # its own
        self.recorded.watch.called("POST", 202, {"x-ms-request-id": "arm-1"})
        return submission


class Traced(UnitEnvironment):
    """A rollout of three waves, in a process whose spans are lost with it where they were not exported."""

    def __init__(self, die_at: int | None = None) -> None:
        super().__init__(all_eligible(5), die_at=die_at)
        self.recorded = Recorded(self.clock)
        self.watch = self.recorded.watch
        self.arm = CalledArm(self.clock, self.crash_point, all_eligible(5))
        self.arm.recorded = self.recorded
        self.restart()
        body = request_body(instanceIds=..., rollout={"maxInstancesPerWave": "40%"})
        self.send(body, traceparent=TRACEPARENT)

    def restart(self) -> None:
        if self.crash_point.dead:
            self.recorded.exported.waiting.clear()
        super().restart()


def check(environment: Traced) -> None:
    spans = environment.recorded.exported.by_id()
    named: dict[str, list[ReadableSpan]] = {}
    for span in spans.values():
        named.setdefault(span.name, []).append(span)
        assert ids_of(span).trace_id == TRACE
    parents = {span.parent.span_id for span in spans.values() if span.parent is not None}
    assert parents <= set(spans) | {SENDER}
    assert set(named) == {"maintenance web", "wave 1", "wave 2", "wave 3", "POST performMaintenance"}
    assert {len(named[name]) for name in named if name != "POST performMaintenance"} == {1}
    posted = {spans[post.parent.span_id].name for post in named["POST performMaintenance"] if post.parent is not None}
    assert posted == {"wave 1", "wave 2", "wave 3"}
    (run,) = named["maintenance web"]
    assert run.parent is not None and run.parent.span_id == SENDER
    assert (run.start_time, run.end_time) == (nanoseconds(NOW.timestamp()), nanoseconds(ended_at(environment)))


def nanoseconds(seconds: float) -> int:
    return round(seconds * 1_000_000) * 1_000


def ended_at(environment: Traced) -> float:
    return environment.bus.ends[0].time.timestamp()


async def test_request_is_one_trace_and_each_post_is_below_its_wave() -> None:
    environment = Traced()
    await environment.run()
    check(environment)
    spans = environment.recorded.exported.by_id()
    posts = [span for span in spans.values() if span.name == "POST performMaintenance"]
    assert sorted(spans[post.parent.span_id].name for post in posts if post.parent) == ["wave 1", "wave 2", "wave 3"]
    assert {(post.attributes or {})["azure.service.request.id"] for post in posts} == {"arm-1"}
    numbers = environment.recorded.metrics()
    assert numbers["vmss.maintenance.operations.ended", "Succeeded"] == 1
    assert numbers["vmss.maintenance.instances", "Completed"] == 5


async def test_process_that_dies_at_some_step_leaves_one_whole_trace() -> None:
    undisturbed = Traced()
    await undisturbed.run()
    steps = len(undisturbed.crash_point.steps)
    assert steps > 30
    # Every third, to take a second in all.
    for die_at in range(1, steps + 1, 3):
        environment = Traced(die_at)
        await environment.run()
        check(environment)
