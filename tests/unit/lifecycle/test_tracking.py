"""The phase TRACK: polls, confirmation by the views, recovery, and what follows a wave."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from maintenance.coordination.entries import Entry
from maintenance.domain.instances import Instance
from maintenance.domain.observations import (
    ErrorDetail,
    Failed,
    Reading,
    Running,
    Succeeded,
    Throttled,
    Unreadable,
    Unreported,
)
from maintenance.domain.operation import Call, FinalStatus, Operation, Outcome, Owed, Phase, Result, Rollout
from maintenance.lifecycle.actions import Delivered, Denied, Poll, Read, Untrusted
from maintenance.lifecycle.machine import next_action
from maintenance.lifecycle.tracking import UNREADABLE_OFTEN
from tests.support.machine import (
    BROKEN,
    BUSY,
    RULES,
    WITHOUT_VIEWS,
    deliver,
    due,
    ended,
    following,
    lease,
    marker,
    others_lease,
    outcomes,
    polled,
    read_state,
    stale,
    tracking,
    unavailable,
)
from tests.support.samples import (
    NOW,
    OPERATION_URL,
    aborted,
    completed,
    eligible,
    in_progress,
    seconds,
)

RUNNING = tracking("0", "1", "2")
ONE = Rollout(max_instances_per_wave=1)
MINUTE = timedelta(minutes=1)


def final(*batch: str, status: FinalStatus = "succeeded", **changes: Any) -> Operation:
    """ARM's final status was read at NOW."""
    error = BROKEN if status in ("failed", "canceled") else None
    call = Call(batch, ended=status, error=error)
    return tracking(*batch, calls=(call,), **{"final_at": NOW, "error": error, **changes})


def done(*ids: str, at: datetime = NOW) -> list[Instance]:
    return [completed(instance_id, at) for instance_id in ids]


# ---- polls


def test_running_calls_are_polled_and_final_ones_are_not() -> None:
    calls = (Call(("a",), OPERATION_URL), Call(("b",), ended="succeeded"), Call(("c",), OPERATION_URL + "2"))
    operation = tracking("a", "b", "c", calls=calls, flexible=True)
    assert deliver(operation) == Poll(operation, (calls[0], calls[2]))
    assert deliver(operation, redelivered=True) == deliver(operation)


def test_running_operation_is_polled_again_at_retry_after() -> None:
    action = polled(RUNNING, Running("inprogress", seconds(17)))
    assert (following(action), due(action)) == (RUNNING.with_next_number(), NOW + seconds(17))
    assert due(polled(RUNNING, Running("inprogress"))) == NOW + seconds(60)
    assert due(polled(RUNNING, Running("inprogress", seconds(86_400)))) == NOW + RULES.timing.slice


def test_moved_url_is_polled_next() -> None:
    operation = following(polled(RUNNING, Running("inprogress", url=OPERATION_URL + "&moved=1")))
    assert [call.url for call in operation.calls] == [OPERATION_URL + "&moved=1"]


@pytest.mark.parametrize("reading", [Unreadable(BUSY), Throttled(BUSY)])
def test_poll_that_fails_is_retried_with_growing_pauses(reading: Reading) -> None:
    operation, pauses = RUNNING, []
    for _ in range(4):
        action = polled(operation, reading)
        operation = following(action)
        pauses.append(due(action) - NOW)
    assert pauses == sorted(pauses)
    assert (operation.phase, operation.calls, operation.failures) == (Phase.TRACK, RUNNING.calls, 4)
    recovered = following(polled(operation, Running("inprogress")))
    assert (recovered.failures, recovered.transient_error) == (0, None)


def test_throttled_poll_waits_for_retry_after() -> None:
    assert due(polled(RUNNING, Throttled(BUSY, seconds(500)))) >= NOW + seconds(500)


@pytest.mark.parametrize(
    ("reading", "status"),
    [
        (Succeeded(), "succeeded"),
        (Failed(BROKEN), "failed"),
        (Failed(BROKEN, canceled=True), "canceled"),
        (Unreported(BROKEN), "unreported"),
        (Unreported(BROKEN, gone=True), "gone"),
    ],
)
def test_final_status_is_followed_by_views_asked_for_after_it(reading: Reading, status: str) -> None:
    action = polled(RUNNING, reading)
    assert isinstance(action, Read)
    assert (action.views, action.coordination, action.newer_than) == (True, False, NOW)
    (call,) = action.operation.calls
    assert (call.ended, call.url, action.operation.final_at) == (status, None, NOW)


