"""The order of a POST: intent, complete, act."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from maintenance.domain.coordination import Lease
from maintenance.domain.observations import Refused, Throttled
from maintenance.domain.operation import Operation, Phase
from maintenance.lifecycle.actions import Continue, LeaveToJudge
from maintenance.operations.records import read_record
from tests.support.fakes import LOST, all_eligible
from tests.support.samples import NOW, SCALE_SET, eligible, new_operation, seconds
from tests.support.unit_environment import UnitEnvironment


async def ready(environment: UnitEnvironment, **changes: object) -> Operation:
    """A POST record for all instances, with its lease up."""
    operation = new_operation(
        number=1,
        phase=Phase.POST,
        planned=True,
        flexible=False,
        waves=(("0", "1", "2"),),
        batch=("0", "1", "2"),
        baseline={each.instance_id: each.baseline for each in all_eligible(3)},
        leased_at=NOW,
    )
    await environment.coordination.put(
        Lease(run_id=operation.run_id, request_id="req-1", scale_set=SCALE_SET.key, until=NOW + timedelta(hours=12))
    )
    return replace(operation, **changes)  # type: ignore[arg-type] # any field


async def run(
    environment: UnitEnvironment,
    operation: Operation,
    *,
    confirmed: bool = True,
    then: Callable[[], None] | None = None,
) -> tuple[object, list[str]]:
    """Deliver the record; the result, and what happened in order."""
    steps = environment.crash_point.steps
    steps.clear()

    async def settle() -> bool:
        steps.append("settled" if confirmed else "not settled")
        if then is not None:
            then()
        return confirmed

    result = await environment.runner.run(operation, redelivered=False, settle=settle, views=environment.runner.views())
    return result, steps


def successors(environment: UnitEnvironment) -> dict[int, Operation]:
    messages = environment.bus.operations_queue.messages
    return {operation.number: operation for operation in (read_record(each.body) for each in messages)}


async def test_post_comes_after_judge_was_scheduled_and_the_record_completed() -> None:
    environment = UnitEnvironment()
    result, steps = await run(environment, await ready(environment))
    order = ["JUDGE is scheduled", "settled", "POST is sent", "record is sent", "JUDGE is canceled"]
    assert [step for step in steps if step in order] == order
    assert isinstance(result, LeaveToJudge)
    assert {number: each.phase for number, each in successors(environment).items()} == {3: Phase.TRACK}


async def test_nothing_is_posted_without_confirmation_that_the_record_was_completed() -> None:
    environment = UnitEnvironment()
    await run(environment, await ready(environment), confirmed=False)
    assert environment.arm.posted == []
    assert {number: each.phase for number, each in successors(environment).items()} == {2: Phase.JUDGE}


async def test_lost_response_is_left_to_judge() -> None:
    environment = UnitEnvironment()
    environment.arm.post_answers = [LOST]
    await run(environment, await ready(environment))
    assert {number: each.phase for number, each in successors(environment).items()} == {2: Phase.JUDGE}


async def test_judge_is_due_after_the_settle_time() -> None:
    environment = UnitEnvironment()
    environment.arm.post_answers = [LOST]
    await run(environment, await ready(environment))
    (message,) = environment.bus.operations_queue.messages
    assert message.due == NOW + environment.settings.timing.settle


@pytest.mark.parametrize("late", [seconds(61), timedelta(minutes=3), timedelta(hours=1)])
async def test_process_that_froze_posts_nothing_when_it_thaws(late: timedelta) -> None:
    """What was read is a minute old by then, or the stopwatch has run out."""
    environment = UnitEnvironment()

    def freeze() -> None:
        environment.clock.time += late

    await run(environment, await ready(environment), then=freeze)
    assert environment.arm.posted == []
    assert {number: each.phase for number, each in successors(environment).items()} == {3: Phase.PLAN}


async def test_each_vm_of_a_flexible_set_is_asked_for_by_itself() -> None:
    environment = UnitEnvironment()
    environment.arm.flexible = True
    await run(environment, await ready(environment, flexible=True))
    assert sorted(environment.arm.posted, key=str) == [("0",), ("1",), ("2",)]


async def test_refused_batch_is_planned_again() -> None:
    environment = UnitEnvironment()
    environment.arm.post_answers = [Refused(LOST.error, 409)]
    await run(environment, await ready(environment))
    (again,) = successors(environment).values()
    assert (again.phase, again.number, again.refused) == (Phase.PLAN, 3, ("0", "1", "2"))


async def test_throttled_post_waits_for_retry_after() -> None:
    environment = UnitEnvironment()
    environment.arm.post_answers = [Throttled(LOST.error, timedelta(minutes=20))]
    await run(environment, await ready(environment))
    (again,) = successors(environment).values()
    assert again.phase is Phase.PLAN
    assert again.resume_at is not None
    assert again.resume_at >= NOW + timedelta(minutes=20)


async def test_instance_that_changed_since_it_was_planned_is_planned_again() -> None:
    environment = UnitEnvironment()
    operation = await ready(environment)
    environment.arm.view_answers = [[eligible("0", changed_at=NOW), eligible("1"), eligible("2")]]
    result, _ = await run(environment, operation)
    assert isinstance(result, Continue)
    assert result.operation.phase is Phase.PLAN
    assert environment.arm.posted == []


async def test_coordination_queue_that_cannot_be_read_whole_counts_against_starting() -> None:
    environment = UnitEnvironment()
    operation = await ready(environment)
    environment.coordination.down = True
    result, _ = await run(environment, operation)
    assert isinstance(result, Continue)
    assert result.operation.phase is Phase.PLAN
    assert environment.arm.posted == []


async def test_worker_whose_clock_is_behind_counts_service_bus_time() -> None:
    environment = UnitEnvironment()
    operation = await ready(environment, phase=Phase.PLAN, resume_at=NOW + timedelta(minutes=5))
    result = await environment.runner.run(
        operation,
        redelivered=False,
        settle=_settled,
        views=environment.runner.views(),
        enqueued_at=NOW + timedelta(minutes=4),
    )
    assert isinstance(result, Continue)
    assert result.due == NOW + timedelta(minutes=5)


async def _settled() -> bool:
    return True
