"""The phase POST: what changed goes back to PLAN, what ARM answered leads on."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from maintenance.coordination.entries import Entry
from maintenance.domain.instances import Instance, MaintenanceStatus
from maintenance.domain.observations import (
    Accepted,
    Ambiguous,
    ErrorDetail,
    Failed,
    Refused,
    Submission,
    Succeeded,
    Throttled,
)
from maintenance.domain.operation import Call, Operation, Owed, Phase, Rollout
from maintenance.lifecycle.actions import LeaveToJudge, NotTheOne, Read, StateRead, Submit, Submitted, Untrusted
from maintenance.lifecycle.machine import next_action
from tests.support.machine import (
    ALL,
    BROKEN,
    BUSY,
    OTHER_RUN,
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
    posting,
    read_state,
    stale,
    submitted,
    unavailable,
)
from tests.support.samples import (
    LONG_AGO,
    NOW,
    OPERATION_URL,
    completed,
    eligible,
    in_progress,
    new_operation,
    seconds,
    without_maintenance,
)

TAKEN = Accepted(OPERATION_URL)
LOST = Ambiguous(ErrorDetail("ReadTimeout", "No answer."))
LATER = NOW + seconds(2)
POST = posting("0", "1", "2")
FLEXIBLE = posting("a", "b", "c", flexible=True)
NO = Refused(BROKEN, 409)


def submission(operation: Operation = POST, *args: Any, **options: Any) -> Submit:
    action = read_state(operation, *args, **options)
    assert isinstance(action, Submit), action
    assert action.instead is None, action
    return action


def each(*answers: Submission | None) -> list[tuple[tuple[str, ...], Submission | None]]:
    return [((name,), answer) for name, answer in zip("abc", answers, strict=False)]


# ---- the look before the POST


def test_post_delivered_reads_views_and_coordination_queue() -> None:
    assert deliver(POST) == Read(POST, views=True, coordination=True)
    assert deliver(POST, rules=WITHOUT_VIEWS) == Read(POST, views=False, coordination=True)


def test_redelivered_post_plans_again_and_never_acts() -> None:
    operation = following(deliver(POST, redelivered=True))
    assert (operation.phase, operation.number, operation.batch, operation.baseline) == (Phase.PLAN, 4, (), {})
    assert operation.waves == POST.waves


def test_unchanged_views_and_own_lease_lead_to_submission_with_judge_at_the_settle_time() -> None:
    asked_at = NOW - seconds(30)
    state_read = StateRead((lease(),), ALL, asked_at=asked_at, views_asked_at=NOW)
    action = next_action(RULES, POST, state_read, NOW)
    assert isinstance(action, Submit)
    assert (action.operation, action.groups, action.state_read_at) == (POST, (("0", "1", "2"),), asked_at)
    assert action.due == NOW + RULES.timing.settle
    judge = action.judge
    assert (judge.phase, judge.number, judge.posted_at) == (Phase.JUDGE, POST.number + 1, NOW)
    assert (judge.batch, judge.baseline) == (POST.batch, POST.baseline)


def test_whole_scale_set_without_views_is_submitted_without_names() -> None:
    whole = posting()
    assert submission(whole, None, rules=WITHOUT_VIEWS).groups == (None,)


def test_flexible_batch_is_submitted_one_vm_at_a_time() -> None:
    views = [eligible(name) for name in "abc"]
    assert submission(FLEXIBLE, views, flexible=True).groups == (("a",), ("b",), ("c",))


CHANGED: dict[str, list[Instance]] = {
    "gone": [eligible("0"), eligible("1")],
    "updating": [eligible("0"), eligible("1"), in_progress("2")],
    "completed": [eligible("0"), eligible("1"), completed("2")],
    "no longer planned": [eligible("0"), eligible("1"), without_maintenance("2")],
    "unreported": [eligible("0"), eligible("1"), Instance("2", reported=False)],
    "another time of change": [eligible("0"), eligible("1"), eligible("2", changed_at=NOW)],
    "another result": [
        eligible("0"),
        eligible("1"),
        eligible("2", maintenance=MaintenanceStatus(True, "maintenanceaborted")),
    ],
    "another window": [
        eligible("0"),
        eligible("1"),
        eligible("2", maintenance=MaintenanceStatus(True, window=("2026-02-01", "", "", ""))),
    ],
    "no longer allowed": [eligible("0"), eligible("1"), eligible("2", maintenance=MaintenanceStatus(False))],
}


@pytest.mark.parametrize("instances", CHANGED.values(), ids=CHANGED.keys())
def test_anything_changed_since_the_baseline_goes_back_to_plan(instances: list[Instance]) -> None:
    action = read_state(POST, instances)
    operation = following(action)
    # JUDGE has number 4: it speaks where this is never sent.
    assert (operation.phase, operation.number, operation.batch, due(action)) == (Phase.PLAN, 5, (), NOW)
    assert operation.waves == POST.waves


def test_note_that_views_may_be_stale_goes_back_to_plan_where_it_concerns_the_batch() -> None:
    action = read_state(POST, entries=[lease(), stale("2")])
    assert isinstance(action, Submit)
    assert action.instead is not None
    assert action.instead.operation.phase is Phase.PLAN
    assert submission(entries=[lease(), stale("7")]).groups == (POST.batch,)


def test_limit_used_up_since_the_plan_goes_back_to_plan() -> None:
    limited = posting("0", rollout=Rollout(max_instances_per_wave=1))
    assert submission(limited, [eligible("0"), eligible("7")])
    assert following(read_state(limited, [eligible("0"), in_progress("7")])).phase is Phase.PLAN


def test_lower_lease_of_another_goes_back_to_plan() -> None:
    assert following(read_state(POST, entries=[others_lease(1), lease(number=2)])).phase is Phase.PLAN
    assert submission(entries=[lease(number=1), others_lease(2)])


@pytest.mark.parametrize("entries", [(), (others_lease(1),), (lease(scale_set="/elsewhere"),)])
def test_lease_gone_ends_the_run(entries: tuple[Entry, ...]) -> None:
    action = read_state(POST, entries=entries)
    assert ended(action) == ("Failed", "LeaseLost")
    assert set(outcomes(action).values()) == {"NotAttempted"}
    assert not following(action).at_work


def test_marker_ends_the_run_before_the_post() -> None:
    action = read_state(POST, entries=[marker(), lease()])
    assert ended(action) == ("Canceled", "Canceled")
    assert not following(action).at_work


def test_deadline_ends_the_run_before_the_post() -> None:
    action = read_state(POST, now=POST.deadline)
    assert ended(action) == ("TimedOut", "DeadlineExceeded")
    assert set(outcomes(action).values()) == {"NotAttempted"}


def test_views_that_cannot_be_read_before_the_post_go_back_to_plan_with_a_pause() -> None:
    action = unavailable(POST)
    operation = following(action)
    assert (operation.phase, operation.batch, operation.failures, operation.transient_error) == (
        Phase.PLAN,
        (),
        1,
        BUSY,
    )
    assert due(action) > NOW


def test_decision_not_to_post_is_sent_after_judge_and_the_completion() -> None:
    action = read_state(POST, entries=[marker(), lease()])
    assert isinstance(action, Submit)
    assert (action.operation, action.groups, action.due) == (POST, (), NOW + RULES.timing.settle)
    assert (action.judge.phase, action.judge.number, action.judge.batch) == (Phase.JUDGE, 4, POST.batch)
    assert (following(action).phase, following(action).number) == (Phase.END, 5)


def test_completion_not_confirmed_is_left_to_judge() -> None:
    assert next_action(RULES, POST, NotTheOne(), NOW) == LeaveToJudge(POST)


# ---- what ARM answered


def test_accepted_post_is_tracked_under_the_number_after_judge_and_owes_accepted() -> None:
    action = submitted(POST, (POST.batch, Accepted(OPERATION_URL, retry_after=seconds(17))))
    operation = following(action)
    assert (operation.phase, operation.number) == (Phase.TRACK, POST.number + 2)
    # Due at once, so that `accepted` is published; polled when ARM asks for it.
    assert (due(action), operation.resume_at) == (LATER, LATER + seconds(17))
    assert due(deliver(operation, LATER)) == LATER + seconds(17)
    assert operation.calls == (Call(("0", "1", "2"), OPERATION_URL),)
    assert (operation.batch, operation.baseline, operation.posted_at) == (POST.batch, POST.baseline, NOW)
    assert (operation.owed, operation.started_at) == ((Owed("accepted", LATER),), LATER)
    assert operation.final_at is None


def test_accepted_is_owed_once_in_a_run() -> None:
    again = replace(POST, started_at=LONG_AGO)
    action = submitted(again, (POST.batch, TAKEN))
    operation = following(action)
    assert (operation.owed, operation.started_at, due(action)) == ((), LONG_AGO, LATER + seconds(60))


@pytest.mark.parametrize(
    ("answer", "final"),
    [(Succeeded(), "succeeded"), (Failed(BROKEN), "failed"), (Failed(BROKEN, canceled=True), "canceled")],
)
def test_final_status_is_confirmed_by_the_views_at_once(answer: Submission, final: str) -> None:
    action = submitted(POST, (POST.batch, answer))
    operation = following(action)
    assert (operation.phase, operation.calls[0].ended, operation.final_at) == (Phase.TRACK, final, LATER)
    assert due(action) == LATER


def test_accepted_without_url_is_left_to_the_views() -> None:
    operation = following(submitted(POST, (POST.batch, Accepted(None))))
    assert (operation.calls[0].ended, operation.final_at) == ("unreported", LATER)


def test_ambiguous_submission_is_left_to_judge() -> None:
    assert submitted(POST, (POST.batch, LOST)) == LeaveToJudge(POST)


@pytest.mark.parametrize("status", [400, 404, 409])
def test_refused_post_is_planned_again_and_nothing_is_owed(status: int) -> None:
    action = submitted(POST, (POST.batch, Refused(BROKEN, status)))
    operation = following(action)
    assert (operation.phase, operation.number, operation.batch) == (Phase.PLAN, POST.number + 2, ())
    assert (operation.started_at, operation.owed, operation.outcomes) == (None, (), {})
    assert set(operation.refused) == {"0", "1", "2"}
    assert not operation.one_by_one
    assert LATER < due(action) <= LATER + timedelta(minutes=10)


@pytest.mark.parametrize("status", [400, 404, 409])
def test_refused_twice_with_the_same_batch_goes_one_by_one_and_then_fails_alone(status: int) -> None:
    operation = replace(POST, rollout=Rollout(max_failed_instances=3))
    for _ in range(2):
        operation = following(submitted(operation, (operation.batch, Refused(BROKEN, status))))
        again = following(read_state(operation, now=LATER))
        assert again.phase is Phase.POST
        operation = again
    assert (operation.one_by_one, operation.batch) == (True, ("0",))
    operation = following(submitted(operation, (("0",), Refused(BROKEN, status))))
    assert {i: outcome.result.value for i, outcome in operation.outcomes.items()} == {"0": "Failed"}
    assert operation.outcomes["0"].message == "HostBroken: The host broke."
    # The rest of the wave does not fail with it.
    assert following(read_state(operation, now=LATER)).batch == ("1",)


def test_instance_that_failed_alone_stops_the_rollout_where_none_may_fail() -> None:
    alone = posting("0", one_by_one=True, refused=("0", "1", "2"), waves=(("0", "1", "2"),))
    planned = following(submitted(alone, (("0",), NO)))
    action = read_state(planned, now=LATER)
    assert ended(action)[0] == "Failed"
    assert outcomes(action) == {"0": "Failed", "1": "NotAttempted", "2": "NotAttempted"}


def test_batch_that_got_smaller_and_was_refused_again_goes_one_by_one_too() -> None:
    operation = following(submitted(POST, (POST.batch, NO)))
    smaller = following(read_state(operation, [eligible("1"), eligible("2")], LATER))
    assert smaller.batch == ("1", "2")
    assert following(submitted(smaller, (smaller.batch, NO))).one_by_one


def test_lone_instance_refused_once_is_tried_once_more() -> None:
    alone = posting("0")
    once = following(submitted(alone, (("0",), NO)))
    assert (once.phase, once.outcomes) == (Phase.PLAN, {})
    twice = following(submitted(following(read_state(once, now=LATER)), (("0",), NO)))
    assert outcomes(read_state(twice, now=LATER)) == {"0": "Failed"}
    assert ended(read_state(twice, now=LATER))[0] == "Failed"


def test_third_unauthorized_post_in_a_row_ends_the_run() -> None:
    unauthorized, operation = Refused(BROKEN, 401), POST
    for _ in range(2):
        planned = following(submitted(operation, (operation.batch, unauthorized)))
        assert (planned.phase, planned.refused) == (Phase.PLAN, ())
        operation = following(read_state(planned, now=LATER))
    action = submitted(operation, (operation.batch, unauthorized))
    assert ended(action) == ("Failed", "HostBroken")
    assert set(outcomes(action).values()) == {"NotAttempted"}
    assert not following(action).at_work


def test_forbidden_post_ends_the_run_at_once() -> None:
    action = submitted(POST, (POST.batch, Refused(BROKEN, 403)))
    assert ended(action) == ("Failed", "HostBroken")
    assert set(outcomes(action).values()) == {"NotAttempted"}


def test_throttled_post_waits_for_retry_after_and_does_not_count_as_refused() -> None:
    action = submitted(POST, (POST.batch, Throttled(BUSY, seconds(300))))
    operation = following(action)
    assert (operation.phase, operation.refused, operation.transient_error) == (Phase.PLAN, (), BUSY)
    assert due(action) >= LATER + seconds(300)


def test_post_that_was_too_late_is_planned_again_and_counts_as_nothing() -> None:
    action = submitted(POST, (POST.batch, None))
    operation = following(action)
    assert (operation.phase, operation.number, operation.refused) == (Phase.PLAN, POST.number + 2, ())
    assert operation.transient_error is not None
    assert operation.transient_error.code == "TooLate"


def test_untrusted_url_ends_the_run_with_the_batch_in_doubt() -> None:
    action = next_action(RULES, POST, Untrusted(ErrorDetail("UntrustedUrl", "no")), LATER)
    assert ended(action) == ("Failed", "UntrustedUrl")
    assert set(outcomes(action).values()) == {"Unknown"}
    assert (following(action).number, following(action).at_work) == (POST.number + 2, True)


def test_untrusted_url_ends_the_run_only_when_no_other_call_can_arrive_any_more() -> None:
    action = next_action(RULES, FLEXIBLE, Untrusted(ErrorDetail("UntrustedUrl", "no"), in_flight=True), LATER)
    assert ended(action) == ("Failed", "UntrustedUrl")
    assert due(action) == LATER + RULES.timing.settle


# ---- answers of a Flexible set, one for each VM


def test_mixed_submissions_track_what_was_taken_and_leave_the_rest_in_the_wave() -> None:
    action = submitted(FLEXIBLE, *each(TAKEN, NO, None))
    operation = following(action)
    assert (operation.phase, operation.batch) == (Phase.TRACK, ("a",))
    assert operation.calls == (Call(("a",), OPERATION_URL),)
    assert operation.left_of_wave() == ("a", "b", "c")
    assert operation.refused == ("b",)


def test_doubtful_vm_beside_taken_ones_is_tracked_as_unknown() -> None:
    operation = following(submitted(FLEXIBLE, *each(TAKEN, LOST, NO)))
    assert operation.batch == ("a", "b")
    assert [call.ended for call in operation.calls] == [None, "unknown"]


def test_doubtful_vms_with_none_taken_are_left_to_judge() -> None:
    assert submitted(FLEXIBLE, *each(LOST, NO, None)) == LeaveToJudge(FLEXIBLE)


def test_vm_refused_twice_fails_without_its_neighbours() -> None:
    once = following(submitted(replace(FLEXIBLE, refused=("b",)), *each(TAKEN, NO, TAKEN)))
    assert {i: outcome.result.value for i, outcome in once.outcomes.items()} == {"b": "Failed"}
    assert once.batch == ("a", "c")


def test_all_vms_too_late_or_throttled_are_planned_again() -> None:
    operation = following(submitted(FLEXIBLE, *each(None, Throttled(BUSY, seconds(60)), None)))
    assert (operation.phase, operation.outcomes, operation.refused) == (Phase.PLAN, {}, ())


# ---- without views


def test_without_views_unreported_outcome_is_unknown_and_no_success() -> None:
    action = submitted(POST, (POST.batch, Accepted(None)), rules=WITHOUT_VIEWS)
    assert ended(action) == ("Failed", "OutcomeUnknown")
    assert set(outcomes(action).values()) == {"Unknown"}


def test_without_views_refusal_ends_the_run() -> None:
    action = submitted(POST, (POST.batch, NO), rules=WITHOUT_VIEWS)
    assert ended(action) == ("Failed", "HostBroken")
    assert set(outcomes(action).values()) == {"Failed"}
    assert not following(action).at_work


def test_without_views_success_at_once_ends_the_run() -> None:
    action = submitted(POST, (POST.batch, Succeeded()), rules=WITHOUT_VIEWS)
    assert ended(action) == ("Succeeded", None)


def test_run_of_another_is_never_posted_for() -> None:
    stranger = lease(OTHER_RUN, 1)
    assert ended(read_state(POST, entries=[stranger])) == ("Failed", "LeaseLost")
    assert new_operation().run_id != OTHER_RUN


def test_wave_begins_with_its_first_post_that_arm_took() -> None:
    record, later = posting("0", "1"), NOW + seconds(60)
    refused = following(next_action(RULES, record, Submitted([(("0", "1"), Throttled(BUSY))], NOW, NOW), NOW))
    assert (refused.wave_began_at, refused.wave_taken) == (NOW, False)
    again = replace(record, wave_began_at=refused.wave_began_at)
    taken = following(next_action(RULES, again, Submitted([(("0", "1"), TAKEN)], NOW, later), later))
    assert (taken.wave_began_at, taken.wave_taken) == (later, True)
    # The rest of the wave belongs to it.
    rest = replace(record, wave_began_at=later, wave_taken=True)
    posted = next_action(RULES, rest, Submitted([(("0",), TAKEN)], NOW, later + seconds(60)), later + seconds(60))
    assert following(posted).wave_began_at == later