def test_retry_after_beyond_a_slice_is_waited_for_without_polls() -> None:
    action = polled(RUNNING, Throttled(BUSY, seconds(1500)))
    operation, now = following(action), due(action)
    assert now == NOW + RULES.timing.slice
    while now < NOW + seconds(1500):
        action = deliver(operation, now)
        operation, now = following(action), due(action)
    assert isinstance(deliver(operation, now), Poll)
    assert now - NOW < seconds(1700)


def test_one_call_of_many_that_still_runs_is_polled_alone_again() -> None:
    calls = (Call(("a",), OPERATION_URL), Call(("b",), OPERATION_URL + "2"))
    operation = following(polled(tracking("a", "b", calls=calls), Succeeded(), Running("inprogress")))
    assert [call.ended for call in operation.calls] == ["succeeded", None]
    assert deliver(operation) == Poll(operation, (calls[1],))


def test_operation_running_at_the_deadline_is_polled_a_last_time_and_ends_in_doubt() -> None:
    assert isinstance(deliver(RUNNING, RUNNING.deadline), Poll)
    action = polled(RUNNING, Running("inprogress"), now=RUNNING.deadline)
    assert ended(action) == ("TimedOut", "DeadlineExceeded")
    assert set(outcomes(action).values()) == {"Unknown"}
    assert following(action).at_work
    assert "inprogress" in str(following(action).error)


def test_no_poll_is_made_at_the_deadline_that_a_retry_after_forbade() -> None:
    throttled = replace(RUNNING, failures=1, transient_error=BUSY)
    assert deliver(throttled, RUNNING.deadline) == Read(throttled, views=True, coordination=False)
    action = deliver(throttled, RUNNING.deadline, rules=WITHOUT_VIEWS)
    assert ended(action) == ("TimedOut", "DeadlineExceeded")
    error = following(action).error
    assert error is not None
    assert error.details == (BUSY,)


# ---- an operation that cannot be read


def test_operation_unreadable_for_long_is_judged_by_the_views_while_it_is_polled_on() -> None:
    operation, now, looks = RUNNING, NOW, 0
    while now < NOW + 60 * MINUTE:
        action = polled(operation, Unreadable(BUSY), now=now)
        if isinstance(action, Read):
            assert (action.views, action.operation.calls) == (True, RUNNING.calls)
            assert now > NOW + 5 * MINUTE
            looks += 1
            action = read_state(action.operation, [*done("0"), eligible("1"), in_progress("2")], now)
        operation, now = following(action), due(action)
    assert looks > 2
    assert operation.failures > UNREADABLE_OFTEN
    assert {i: each.result for i, each in operation.outcomes.items()} == {"0": Result.COMPLETED}


def test_unreadable_operation_whose_instances_are_all_shown_as_done_ends_the_run() -> None:
    read = polled(replace(RUNNING, failures=UNREADABLE_OFTEN), Unreadable(BUSY))
    assert isinstance(read, Read)
    action = read_state(read.operation, done("0", "1", "2"), NOW)
    assert ended(action) == ("Succeeded", None)
    assert not following(action).at_work


@pytest.mark.parametrize("reading", [Unreadable(BUSY), Throttled(BUSY)])
def test_operation_not_read_by_the_deadline_is_judged_by_the_views_at_the_deadline(reading: Reading) -> None:
    read = polled(RUNNING, reading, now=RUNNING.deadline)
    assert isinstance(read, Read)
    action = read_state(read.operation, [*done("0", "1"), eligible("2")], RUNNING.deadline)
    assert ended(action) == ("TimedOut", "DeadlineExceeded")
    assert outcomes(action) == {"0": "Completed", "1": "Completed", "2": "Unknown"}
    assert following(action).at_work
    error = following(action).error
    assert error is not None
    assert error.details == (BUSY,)


def test_views_are_not_asked_where_a_retry_after_asks_for_patience_or_arm_says_that_it_runs() -> None:
    often = replace(RUNNING, failures=UNREADABLE_OFTEN)
    assert isinstance(polled(often, Unreadable(BUSY)), Read)
    assert due(polled(often, Unreadable(BUSY, seconds(3600)))) == NOW + RULES.timing.slice
    calls = (Call(("a",), OPERATION_URL), Call(("b",), OPERATION_URL + "2"))
    flexible = tracking("a", "b", calls=calls, flexible=True, failures=UNREADABLE_OFTEN)
    assert following(polled(flexible, Unreadable(BUSY), Running("inprogress"))).phase is Phase.TRACK


