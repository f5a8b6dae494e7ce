"""Intent, complete, act: no POST without a confirmed completion, none with a stale look, JUDGE for the rest."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from maintenance.coordination.entries import Lease
from maintenance.domain.errors import BusUnavailable, RefusedError, ThrottledError, UntrustedUrl
from maintenance.domain.instances import Instance
from maintenance.domain.messages import Record
from maintenance.domain.observations import ErrorDetail, Refused
from maintenance.domain.operation import Operation, Phase, Status
from maintenance.lifecycle.actions import Continue, Done, LeaveToJudge
from maintenance.operations.records import read_record, to_record
from tests.support.fake_arm import LOST
from tests.support.machine import RULES, planned, posting
from tests.support.samples import NOW, RUN, SCALE_SET, eligible, new_operation, seconds
from tests.support.unit_environment import UnitEnvironment

POST = posting("0", "1", "2")
BROKEN = ErrorDetail("HostBroken", "The host broke.")


class Stage(UnitEnvironment):
    """One delivery at a time, of a record that is in no queue; `confirms` is what its completion comes to."""

    def __init__(self, instances: Sequence[Instance] | None = None, **settings: Any) -> None:
        super().__init__(instances, **settings)
        self.confirms = True
        self.settled: list[int] = []

    async def holds_lease(self) -> Stage:
        until = NOW + timedelta(hours=12)
        await self.coordination.put(Lease(run_id=RUN, request_id="req-1", scale_set=SCALE_SET.key, until=until))
        return self

    async def deliver_record(self, operation: Operation, **options: Any) -> Continue | Done | LeaveToJudge:
        async def settle() -> bool:
            self.settled.append(len(self.arm.posted))
            return self.confirms

        views = options.pop("views", None) or self.views()
        return await self.runner.run(operation, redelivered=False, settle=settle, views=views, **options)

    @property
    def records(self) -> list[Operation]:
        return [read_record(message.body) for message in self.bus.operations_queue.messages]


async def test_post_is_sent_after_judge_was_scheduled_and_the_record_completed() -> None:
    stage = await Stage().holds_lease()
    assert isinstance(await stage.deliver_record(POST), LeaveToJudge)
    assert stage.arm.posted == [("0", "1", "2")]
    assert stage.settled == [0]
    order = [stage.crash_point.steps.index(step) for step in ("JUDGE is scheduled", "POST is sent", "record is sent")]
    assert order == sorted(order)


async def test_successor_is_sent_and_judge_canceled_after_it() -> None:
    stage = await Stage().holds_lease()
    await stage.deliver_record(POST)
    assert [(record.phase, record.number) for record in stage.records] == [(Phase.TRACK, POST.number + 2)]
    assert stage.bus.log == [f"schedule {RUN}:s4", f"send {RUN}:s5", "cancel"]


async def test_completion_that_is_not_confirmed_posts_nothing_and_leaves_judge() -> None:
    stage = await Stage().holds_lease()
    stage.confirms = False
    assert isinstance(await stage.deliver_record(POST), LeaveToJudge)
    assert stage.arm.posted == []
    (judge,) = stage.records
    assert (judge.phase, judge.number) == (Phase.JUDGE, POST.number + 1)
    (message,) = stage.bus.operations_queue.messages
    assert message.due == NOW + RULES.timing.settle


async def test_completion_that_raises_posts_nothing() -> None:
    stage = await Stage().holds_lease()

    async def settle() -> bool:
        raise BusUnavailable("away")

    with pytest.raises(BusUnavailable):
        await stage.runner.run(POST, redelivered=False, settle=settle, views=stage.views())
    assert stage.arm.posted == []


async def test_judge_that_cannot_be_sent_posts_nothing_and_completes_nothing() -> None:
    stage = await Stage().holds_lease()
    stage.bus.down = {"operations"}
    with pytest.raises(BusUnavailable):
        await stage.deliver_record(POST)
    assert (stage.arm.posted, stage.settled) == ([], [])


async def test_ambiguous_submission_leaves_judge_alone() -> None:
    stage = await Stage().holds_lease()
    stage.arm.post_answers = [LOST]
    await stage.deliver_record(POST)
    assert [record.phase for record in stage.records] == [Phase.JUDGE]


async def test_unexpected_error_of_a_post_leaves_judge_alone() -> None:
    stage = await Stage().holds_lease()
    stage.arm.post_answers = [RuntimeError("unexpected")]
    with pytest.raises(ExceptionGroup):
        await stage.deliver_record(POST)
    assert [record.phase for record in stage.records] == [Phase.JUDGE]


async def test_successor_that_cannot_be_sent_leaves_judge_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = await Stage().holds_lease()

    async def refuse(records: Sequence[Record]) -> None:
        raise BusUnavailable("away")

    monkeypatch.setattr(stage.bus, "send", refuse)
    assert isinstance(await stage.deliver_record(POST), LeaveToJudge)
    assert stage.arm.posted == [("0", "1", "2")]
    assert [record.phase for record in stage.records] == [Phase.JUDGE]


async def test_untrusted_url_ends_the_run_in_doubt() -> None:
    stage = await Stage().holds_lease()
    stage.arm.post_answers = [UntrustedUrl("evil.example", "not trusted")]
    await stage.deliver_record(POST)
    (end,) = stage.records
    assert (end.phase, end.number, end.status, end.at_work) == (Phase.END, POST.number + 2, Status.FAILED, True)
    assert end.error is not None
    assert (end.error.code, end.error.target) == ("UntrustedUrl", "evil.example")


async def test_refused_post_is_planned_again() -> None:
    stage = await Stage().holds_lease()
    stage.arm.post_answers = [Refused(BROKEN, 409)]
    await stage.deliver_record(POST)
    assert [(record.phase, record.number) for record in stage.records] == [(Phase.PLAN, POST.number + 2)]


# ---- the stopwatch and the age of the look


@pytest.mark.parametrize(("took", "posted"), [(59, True), (60, False), (300, False)])
async def test_completion_that_outlasts_the_age_of_what_was_read_posts_nothing(
    monkeypatch: pytest.MonkeyPatch, took: float, *, posted: bool
) -> None:
    stage = await Stage().holds_lease()

    async def settle() -> bool:
        stage.clock.time += seconds(took)
        return True

    await stage.runner.run(POST, redelivered=False, settle=settle, views=stage.views())
    assert bool(stage.arm.posted) is posted
    (record,) = stage.records
    assert record.phase is (Phase.TRACK if posted else Phase.PLAN)


async def test_listing_shared_from_earlier_in_the_tick_counts_by_its_own_age() -> None:
    stage = await Stage().holds_lease()
    views = stage.views()
    await views.of(SCALE_SET)
    stage.clock.time += seconds(50)

    async def settle() -> bool:
        stage.clock.time += seconds(11)
        return True

    await stage.runner.run(POST, redelivered=False, settle=settle, views=views)
    assert (stage.arm.looks, stage.arm.posted) == (1, [])


async def test_stopwatch_bounds_calls_even_where_what_was_read_may_be_older(monkeypatch: pytest.MonkeyPatch) -> None:
    timing = replace(RULES.timing, state_age=timedelta(hours=1), stopwatch=seconds(30))
    stage = await Stage(timing=timing).holds_lease()
    schedule = stage.bus.schedule

    async def slow(record: Record) -> int:
        number = await schedule(record)
        stage.clock.time += seconds(31)
        return number

    monkeypatch.setattr(stage.bus, "schedule", slow)
    await stage.deliver_record(POST)
    assert stage.arm.posted == []


async def test_stopwatch_is_read_before_each_call_of_a_flexible_set(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = await Stage([eligible(name) for name in "abc"]).holds_lease()
    stage.arm.flexible = True
    post = stage.arm.perform_maintenance

    async def slow(scale_set: Any, ids: Sequence[str] | None) -> Any:
        answer = await post(scale_set, ids)
        stage.clock.time += seconds(35)
        return answer

    monkeypatch.setattr(stage.arm, "perform_maintenance", slow)
    await stage.deliver_record(posting("a", "b", "c", flexible=True))
    assert stage.arm.posted == [("a",), ("b",)]
    (record,) = stage.records
    assert (record.phase, record.batch, record.left_of_wave()) == (Phase.TRACK, ("a", "b"), ("a", "b", "c"))


async def test_views_are_read_anew_after_a_post() -> None:
    stage = await Stage().holds_lease()
    views = stage.views()
    await stage.deliver_record(POST, views=views)
    await views.of(SCALE_SET)
    assert stage.arm.looks == 2


# ---- the other actions


async def test_lease_is_taken_and_the_queue_read_after_it() -> None:
    stage = Stage()
    result = await stage.deliver_record(new_operation())
    assert isinstance(result, Continue)
    assert result.operation.phase is Phase.POST
    (lease,) = stage.coordination.entries
    assert (lease.run_id, lease.until) == (RUN, new_operation().deadline + timedelta(hours=6))
    steps = stage.crash_point.steps
    assert steps[steps.index("entry is put") :] == ["entry is put", "coordination queue is read"]


async def test_lease_whose_id_was_used_up_leads_to_no_post_and_no_error() -> None:
    stage = Stage()
    await stage.coordination.use_up(f"lease:{RUN}")
    result = await stage.deliver_record(new_operation())
    assert isinstance(result, Continue)
    assert result.operation.phase is Phase.PLAN


async def test_release_cancels_the_own_lease_or_uses_up_its_id() -> None:
    stage = await Stage().holds_lease()
    end = planned(("0",), phase=Phase.END, status=Status.SUCCEEDED, ended_at=NOW)
    assert isinstance(await stage.deliver_record(end), Done)
    assert stage.coordination.entries == []
    late = Stage()
    assert isinstance(await late.deliver_record(end), Continue)
    await late.holds_lease()
    assert late.coordination.entries == [], "a planner that is late takes no lease"


async def test_coordination_queue_that_is_away_is_waited_for() -> None:
    stage = Stage()
    stage.coordination.down = True
    result = await stage.deliver_record(new_operation())
    assert isinstance(result, Continue)
    assert (result.operation.phase, result.operation.transient_error is not None) == (Phase.PLAN, True)
    assert stage.arm.posted == []


async def test_denied_views_end_the_run_and_throttled_ones_wait() -> None:
    stage = Stage()
    stage.arm.view_answers = [RefusedError("list", BROKEN, status=403)]
    denied = await stage.deliver_record(new_operation())
    assert (denied.operation.phase, denied.operation.status) == (Phase.END, Status.FAILED)
    stage.arm.view_answers = [ThrottledError("list", BROKEN, retry_after=seconds(400))]
    throttled = await stage.deliver_record(new_operation())
    assert isinstance(throttled, Continue)
    assert throttled.operation.phase is Phase.PLAN
    assert throttled.due >= NOW + seconds(400)


async def test_worker_whose_clock_is_behind_goes_by_the_time_of_service_bus() -> None:
    stage = Stage()
    waiting = new_operation(resume_at=NOW + seconds(60))
    result = await stage.deliver_record(waiting, enqueued_at=NOW + seconds(60))
    assert isinstance(result, Continue)
    assert result.operation.phase is Phase.POST


async def test_record_for_the_queue_has_the_due_time_of_its_wait() -> None:
    stage = Stage()
    result = await stage.deliver_record(new_operation(resume_at=NOW + seconds(60)))
    assert isinstance(result, Continue)
    assert to_record(result.operation, result.due).due == NOW + seconds(60)


async def test_post_record_that_lay_for_longer_than_a_lock_is_planned_again_not_posted() -> None:
    """It may have been delivered before, its lock lost without being counted: the JUDGE of then could be due."""
    stage = await Stage().holds_lease()
    result = await stage.deliver_record(POST, enqueued_at=NOW - RULES.timing.fresh - timedelta(seconds=1))
    assert isinstance(result, Continue) and result.operation.phase is Phase.PLAN
    assert stage.arm.posted == []


async def test_process_that_stops_before_it_reads_leaves_no_coroutine_unawaited() -> None:
    stage = await Stage().holds_lease()
    delivery = asyncio.create_task(stage.deliver_record(POST))
    # The delivery has created its readings, and none of them has begun.
    await asyncio.sleep(0)
    stopped = asyncio.all_tasks() - {asyncio.current_task()}
    assert len(stopped) == 3
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for each in stopped:
            each.cancel()
        await asyncio.wait(stopped)
        gc.collect()
    assert [str(each.message) for each in warned] == []
    assert delivery.cancelled()
