"""The phase PLAN: what is in the way, what the targets come to, who holds the lease, how many may go down."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from maintenance.coordination.entries import LEASE_OUTLASTS_DEADLINE
from maintenance.domain.instances import Instance, MaintenanceStatus
from maintenance.domain.operation import Operation, Outcome, Owed, Phase, Result, Rollout
from maintenance.lifecycle.actions import Continue, LeaseTaken, Read, StateRead, TakeLease
from maintenance.lifecycle.machine import next_action
from maintenance.lifecycle.planning import split_targets
from maintenance.lifecycle.rules import Rules
from tests.support.machine import (
    ALL,
    BUSY,
    EVERYWHERE,
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
    planned,
    read_state,
    stale,
    unavailable,
)
from tests.support.samples import (
    NOW,
    OTHER_SUBSCRIPTION,
    completed,
    eligible,
    in_progress,
    new_operation,
    seconds,
    without_maintenance,
)

ONE = Rollout(max_instances_per_wave=1)
UNREPORTED = Instance("1", reported=False)


def split(instances: list[Instance], **changes: Any) -> Operation:
    return split_targets(new_operation(**changes), instances)[0]


def results(operation: Operation) -> dict[str, Result]:
    return {i: outcome.result for i, outcome in operation.outcomes.items()}


def spread(count: int, **changes: Any) -> list[Instance]:
    return [eligible(str(number), **changes) for number in range(count)]


# ---- what a delivery reads


def test_plan_delivered_reads_views_and_coordination_queue() -> None:
    assert deliver(new_operation()) == Read(new_operation(), views=True, coordination=True)


def test_plan_waiting_for_its_time_reads_only_coordination_queue() -> None:
    waiting = new_operation(resume_at=NOW + seconds(1))
    assert deliver(waiting) == Read(waiting, views=False, coordination=True)


def test_plan_of_dry_run_reads_only_views() -> None:
    assert deliver(new_operation(dry_run=True)) == Read(new_operation(dry_run=True), views=True, coordination=False)


def test_plan_without_views_reads_only_coordination_queue() -> None:
    assert deliver(new_operation(), rules=WITHOUT_VIEWS) == Read(new_operation(), views=False, coordination=True)


@pytest.mark.parametrize("phase", [Phase.PLAN, Phase.POST, Phase.JUDGE, Phase.TRACK])
def test_scale_set_beyond_the_scopes_ends_run_before_any_call(phase: Phase) -> None:
    beyond = new_operation(phase=phase)
    beyond = replace(beyond, scale_set=replace(beyond.scale_set, subscription_id=OTHER_SUBSCRIPTION))
    assert ended(deliver(beyond)) == ("Failed", "ScopeNotAllowed")


# ---- what is in the way


@pytest.mark.parametrize("operation", [new_operation(), new_operation(resume_at=NOW + seconds(60)), planned(("0",))])
def test_marker_cancels_run_before_anything_is_posted(operation: Operation) -> None:
    assert ended(read_state(operation, entries=[marker(reason="too early"), lease()])) == ("Canceled", "Canceled")


def test_marker_reason_stands_in_the_error() -> None:
    error = following(read_state(new_operation(), entries=[marker(reason="too early")])).error
    assert error is not None
    assert "(too early)" in error.message


@pytest.mark.parametrize(
    "changes",
    [
        {"request_id": "req-2"},
        {"scale_set": "/another"},
        {"enqueued_at": NOW - timedelta(minutes=3)},
    ],
)
def test_marker_of_another_or_an_earlier_request_cancels_nothing(changes: dict[str, Any]) -> None:
    assert following(read_state(new_operation(), entries=[marker(**changes), lease()])).phase is Phase.POST


def test_marker_reaches_request_enqueued_two_minutes_after_it() -> None:
    late = new_operation(requested_at=NOW + timedelta(minutes=2))
    assert ended(read_state(late, entries=[marker()]))[0] == "Canceled"


def test_marker_comes_before_a_passed_deadline() -> None:
    past = new_operation(deadline=NOW)
    assert ended(read_state(past, entries=[marker()]))[0] == "Canceled"


def test_deadline_passed_ends_run_with_all_untried() -> None:
    action = read_state(new_operation(), now=NOW + timedelta(hours=6))
    assert ended(action) == ("TimedOut", "DeadlineExceeded")
    assert set(outcomes(action).values()) == {"NotAttempted"}
    assert not following(action).at_work


def test_time_out_says_what_was_in_the_way_last() -> None:
    action = read_state(new_operation(transient_error=BUSY), now=NOW + timedelta(hours=6))
    error = following(action).error
    assert error is not None
    assert error.details == (BUSY,)


def test_not_before_is_waited_for_in_slices_of_ten_minutes() -> None:
    waiting = new_operation(resume_at=NOW + timedelta(minutes=25), deadline=NOW + timedelta(hours=6))
    now, dues = NOW, []
    while now < NOW + timedelta(minutes=25):
        action = read_state(waiting, None, now)
        waiting, now = following(action), due(action)
        dues.append(now - NOW)
    assert dues == [timedelta(minutes=10), timedelta(minutes=20), timedelta(minutes=25)]
    assert (waiting.phase, waiting.number, waiting.planned) == (Phase.PLAN, 3, False)


def test_views_that_were_not_read_are_read_by_the_next_record_at_once() -> None:
    action = read_state(new_operation(resume_at=NOW), None)
    assert (following(action).phase, due(action)) == (Phase.PLAN, NOW)


def test_unavailable_views_are_read_again_with_growing_pauses_within_a_slice() -> None:
    operation, pauses = new_operation(), []
    for _ in range(8):
        action = unavailable(operation)
        operation = following(action)
        pauses.append((due(action) - NOW).total_seconds())
    assert pauses[:3] == sorted(pauses[:3])
    assert 10 <= pauses[0] < 13
    assert 20 <= pauses[1] < 26
    assert max(pauses) <= 600
    assert (operation.phase, operation.transient_error, operation.failures) == (Phase.PLAN, BUSY, 8)


def test_unavailable_views_after_the_deadline_end_the_run() -> None:
    assert ended(unavailable(new_operation(), NOW + timedelta(hours=6))) == ("TimedOut", "DeadlineExceeded")


def test_third_unauthorized_read_in_a_row_ends_the_run() -> None:
    second = following(unavailable(following(unavailable(new_operation(), status=401)), status=401))
    assert second.phase is Phase.PLAN
    assert ended(unavailable(second, status=401)) == ("Failed", BUSY.code)
    assert following(unavailable(second, status=503)).phase is Phase.PLAN


# ---- what the targets come to


def test_targets_sorted_by_state_stand_in_waves_or_have_outcome() -> None:
    views = [eligible("0"), completed("1"), without_maintenance("2"), eligible("3")]
    operation = split(views)
    assert operation.waves == (("0",),)
    assert results(operation) == {"1": Result.ALREADY_COMPLETED, "2": Result.SKIPPED}
    assert operation.outcomes["2"].message == "no maintenance is planned"
    assert operation.planned


def test_whole_scale_set_is_every_instance_the_view_shows() -> None:
    operation = split([eligible("5"), eligible("0"), without_maintenance("7")], targets=None)
    assert operation.waves == (("5", "0"),)
    assert results(operation) == {"7": Result.SKIPPED}


def test_target_that_is_not_there_is_named() -> None:
    operation = split([eligible("0"), eligible("1")])
    assert operation.outcomes == {"2": Outcome(Result.NOT_FOUND, "the scale set has no instance with this id")}


def test_waves_name_targets_as_the_request_spelt_them() -> None:
    assert split([eligible("VM_A")], targets=("vm_a",)).waves == (("vm_a",),)


@pytest.mark.parametrize("instance", [in_progress("1"), UNREPORTED])
def test_updating_or_unreported_target_stands_in_the_waves_and_is_waited_for(instance: Instance) -> None:
    operation = split([eligible("0"), instance, eligible("2")])
    assert operation.waves == (("0", "1", "2"),)
    assert operation.outcomes == {}


def test_instance_that_is_deleted_or_created_is_skipped() -> None:
    views = [replace(eligible("0"), provisioning="deleting"), replace(eligible("1"), provisioning="creating")]
    assert results(split(views, targets=("0", "1"))) == {"0": Result.SKIPPED, "1": Result.SKIPPED}


def test_reject_ineligible_names_every_target_that_cannot_be_maintained() -> None:
    views = [eligible("0"), without_maintenance("1")]
    _, problems = split_targets(new_operation(reject_ineligible=True), views)
    assert [(problem.field, problem.value) for problem in problems] == [("instanceIds", "2"), ("instanceIds", "1")]
    assert split_targets(new_operation(), views)[1] == ()


def test_rejected_run_posts_nothing_and_accounts_for_every_target() -> None:
    action = read_state(new_operation(reject_ineligible=True), [eligible("0"), without_maintenance("1")])
    assert ended(action) == ("Rejected", "Rejected")
    assert outcomes(action) == {"0": "NotAttempted", "1": "Skipped", "2": "NotFound"}


def test_completed_or_updating_target_is_no_reason_to_reject() -> None:
    views = [eligible("0"), completed("1"), in_progress("2")]
    assert following(read_state(new_operation(reject_ineligible=True), views)).phase is Phase.POST


def test_dry_run_ends_with_what_it_would_do_and_takes_no_lease() -> None:
    action = read_state(
        new_operation(dry_run=True, rollout=ONE), [eligible("0"), completed("1"), eligible("2")], entries=()
    )
    assert ended(action) == ("NothingToDo", None)
    assert outcomes(action) == {"0": "WouldMaintain", "1": "AlreadyCompleted", "2": "WouldMaintain"}
    assert [following(action).outcomes[i].wave for i in "02"] == [0, 1]


def test_nothing_eligible_ends_run_without_lease() -> None:
    action = read_state(new_operation(), [completed("0"), without_maintenance("1")], entries=())
    assert ended(action) == ("NothingToDo", None)


def test_planned_run_keeps_its_waves_whatever_the_views_show() -> None:
    operation = following(read_state(planned(("1",), ("0",), rollout=ONE), [*spread(2), eligible("9")]))
    assert (operation.waves, operation.batch) == ((("1",), ("0",)), ("1",))


# ---- the lease


def test_run_without_lease_takes_it_until_six_hours_past_its_deadline() -> None:
    action = read_state(new_operation(), entries=())
    assert isinstance(action, TakeLease)
    assert action.until == new_operation().deadline + LEASE_OUTLASTS_DEADLINE
    assert action.operation.waves == (("0", "1", "2"),)
    assert action.state_read.instances == ALL


def test_lease_taken_first_and_alone_leads_to_the_post() -> None:
    taking = read_state(new_operation(), entries=())
    assert isinstance(taking, TakeLease)
    action = next_action(RULES, taking.operation, LeaseTaken(replace(taking.state_read, entries=[lease()])), NOW)
    posting = following(action)
    assert (posting.phase, posting.batch, posting.number, posting.leased_at) == (Phase.POST, ("0", "1", "2"), 1, NOW)
    assert posting.baseline == {i: eligible(i).baseline for i in "012"}


def test_run_with_another_ahead_takes_its_place_in_the_line_first() -> None:
    assert isinstance(read_state(new_operation(), entries=[others_lease()]), TakeLease)


def test_lease_behind_another_waits_and_plans_anew() -> None:
    action = read_state(new_operation(), entries=[others_lease(1), lease(number=2)])
    waiting = following(action)
    assert (waiting.phase, waiting.planned, waiting.waves, waiting.outcomes) == (Phase.PLAN, False, (), {})
    assert waiting.transient_error is not None
    assert waiting.transient_error.code == "LeaseHeld"
    assert NOW < due(action) <= NOW + timedelta(minutes=10)


def test_run_that_waited_in_line_still_touches_only_its_targets() -> None:
    views = [*ALL, eligible("8")]
    waiting = following(read_state(new_operation(), views, entries=[others_lease(1), lease(number=2)]))
    later = NOW + timedelta(minutes=30)
    assert following(read_state(waiting, views, later)).batch == ("0", "1", "2")


def test_run_that_ends_while_it_waits_for_the_lease_says_what_it_knows() -> None:
    known = planned(("0", "1"), outcomes={"0": Outcome(Result.NOT_FOUND)}, deadline=NOW + timedelta(minutes=1))
    waiting = following(read_state(known, entries=[others_lease(1), lease(number=2)]))
    assert not waiting.planned
    timed_out = read_state(waiting, now=waiting.deadline, entries=[others_lease(1), lease(number=2)])
    assert outcomes(timed_out)["0"] == "NotFound"


def test_leases_of_other_scale_sets_do_not_stand_in_the_way() -> None:
    elsewhere = others_lease(1, scale_set="/elsewhere")
    assert following(read_state(new_operation(), entries=[elsewhere, lease(number=2)])).phase is Phase.POST


def test_same_request_and_content_as_the_holder_ends_as_duplicate_that_names_it() -> None:
    twin = lease(OTHER_RUN, 1, content="c")
    action = read_state(new_operation(content="c"), entries=[twin, lease(number=2, content="c")])
    assert ended(action) == ("Duplicate", "Duplicate")
    assert following(action).duplicate_of == OTHER_RUN


@pytest.mark.parametrize("changes", [{"content": "other"}, {"content": "c", "request_id": "req-2"}])
def test_other_content_or_request_waits_like_any_other(changes: dict[str, Any]) -> None:
    holder = lease(OTHER_RUN, 1, **changes)
    assert following(read_state(new_operation(content="c"), entries=[holder, lease(number=2)])).phase is Phase.PLAN


def test_second_run_is_rejected_where_the_app_says_so() -> None:
    rules = Rules(allowed_scopes=EVERYWHERE, wait_for_lease=False)
    action = read_state(new_operation(), entries=[others_lease(1), lease(number=2)], rules=rules)
    assert ended(action) == ("Rejected", "Rejected")
    assert "req-2" in str(following(action).error)
    assert set(outcomes(action).values()) == {"NotAttempted"}


def test_started_run_is_neither_rejected_nor_duplicate_when_another_is_ahead() -> None:
    rules = Rules(allowed_scopes=EVERYWHERE, wait_for_lease=False)
    started = planned(("0",), ("1",), wave=1, started_at=NOW, outcomes={"0": Outcome(Result.COMPLETED, wave=0)})
    action = read_state(started, entries=[lease(OTHER_RUN, 1), lease(number=2)], rules=rules)
    assert following(action).phase is Phase.PLAN
    assert following(action).waves == started.waves
    assert following(action).outcomes == started.outcomes


def test_first_with_others_behind_waits_until_the_lease_wait_is_over_and_only_once() -> None:
    entries = [lease(number=1), others_lease(2)]
    action = read_state(new_operation(), entries=entries)
    waited = []
    while following(action).phase is Phase.PLAN:
        assert following(action).leased_at == NOW
        waited.append(due(action) - NOW)
        action = read_state(following(action), now=due(action), entries=entries)
    assert waited == [timedelta(minutes=10), timedelta(minutes=20), RULES.timing.lease_wait]
    assert following(action).phase is Phase.POST


def test_wait_of_the_first_in_line_outlasts_the_settle_time_of_a_post_of_those_behind() -> None:
    assert RULES.timing.lease_wait > RULES.timing.settle + RULES.timing.stopwatch + RULES.timing.state_age


def test_first_that_waited_for_others_behind_still_touches_only_its_targets() -> None:
    views, entries = [*ALL, eligible("8")], [lease(number=1), others_lease(2)]
    action = read_state(new_operation(), views, entries=entries)
    posting = following(read_state(following(action), views, NOW + RULES.timing.lease_wait, entries=entries))
    assert (posting.phase, posting.batch) == (Phase.POST, ("0", "1", "2"))


def test_started_run_with_others_behind_does_not_wait() -> None:
    started = planned(("0",), started_at=NOW)
    assert following(read_state(started, entries=[lease(number=1), others_lease(2)])).phase is Phase.POST


def test_instances_that_another_run_has_just_maintained_wait_until_every_view_must_show_that() -> None:
    action = read_state(new_operation(), entries=[lease(), stale("1")])
    waiting = following(action)
    assert (waiting.phase, waiting.planned, waiting.waves, waiting.failures) == (Phase.PLAN, False, (), 1)
    assert waiting.transient_error is not None
    assert waiting.transient_error.code == "ViewsStale"
    assert due(action) >= stale().until
    assert following(read_state(waiting, entries=[lease()])).phase is Phase.POST


@pytest.mark.parametrize(
    ("named", "phase"), [(("7",), Phase.POST), ((), Phase.POST), (("2",), Phase.PLAN), (None, Phase.PLAN)]
)
def test_other_instances_do_not_wait_for_the_views_but_where_one_may_be_down(
    named: tuple[str, ...] | None, phase: Phase
) -> None:
    note = replace(stale(), instances=named)
    assert following(read_state(new_operation(), entries=[lease(), note])).phase is phase


def test_started_run_that_lost_its_lease_ends() -> None:
    started = planned(("0",), ("1",), wave=1, started_at=NOW, outcomes={"0": Outcome(Result.COMPLETED, wave=0)})
    action = read_state(started, entries=())
    assert ended(action) == ("PartiallySucceeded", "LeaseLost")
    assert outcomes(action) == {"0": "Completed", "1": "NotAttempted"}


def test_lease_that_does_not_show_after_it_was_put_is_waited_for() -> None:
    taken = LeaseTaken(StateRead((), ALL, asked_at=NOW, views_asked_at=NOW))
    assert isinstance(next_action(RULES, new_operation(), taken, NOW), Continue)


# ---- what is posted next


def test_instance_gone_or_completed_meanwhile_gets_outcome_and_the_rest_is_posted() -> None:
    action = read_state(planned(("0", "1", "2", "3")), [eligible("0"), completed("1"), without_maintenance("2")])
    assert following(action).batch == ("0",)
    assert outcomes(action) == {"1": "AlreadyCompleted", "2": "Skipped", "3": "NotFound"}


def test_wave_with_nothing_left_owes_progressed_and_leads_to_the_next() -> None:
    rollout = replace(ONE, pause_between_waves=timedelta(minutes=5))
    action = read_state(planned(("0",), ("1",), rollout=rollout), [completed("0"), eligible("1")])
    operation = following(action)
    assert (operation.phase, operation.wave, due(action)) == (Phase.PLAN, 1, NOW + timedelta(minutes=5))
    assert operation.owed == (Owed("progressed", NOW, 0),)


@pytest.mark.parametrize("blocked", [in_progress("0"), Instance("0", reported=False)])
def test_others_update_is_waited_for_an_hour_and_then_given_up(blocked: Instance) -> None:
    action = read_state(planned(("0",)), [blocked])
    waiting = following(action)
    assert (waiting.phase, waiting.blocked_since) == (Phase.PLAN, NOW)
    still = following(read_state(waiting, [blocked], NOW + timedelta(minutes=59)))
    assert still.blocked_since == NOW
    action = read_state(still, [blocked], NOW + timedelta(minutes=60))
    assert following(action).phase is Phase.END
    assert set(outcomes(action)) == {"0"}


def test_unreported_view_is_not_called_an_update_by_somebody_else() -> None:
    waiting = planned(("0",), blocked_since=NOW)
    action = read_state(waiting, [Instance("0", reported=False)], NOW + timedelta(minutes=60))
    assert outcomes(action) == {"0": "Unknown"}


def test_what_is_eligible_is_posted_before_what_others_update() -> None:
    assert following(read_state(planned(("0", "1")), [in_progress("0"), eligible("1")])).batch == ("1",)


# ---- how many may be down


def test_instances_that_are_down_count_against_the_limit() -> None:
    views = [*spread(3), eligible("7", power="stopped")]
    limited = planned(("0", "1", "2"), rollout=Rollout(max_instances_per_wave=3))
    assert following(read_state(limited, views)).batch == ("0", "1")


@pytest.mark.parametrize(
    "ill",
    [
        eligible("7", healthy=False),
        eligible("7", provisioning="failed"),
        eligible("7", provisioning="migrating"),
        in_progress("7"),
        Instance("7", reported=False),
        Instance("7", provisioning="creating"),
    ],
)
def test_nothing_is_posted_while_the_limit_is_used_up_by_others(ill: Instance) -> None:
    action = read_state(planned(("0",), ("1",), rollout=ONE), [*spread(2), ill])
    waiting = following(action)
    assert (waiting.phase, waiting.batch) == (Phase.PLAN, ())
    assert waiting.transient_error is not None
    assert waiting.transient_error.code == "InstancesDown"
    assert NOW < due(action) <= NOW + timedelta(minutes=10)


def test_instance_of_the_wave_that_is_down_itself_goes_first_beside_no_other() -> None:
    views = [eligible("0"), eligible("1", power="stopped")]
    assert following(read_state(planned(("0", "1"), rollout=ONE), views)).batch == ("1",)


def test_percentage_is_reckoned_anew_when_the_set_shrank() -> None:
    ids = tuple(str(number) for number in range(10))
    limited = planned(ids[:5], ids[5:], rollout=Rollout(max_instances_per_wave="50%"))
    assert len(following(read_state(limited, spread(10))).batch) == 5
    assert len(following(read_state(limited, spread(6))).batch) == 3


def test_percentage_does_not_grow_with_the_set() -> None:
    limited = planned(("0",), ("1",), rollout=Rollout(max_instances_per_wave="50%"))
    assert len(following(read_state(limited, spread(10))).batch) == 1


def test_unknown_update_domains_go_one_at_a_time_after_the_known() -> None:
    views = [eligible("0"), eligible("1", update_domain=1), eligible("2"), eligible("3", update_domain=0)]
    operation = split(views, targets=None, rollout=Rollout(by_update_domain=True))
    assert operation.waves == (("3",), ("1",), ("0",), ("2",))


def test_run_without_rollout_posts_all_whatever_is_down() -> None:
    assert following(read_state(planned(("0", "1")), [*spread(2), in_progress("7")])).batch == ("0", "1")


def test_one_by_one_posts_one_of_the_wave() -> None:
    assert following(read_state(planned(("0", "1", "2"), one_by_one=True))).batch == ("0",)


def test_letter_case_of_the_view_does_not_matter() -> None:
    views = [eligible("VM_A"), eligible("VM_B", power="stopped")]
    limited = planned(("vm_a", "vm_b"), rollout=ONE)
    posting = following(read_state(limited, views, flexible=True))
    assert (posting.batch, set(posting.baseline)) == (("vm_b",), {"vm_b"})


# ---- without views


def test_without_views_all_targets_are_posted_at_once_under_a_lease() -> None:
    assert isinstance(read_state(new_operation(), None, entries=(), rules=WITHOUT_VIEWS), TakeLease)
    posting = following(read_state(new_operation(), None, rules=WITHOUT_VIEWS))
    assert (posting.phase, posting.batch, posting.baseline) == (Phase.POST, ("0", "1", "2"), {})
    whole = following(read_state(new_operation(targets=None), None, rules=WITHOUT_VIEWS))
    assert (whole.phase, whole.batch) == (Phase.POST, ())


def test_without_views_dry_run_posts_nothing_and_is_no_failure() -> None:
    assert ended(read_state(new_operation(dry_run=True), None, entries=(), rules=WITHOUT_VIEWS)) == (
        "NothingToDo",
        None,
    )


def test_earlier_campaign_completed_but_allowed_again_is_eligible() -> None:
    again = Instance("0", maintenance=MaintenanceStatus(True, "maintenancecompleted"))
    assert following(read_state(new_operation(targets=("0",)), [again])).batch == ("0",)