def test_wait_for_a_poll_never_passes_the_deadline() -> None:
    soon = replace(RUNNING, deadline=NOW + seconds(30))
    assert due(polled(soon, Running("inprogress"))) == NOW + seconds(30)


def test_untrusted_url_ends_the_run_in_doubt() -> None:
    action = next_action(RULES, RUNNING, Untrusted(ErrorDetail("UntrustedUrl", "no")), NOW)
    assert due(action) == NOW
    assert ended(action) == ("Failed", "UntrustedUrl")
    assert set(outcomes(action).values()) == {"Unknown"}
    assert (following(action).number, following(action).at_work) == (RUNNING.number + 1, True)


def test_run_with_a_post_in_doubt_ends_once_that_cannot_arrive_any_more() -> None:
    calls = (Call(("a",), OPERATION_URL), Call(("b",), ended="unknown"))
    operation = tracking("a", "b", calls=calls, flexible=True, posted_at=NOW, deadline=NOW + 2 * MINUTE)
    untrusted = next_action(RULES, operation, Untrusted(ErrorDetail("UntrustedUrl", "no")), NOW + MINUTE)
    timed_out = polled(operation, Running("inprogress"), now=operation.deadline)
    assert [ended(action)[0] for action in (untrusted, timed_out)] == ["Failed", "TimedOut"]
    assert [due(action) for action in (untrusted, timed_out)] == [NOW + RULES.timing.settle] * 2


# ---- confirmation by the views


def test_views_that_confirm_end_the_last_wave() -> None:
    action = read_state(final("0", "1", "2"), done("0", "1", "2"), NOW + seconds(1))
    assert ended(action) == ("Succeeded", None)
    assert outcomes(action) == {"0": "Completed", "1": "Completed", "2": "Completed"}
    assert [outcome.wave for outcome in following(action).outcomes.values()] == [0, 0, 0]
    assert not following(action).at_work


@pytest.mark.parametrize("entries", [[others_lease(1), lease(number=2)], [lease(), stale("0")]])
def test_maintenance_while_another_run_holds_the_scale_set_is_not_claimed_by_a_post_in_doubt(
    entries: list[Entry],
) -> None:
    doubtful = final("0", status="unknown")
    assert deliver(doubtful, NOW) == Read(doubtful, views=True, coordination=True, newer_than=NOW)
    assert outcomes(read_state(doubtful, done("0"), NOW + seconds(1), entries=entries)) == {"0": "Unknown"}
    assert outcomes(read_state(doubtful, done("0"), NOW + seconds(1), entries=[lease()])) == {"0": "Completed"}
    assert outcomes(read_state(final("0"), done("0"), NOW + seconds(1), entries=entries)) == {"0": "Completed"}


def test_views_that_do_not_confirm_yet_are_read_again_and_what_is_settled_stays() -> None:
    action = read_state(final("0", "1"), [*done("0"), eligible("1")], NOW + seconds(1))
    operation = following(action)
    assert (operation.phase, outcomes(action), due(action)) == (Phase.TRACK, {"0": "Completed"}, NOW + seconds(16))
    assert operation.views_read_at == NOW + seconds(1)
    again = deliver(operation, due(action))
    assert isinstance(again, Read)
    assert again.newer_than == NOW + seconds(1)


def test_instances_seen_updating_are_remembered_and_have_their_time_from_then() -> None:
    later = NOW + timedelta(minutes=20)
    operation = following(read_state(final("0", status="gone"), [in_progress("0")], later))
    assert (operation.updating, operation.final_at) == (("0",), later)


def test_views_not_done_by_the_deadline_end_the_run_in_doubt() -> None:
    operation = final("0", deadline=NOW + MINUTE)
    action = read_state(operation, [eligible("0")], NOW + MINUTE)
    assert ended(action) == ("TimedOut", "DeadlineExceeded")
    assert outcomes(action) == {"0": "Unknown"}
    assert following(action).at_work


def test_unavailable_views_are_read_again_until_the_deadline() -> None:
    assert following(unavailable(final("0"))).phase is Phase.TRACK
    assert ended(unavailable(final("0"), NOW + timedelta(hours=6))) == ("TimedOut", "DeadlineExceeded")


def test_denied_views_leave_what_was_posted_unknown() -> None:
    action = next_action(RULES, final("0"), Denied(BROKEN), NOW)
    assert ended(action) == ("Failed", "HostBroken")
    assert outcomes(action) == {"0": "Unknown"}


