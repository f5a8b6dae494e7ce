"""What a request comes to, by the instance views."""

from __future__ import annotations

from maintenance.domain.instances import Instance
from maintenance.domain.operation import Operation, Outcome, Result, Rollout
from maintenance.lifecycle.planning import plan
from tests.support.samples import (
    NOW,
    completed,
    eligible,
    in_progress,
    new_operation,
    seconds,
    without_maintenance,
)


def planned(instances: list[Instance], *, may_have_started: bool = False, **changes: object) -> Operation:
    return plan(new_operation(**changes), instances, may_have_started=may_have_started).operation


def results(operation: Operation) -> dict[str, Result]:
    return {i: outcome.result for i, outcome in operation.outcomes.items()}


def test_only_the_targets_are_planned_and_only_the_eligible_ones() -> None:
    views = [eligible("0"), completed("1"), without_maintenance("2"), eligible("3")]
    operation = planned(views)
    assert operation.waves == (("0",),)
    assert results(operation) == {"1": Result.ALREADY_COMPLETED, "2": Result.SKIPPED}
    assert operation.outcomes["2"].message == "no maintenance is planned"


def test_a_whole_scale_set_is_every_instance_the_view_shows() -> None:
    operation = planned([eligible("5"), eligible("0"), without_maintenance("7")], targets=None)
    assert operation.waves == (("5", "0"),)
    assert results(operation) == {"7": Result.SKIPPED}


def test_a_target_that_is_not_there_is_named() -> None:
    operation = planned([eligible("0"), eligible("1")])
    assert operation.outcomes == {"2": Outcome(Result.NOT_FOUND, "the scale set has no instance with this id")}


def test_the_waves_name_the_targets_as_the_request_spelt_them() -> None:
    assert planned([eligible("VM_A")], targets=("vm_a",)).waves == (("vm_a",),)


def test_after_planning_every_target_is_in_one_wave_or_has_an_outcome() -> None:
    operation = planned([eligible("0"), in_progress("1")])
    in_waves = [i for wave in operation.waves for i in wave]
    assert sorted([*in_waves, *operation.outcomes]) == ["0", "1", "2"]


def test_a_request_may_ask_to_be_rejected_rather_than_to_skip() -> None:
    views = [eligible("0"), without_maintenance("1")]
    strict = plan(new_operation(reject_ineligible=True), views, may_have_started=False)
    assert [(problem.field, problem.value) for problem in strict.problems] == [
        ("instanceIds", "2"),
        ("instanceIds", "1"),
    ]
    assert plan(new_operation(), views, may_have_started=False).problems == ()


def test_what_is_completed_or_under_way_is_no_reason_to_reject() -> None:
    views = [eligible("0"), completed("1"), in_progress("2")]
    assert plan(new_operation(reject_ineligible=True), views, may_have_started=False).problems == ()


def test_an_update_under_way_is_waited_for_together_with_the_only_wave() -> None:
    assert planned([eligible("0"), in_progress("1"), eligible("2")]).waves == (("0", "2", "1"),)
    assert planned([in_progress("0")], targets=("0",)).waves == (("0",),)


def test_an_update_under_way_is_waited_for_before_any_wave_of_a_rollout() -> None:
    views = [eligible("0"), in_progress("1"), eligible("2")]
    one_at_a_time = Rollout(max_instances_per_wave=1)
    assert planned(views, rollout=one_at_a_time).waves == (("1",), ("0",), ("2",))


def test_a_single_wave_of_a_rollout_does_not_take_more_down_beside_what_is_down() -> None:
    views = [in_progress("0"), eligible("1", update_domain=1)]
    for rollout in (Rollout(max_instances_per_wave=1), Rollout(by_update_domain=True)):
        assert planned(views, targets=("0", "1"), rollout=rollout).waves == (("0",), ("1",))


def test_updates_under_way_are_split_too_since_they_may_leave_their_instances_to_be_posted() -> None:
    views = [in_progress("0"), in_progress("1"), eligible("2")]
    assert planned(views, rollout=Rollout(max_instances_per_wave=1)).waves == (("0",), ("1",), ("2",))


def test_what_was_completed_since_a_suspect_run_counts_as_its_work() -> None:
    views = [completed("0", NOW + seconds(60)), completed("1")]
    may_have_started = planned(views, targets=("0", "1"), may_have_started=True)
    assert may_have_started.waves == (("0",),)
    assert results(may_have_started) == {"1": Result.ALREADY_COMPLETED}
    assert results(planned(views, targets=("0", "1"))) == {
        "0": Result.ALREADY_COMPLETED,
        "1": Result.ALREADY_COMPLETED,
    }


def test_a_suspect_plan_tells_whether_its_earlier_run_began() -> None:
    views = [completed("0", NOW), without_maintenance("1"), without_maintenance("2")]
    assert plan(new_operation(), views, may_have_started=True).under_way
    assert plan(new_operation(), [in_progress("0")], may_have_started=True).under_way
    assert not plan(new_operation(), [eligible("0"), completed("1")], may_have_started=True).under_way