def test_arms_failure_is_no_success_even_where_every_view_says_completed() -> None:
    action = read_state(final("0", status="failed"), done("0"), NOW + seconds(1))
    assert ended(action) == ("PartiallySucceeded", "HostBroken")
    assert outcomes(action) == {"0": "Completed"}


def test_canceled_operation_ends_the_run_as_canceled_however_many_may_fail() -> None:
    rollout = replace(ONE, max_failed_instances=9)
    operation = final("0", status="canceled", rollout=rollout, waves=(("0",), ("1",)))
    action = read_state(operation, [eligible("0"), eligible("1")], NOW + 3 * MINUTE)
    assert ended(action)[0] == "Canceled"
    assert outcomes(action) == {"0": "Failed", "1": "NotAttempted"}


def test_instance_that_disappeared_is_not_found() -> None:
    action = read_state(final("0", "1"), done("0"), NOW + seconds(1))
    assert outcomes(action) == {"0": "Completed", "1": "NotFound"}


def test_flexible_vm_never_begun_is_planned_again() -> None:
    calls = (Call(("a",), ended="succeeded"), Call(("b",), ended="unknown"))
    operation = tracking("a", "b", calls=calls, flexible=True, final_at=NOW)
    operation = replace(operation, baseline={name: eligible(name).baseline for name in "ab"})
    settled = NOW + RULES.timing.settle
    action = read_state(operation, [*done("a"), eligible("b")], settled)
    following_operation = following(action)
    assert following_operation.phase is Phase.PLAN
    assert following_operation.left_of_wave() == ("b",)


def test_flexible_vm_in_doubt_is_not_given_up_before_the_settle_time() -> None:
    calls = (Call(("a",), ended="succeeded"), Call(("b",), ended="unknown"))
    operation = tracking("a", "b", calls=calls, flexible=True, final_at=NOW)
    action = read_state(operation, [*done("a"), eligible("b")], NOW + 6 * MINUTE)
    assert following(action).phase is Phase.TRACK
    assert outcomes(action) == {"a": "Completed"}


# ---- recovery


def two_waves(**changes: Any) -> Operation:
    rollout = replace(ONE, health_timeout=10 * MINUTE)
    return final("0", **{"waves": (("0",), ("1",)), "rollout": rollout, **changes})


@pytest.mark.parametrize("ill", [{"healthy": False}, {"power": "starting"}])
def test_next_wave_waits_until_this_one_is_healthy(ill: dict[str, Any]) -> None:
    action = read_state(two_waves(), [replace(completed("0", NOW), **ill), eligible("1")], NOW + seconds(1))
    operation = following(action)
    assert (operation.phase, operation.wave, operation.recovering_since) == (Phase.TRACK, 0, NOW + seconds(1))
    assert due(action) == NOW + seconds(16)
    recovered = read_state(operation, [*done("0"), eligible("1")], NOW + MINUTE)
    assert (following(recovered).phase, following(recovered).wave) == (Phase.PLAN, 1)
    assert following(recovered).recovering_since is None


def test_instance_that_is_not_healthy_in_time_stops_the_rollout() -> None:
    ill = [replace(completed("0", NOW), healthy=False), eligible("1")]
    waiting = two_waves(recovering_since=NOW)
    assert due(read_state(waiting, ill, NOW + seconds(595))) == NOW + 10 * MINUTE
    action = read_state(waiting, ill, NOW + 10 * MINUTE)
    assert ended(action) == ("PartiallySucceeded", "InstancesUnhealthy")
    assert outcomes(action) == {"0": "Completed", "1": "NotAttempted"}
    assert "not healthy" in (following(action).outcomes["0"].message or "")


def test_instance_that_did_not_run_before_need_not_run_after() -> None:
    stopped = eligible("0", power="stopped")
    operation = two_waves(baseline={"0": stopped.baseline})
    action = read_state(operation, [replace(completed("0", NOW), power="stopped"), eligible("1")], NOW + seconds(1))
    assert following(action).wave == 1


def test_last_wave_is_not_waited_for() -> None:
    assert (
        ended(read_state(final("0"), [replace(completed("0", NOW), healthy=False)], NOW + seconds(1)))[0] == "Succeeded"
    )


def test_rest_of_the_last_wave_waits_for_recovery_too() -> None:
    operation = final("0", waves=(("0", "1"),), rollout=ONE)
    action = read_state(operation, [replace(completed("0", NOW), healthy=False), eligible("1")], NOW + seconds(1))
    assert following(action).phase is Phase.TRACK


def test_view_from_before_the_end_does_not_show_an_instance_as_up() -> None:
    """Seed 6067283: its maintenance was seen completed, and a view that lagged showed it being updated."""
    ill = replace(completed("0", NOW), power="starting")
    waiting = following(read_state(two_waves(), [ill, eligible("1")], NOW + seconds(1)))
    lagging = [in_progress("0"), eligible("1")]
    again = following(read_state(waiting, lagging, NOW + seconds(20)))
    assert (again.phase, again.wave, again.recovering_since) == (Phase.TRACK, 0, NOW + seconds(1))


# ---- a cancellation while nothing is at work


def test_run_that_waits_for_recovery_meets_a_cancellation() -> None:
    waiting = two_waves(recovering_since=NOW)
    assert deliver(waiting, NOW + MINUTE) == Read(waiting, views=True, coordination=True, newer_than=NOW)
    ill = [replace(completed("0", NOW), healthy=False), eligible("1")]
    action = read_state(waiting, ill, NOW + MINUTE, entries=[lease(), marker()])
    assert ended(action) == ("Canceled", "Canceled")
    assert outcomes(action) == {"0": "Completed", "1": "NotAttempted"}
    assert following(action).at_work, "the lease stays until the instance is up"


def test_run_whose_end_the_views_do_not_show_meets_a_cancellation_after_one_slice() -> None:
    unreported = final("0", status="unreported")
    at_first, later = NOW + 9 * MINUTE, NOW + 10 * MINUTE
    assert deliver(unreported, at_first) == Read(unreported, views=True, coordination=False, newer_than=NOW)
    assert deliver(unreported, later) == Read(unreported, views=True, coordination=True, newer_than=NOW)
    silent = [replace(eligible("0"), maintenance=None)]
    assert following(read_state(unreported, silent, later)).phase is Phase.TRACK
    action = read_state(unreported, silent, later, entries=[lease(), marker()])
    assert ended(action)[0] == "Canceled"
    assert outcomes(action) == {"0": "Unknown"}
    assert following(action).at_work


def test_run_whose_wave_others_kept_updating_meets_a_cancellation_before_its_pause() -> None:
    slow = replace(ONE, pause_between_waves=60 * MINUTE)
    updated = two_waves(posted_at=NOW - 9 * MINUTE, views_read_at=NOW, rollout=slow)
    assert deliver(updated, NOW) == Read(updated, views=True, coordination=False, newer_than=NOW)
    assert deliver(updated, NOW + MINUTE) == Read(updated, views=True, coordination=True, newer_than=NOW)
    action = read_state(updated, [*done("0"), eligible("1")], NOW + MINUTE, entries=[lease(), marker()])
    assert ended(action) == ("Canceled", "Canceled")
    assert outcomes(action) == {"0": "Completed", "1": "NotAttempted"}


def test_run_that_is_seen_at_work_is_followed_though_it_was_canceled() -> None:
    busy = [in_progress("0")]
    action = read_state(final("0", status="unreported"), busy, NOW + 10 * MINUTE, entries=[lease(), marker()])
    assert following(action).phase is Phase.TRACK


# ---- what follows


def test_next_wave_follows_after_the_pause_and_progressed_is_owed() -> None:
    operation = two_waves(rollout=replace(ONE, pause_between_waves=5 * MINUTE), refused=("0",), one_by_one=True)
    action = read_state(operation, [*done("0"), eligible("1")], NOW + seconds(1))
    onward = following(action)
    assert (onward.phase, onward.wave, due(action)) == (Phase.PLAN, 1, NOW + seconds(301))
    assert onward.resume_at == NOW + seconds(301)
    assert onward.owed == (Owed("progressed", NOW + seconds(1), 0),)
    assert (onward.batch, onward.baseline, onward.calls, onward.updating) == ((), {}, (), ())
    assert (onward.posted_at, onward.final_at, onward.refused, onward.one_by_one) == (None, None, (), False)
    assert onward.started_at == NOW


def test_accepted_that_is_owed_still_comes_before_progressed() -> None:
    operation = two_waves(owed=(Owed("accepted", NOW),))
    onward = following(read_state(operation, [*done("0"), eligible("1")], NOW + seconds(1)))
    assert [owed.kind for owed in onward.owed] == ["accepted", "progressed"]


def test_long_pause_is_waited_for_in_slices() -> None:
    operation = two_waves(rollout=replace(ONE, pause_between_waves=60 * MINUTE))
    assert due(read_state(operation, [*done("0"), eligible("1")], NOW)) == NOW + 10 * MINUTE


def test_rest_of_the_wave_is_planned_at_once() -> None:
    operation = final("0", waves=(("0", "1"), ("2",)), rollout=ONE)
    action = read_state(operation, [*done("0"), eligible("1")], NOW + seconds(1))
    onward = following(action)
    assert (onward.phase, onward.wave, onward.owed, due(action)) == (Phase.PLAN, 0, (), NOW + seconds(1))
    assert onward.left_of_wave() == ("1",)


@pytest.mark.parametrize(("allowed", "phase"), [(0, Phase.END), (1, Phase.PLAN)])
def test_rollout_stops_where_more_failed_than_may(allowed: int, phase: Phase) -> None:
    operation = final("0", status="failed", waves=(("0",), ("1",)), rollout=replace(ONE, max_failed_instances=allowed))
    action = read_state(operation, [eligible("0"), eligible("1")], NOW + 3 * MINUTE)
    assert following(action).phase is phase
    assert outcomes(action) == ({"0": "Failed", "1": "NotAttempted"} if phase is Phase.END else {"0": "Failed"})


def test_unknown_instances_count_as_failed_ones() -> None:
    operation = final("0", status="gone", waves=(("0",), ("1",)), rollout=ONE)
    action = read_state(operation, [eligible("0"), eligible("1")], NOW + 6 * MINUTE)
    assert ended(action)[0] == "Failed"
    assert outcomes(action) == {"0": "Unknown", "1": "NotAttempted"}


def test_failures_of_earlier_waves_count_too() -> None:
    earlier = {"0": Outcome(Result.FAILED, wave=0)}
    waves = (("0",), ("1",), ("2",))
    operation = final("1", waves=waves, wave=1, outcomes=earlier, rollout=replace(ONE, max_failed_instances=1))
    action = read_state(operation, [aborted("1", NOW), eligible("2")], NOW + 3 * MINUTE)
    assert outcomes(action) == {"0": "Failed", "1": "Failed", "2": "NotAttempted"}


# ---- without views


def test_without_views_arms_final_status_is_taken() -> None:
    action = polled(RUNNING, Succeeded(), rules=WITHOUT_VIEWS)
    assert ended(action) == ("Succeeded", None)
    assert set(outcomes(action).values()) == {"Completed"}
    action = polled(RUNNING, Failed(BROKEN), rules=WITHOUT_VIEWS)
    assert ended(action) == ("Failed", "HostBroken")
    assert set(outcomes(action).values()) == {"Failed"}


def test_without_views_whole_scale_set_ends_as_arm_says() -> None:
    whole = tracking(calls=(Call((), OPERATION_URL),))
    assert ended(polled(whole, Succeeded(), rules=WITHOUT_VIEWS)) == ("Succeeded", None)
    assert ended(polled(whole, Failed(BROKEN), rules=WITHOUT_VIEWS)) == ("Failed", "HostBroken")


@pytest.mark.parametrize("operation", [RUNNING, tracking(calls=(Call((), OPERATION_URL),))])
def test_without_views_unreported_operation_is_unknown_and_no_success(operation: Operation) -> None:
    action = polled(operation, Unreported(BROKEN), rules=WITHOUT_VIEWS)
    assert ended(action) == ("Failed", "OutcomeUnknown")
    assert set(outcomes(action).values()) <= {"Unknown"}


def test_next_wave_after_a_failed_one_waits_until_no_view_can_show_what_was_before() -> None:
    rollout = replace(ONE, max_failed_instances=1)
    before = {"0": eligible("0").baseline}
    operation = final("0", status="failed", waves=(("0",), ("1",)), rollout=rollout, baseline=before)
    seen = NOW + RULES.timing.view_lag - seconds(60)
    action = read_state(operation, [replace(aborted("0", NOW), provisioning="failed"), eligible("1")], seen)
    onward = following(action)
    assert (onward.phase, onward.wave, onward.resume_at) == (Phase.PLAN, 1, NOW + RULES.timing.view_lag)
    again = next_action(RULES, onward, Delivered(), NOW + RULES.timing.view_lag)
    assert isinstance(again, Read)
    assert again.newer_than == NOW + RULES.timing.view_lag
