"""Scale sets under maintenance, by a clock moved by hand."""

from __future__ import annotations

from datetime import timedelta
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sandbox.resource_manager.compute.events import InstanceChanged, OperationEnded, OperationStarted
from sandbox.resource_manager.compute.operations import Operation
from sandbox.resource_manager.compute.scale_sets import ScaleSet
from sandbox.resource_manager.compute.seeds import Outcome, ScaleSetSeed, State
from sandbox.resource_manager.compute.state import ComputeState
from sandbox.resource_manager.errors import ArmError
from tests.sandbox.resource_manager.samples import GROUP, START, SUBSCRIPTION, HandClock, instance, scale_set


def compute_with(*seeds: ScaleSetSeed) -> ComputeState:
    compute = ComputeState(duration=timedelta(seconds=20), retention=timedelta(hours=1))
    for each in seeds:
        compute.seed(each, START)
    return compute


def found(compute: ComputeState, name: str) -> ScaleSet:
    return compute.scale_sets.named(SUBSCRIPTION, GROUP, name)


def states(compute: ComputeState, name: str) -> list[str]:
    return [each.state for each in found(compute, name).instances.values()]


def after(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


def test_each_instance_takes_its_own_time_and_the_operation_ends_with_the_last() -> None:
    compute = compute_with(scale_set("web", instance("0"), instance("1", duration=after(30)), instance("2")))
    operation = compute.perform_maintenance(found(compute, "web"), ["0", "1"], START)
    assert states(compute, "web") == ["in-progress", "in-progress", "eligible"]
    compute.mature(START + after(9.9))
    assert states(compute, "web") == ["in-progress", "in-progress", "eligible"]
    compute.mature(START + after(10))
    assert states(compute, "web") == ["completed", "in-progress", "eligible"]
    assert operation.status == "InProgress"
    compute.mature(START + after(30))
    assert states(compute, "web") == ["completed", "completed", "eligible"]
    assert (operation.status, operation.ended) == ("Succeeded", START + after(30))


def test_what_was_due_happens_at_its_own_time_however_late_one_looks() -> None:
    compute = compute_with(scale_set("web", instance("0")))
    operation = compute.perform_maintenance(found(compute, "web"), None, START)
    compute.mature(START + after(600))
    assert operation.ended == START + after(10)
    assert found(compute, "web").instance("0").provisioned == START + after(10)


def test_no_instance_ids_are_all_instances() -> None:
    compute = compute_with(scale_set("web", instance("0"), instance("4")))
    operation = compute.perform_maintenance(found(compute, "web"), None, START)
    assert [each.vm_name for each in operation.instances] == ["web_0", "web_4"]


def test_instance_without_a_duration_takes_the_default() -> None:
    compute = compute_with(scale_set("web", instance("0", duration=None)))
    operation = compute.perform_maintenance(found(compute, "web"), None, START)
    compute.mature(START + after(19.9))
    assert operation.status == "InProgress"
    compute.mature(START + after(20))
    assert operation.status == "Succeeded"


@pytest.mark.parametrize(
    ("outcomes", "status", "code", "expected"),
    [
        (["Succeeded", "Succeeded"], "Succeeded", None, ["completed", "completed"]),
        (["Succeeded", "Failed"], "Failed", "VMRedeploymentFailed", ["completed", "aborted"]),
        (["RetryLater", "Succeeded"], "Failed", "AllocationFailed", ["retry-later", "completed"]),
        (["Aborted", "Succeeded"], "Canceled", "OperationPreempted", ["aborted", "completed"]),
        (["Aborted", "Failed"], "Failed", "VMRedeploymentFailed", ["aborted", "aborted"]),
        (["Aborted", "RetryLater"], "Failed", "AllocationFailed", ["aborted", "retry-later"]),
    ],
)
def test_the_worst_outcome_is_the_operations(
    outcomes: list[Outcome], status: str, code: str | None, expected: list[str]
) -> None:
    seeds = [instance(str(at), outcome=each) for at, each in enumerate(outcomes)]
    compute = compute_with(scale_set("web", *seeds))
    operation = compute.perform_maintenance(found(compute, "web"), None, START)
    compute.mature(START + after(10))
    assert operation.status == status
    assert (operation.error or {}).get("code") == code
    assert states(compute, "web") == expected


@pytest.mark.parametrize(
    ("state", "allowed", "code"),
    [
        ("eligible", True, "None"),
        ("completed", False, "MaintenanceCompleted"),
        ("retry-later", True, "RetryLater"),
        ("aborted", False, "MaintenanceAborted"),
        ("window-closed", False, "None"),
        ("in-progress", False, "None"),
        ("not-planned", False, "None"),
    ],
)
def test_who_may_begin(state: State, allowed: bool, code: str) -> None:
    compute = compute_with(scale_set("web", instance("0", state=state)))
    each = found(compute, "web").instance("0")
    assert (each.may_begin, each.last_result_code) == (allowed, code)
    if allowed:
        compute.perform_maintenance(found(compute, "web"), ["0"], START)
        assert each.begun == 1
        return
    with pytest.raises(ArmError) as failed:
        compute.perform_maintenance(found(compute, "web"), ["0"], START)
    conflict = state == "in-progress"
    assert (failed.value.status, failed.value.code) == (409, "Conflict" if conflict else "OperationNotAllowed")


def test_one_ineligible_instance_fails_the_whole_call() -> None:
    compute = compute_with(scale_set("web", instance("0"), instance("1", state="not-planned")))
    with pytest.raises(ArmError, match="'web_1'"):
        compute.perform_maintenance(found(compute, "web"), None, START)
    assert states(compute, "web") == ["eligible", "not-planned"]
    assert not list(compute.operations)


def test_an_unknown_id_fails_the_whole_call() -> None:
    compute = compute_with(scale_set("web", instance("0")))
    with pytest.raises(ArmError) as failed:
        compute.perform_maintenance(found(compute, "web"), ["0", "5"], START)
    assert (failed.value.status, failed.value.code, failed.value.target) == (400, "InvalidParameter", "instanceIds")
    assert states(compute, "web") == ["eligible"]


def test_an_id_named_twice_is_maintained_once() -> None:
    compute = compute_with(scale_set("web", instance("0")))
    operation = compute.perform_maintenance(found(compute, "web"), ["0", "0"], START)
    assert len(operation.instances) == 1


def test_outcomes_come_in_turn_and_the_last_one_stays() -> None:
    compute = compute_with(scale_set("web", instance("0", outcome=("RetryLater", "Succeeded"))))
    compute.perform_maintenance(found(compute, "web"), None, START)
    compute.mature(START + after(10))
    assert states(compute, "web") == ["retry-later"]
    compute.perform_maintenance(found(compute, "web"), None, START + after(10))
    compute.mature(START + after(20))
    assert states(compute, "web") == ["completed"]


def test_an_operation_ends_as_its_own_maintenance_did_not_as_the_next() -> None:
    seeds = [instance("0", outcome=("RetryLater", "Succeeded")), instance("1", duration=after(60))]
    compute = compute_with(scale_set("web", *seeds))
    first = compute.perform_maintenance(found(compute, "web"), None, START)
    compute.mature(START + after(10))
    second = compute.perform_maintenance(found(compute, "web"), ["0"], START + after(10))
    compute.mature(START + after(60))
    assert states(compute, "web") == ["completed", "completed"]
    assert (first.status, second.status) == ("Failed", "Succeeded")


def test_seeded_in_progress_it_ends_by_itself() -> None:
    compute = compute_with(scale_set("web", instance("0", state="in-progress")))
    compute.mature(START + after(10))
    assert states(compute, "web") == ["completed"]


def test_the_window_closes() -> None:
    compute = compute_with(scale_set("web", instance("0", window_closes_after=after(60)), instance("1")))
    compute.mature(START + after(60))
    assert states(compute, "web") == ["window-closed", "eligible"]


def test_a_window_that_closes_does_not_touch_maintenance_under_way() -> None:
    compute = compute_with(scale_set("web", instance("0", window_closes_after=after(5))))
    compute.perform_maintenance(found(compute, "web"), None, START)
    compute.mature(START + after(6))
    assert states(compute, "web") == ["in-progress"]


def test_health_is_lost_during_maintenance_and_recovers_after_it() -> None:
    compute = compute_with(
        scale_set(
            "web",
            instance("0", vm_health="healthy", health_recovers_after=after(5)),
            instance("1", vm_health="healthy", health_recovers_after=timedelta.max),
            instance("2"),
        )
    )
    compute.perform_maintenance(found(compute, "web"), None, START)

    def health_at(seconds: float) -> list[str | None]:
        compute.mature(START + after(seconds))
        return [each.vm_health for each in found(compute, "web").instances.values()]

    assert health_at(0) == ["unhealthy", "unhealthy", None]
    assert health_at(14.9) == ["unhealthy", "unhealthy", None]
    assert health_at(15) == ["healthy", "unhealthy", None]
    assert health_at(10**6) == ["healthy", "unhealthy", None]


def test_health_does_not_recover_while_the_next_maintenance_runs() -> None:
    seed = instance("0", vm_health="healthy", health_recovers_after=after(5), outcome=("RetryLater", "Succeeded"))
    compute = compute_with(scale_set("web", seed))
    compute.perform_maintenance(found(compute, "web"), None, START)
    compute.mature(START + after(12))
    compute.perform_maintenance(found(compute, "web"), None, START + after(12))
    compute.mature(START + after(16))
    assert found(compute, "web").instance("0").vm_health == "unhealthy"


def test_the_power_state_changes_as_ordered() -> None:
    compute = compute_with(scale_set("web", instance("0"), instance("1", power_state_after="stopped")))
    compute.perform_maintenance(found(compute, "web"), None, START)
    assert [each.power_state for each in found(compute, "web").instances.values()] == ["starting", "starting"]
    compute.mature(START + after(10))
    assert [each.power_state for each in found(compute, "web").instances.values()] == ["running", "stopped"]


def test_operations_are_forgotten_when_their_retention_is_over() -> None:
    compute = compute_with(scale_set("web", instance("0")))
    operation = compute.perform_maintenance(found(compute, "web"), None, START)
    compute.mature(START + after(10) + timedelta(minutes=59))
    assert compute.operation(operation.operation_id) is operation
    compute.mature(START + after(10) + timedelta(hours=1))
    with pytest.raises(ArmError) as failed:
        compute.operation(operation.operation_id)
    assert failed.value.status == 404


def test_names_are_found_in_any_letter_case() -> None:
    compute = compute_with(
        scale_set("Web", instance("0")), scale_set("flex", instance("vm_A"), orchestration_mode="Flexible")
    )
    assert compute.scale_sets.named(SUBSCRIPTION.upper(), GROUP.upper(), "wEB").seed.name == "Web"
    assert compute.scale_sets.virtual_machine(SUBSCRIPTION, GROUP, "VM_a")[1].vm_name == "vm_A"


@pytest.mark.parametrize(
    ("names", "code"),
    [
        (("00000000-0000-4000-8000-000000000000", GROUP, "web"), "SubscriptionNotFound"),
        ((SUBSCRIPTION, "none", "web"), "ResourceGroupNotFound"),
        ((SUBSCRIPTION, GROUP, "none"), "ResourceNotFound"),
    ],
)
def test_what_is_not_there_is_named(names: tuple[str, str, str], code: str) -> None:
    compute = compute_with(scale_set("web", instance("0")))
    with pytest.raises(ArmError) as failed:
        compute.scale_sets.named(*names)
    assert (failed.value.status, failed.value.code) == (404, code)


def test_instances_of_uniform_sets_are_no_vms_of_their_own() -> None:
    with pytest.raises(ArmError, match="virtualMachines/web_0"):
        compute_with(scale_set("web", instance("0"))).scale_sets.virtual_machine(SUBSCRIPTION, GROUP, "web_0")


@pytest.mark.parametrize("seed", [scale_set("web", instance("a")), scale_set("web", instance("0"), instance("0"))])
def test_seeds_that_cannot_be(seed: ScaleSetSeed) -> None:
    with pytest.raises(ValueError, match="web"):
        compute_with(seed)


def test_observers_hear_everything_in_order() -> None:
    compute = compute_with(scale_set("web", instance("0"), instance("1", duration=after(5), outcome="Failed")))
    compute.events.observed = True
    operation = compute.perform_maintenance(found(compute, "web"), None, START)
    compute.mature(START + after(10))
    heard = [
        each.instance_id + ":" + each.state if isinstance(each, InstanceChanged) else type(each).__name__
        for each in compute.events.pending
    ]
    assert heard == [
        "0:in-progress",
        "1:in-progress",
        "OperationStarted",
        "1:aborted",
        "0:completed",
        "OperationEnded",
    ]
    started, ended = compute.events.pending[2], compute.events.pending[-1]
    assert isinstance(started, OperationStarted)
    assert started.ends == START + after(10)
    assert ended == OperationEnded(START + after(10), operation.operation_id, "Failed")


def test_nothing_is_kept_for_observers_that_are_not_there() -> None:
    compute = compute_with(scale_set("web", instance("0")))
    compute.perform_maintenance(found(compute, "web"), None, START)
    compute.mature(START + after(10))
    assert compute.events.pending == []


@given(
    durations=st.lists(st.integers(0, 100), min_size=1, max_size=6),
    looks=st.lists(st.integers(0, 150), max_size=8),
)
def test_how_often_state_is_read_changes_nothing(durations: list[int], looks: list[int]) -> None:
    seeds = [instance(str(at), duration=after(each)) for at, each in enumerate(durations)]
    looked_at, left_alone = compute_with(scale_set("web", *seeds)), compute_with(scale_set("web", *seeds))
    operations = [each.perform_maintenance(found(each, "web"), None, START) for each in (looked_at, left_alone)]
    for look in sorted(looks):
        looked_at.mature(START + after(look))
    for each in (looked_at, left_alone):
        each.mature(START + after(150))
    assert operations[0].ended == operations[1].ended == START + after(max(durations))
    assert [i.provisioned for i in found(looked_at, "web").instances.values()] == [
        i.provisioned for i in found(left_alone, "web").instances.values()
    ]


class Maintenance(RuleBasedStateMachine):
    """Any calls at any times: what is promised of all scale sets holds throughout."""

    IDS = ("0", "1", "2", "5")

    def __init__(self) -> None:
        super().__init__()
        self.clock = HandClock()
        outcomes: tuple[Outcome, ...] = get_args(Outcome)
        seeds = [
            instance(each, duration=after(7 * (at + 1)), outcome=(outcomes[at], "RetryLater", "Succeeded"))
            for at, each in enumerate(self.IDS)
        ]
        self.compute = compute_with(scale_set("web", *seeds))
        self.accepted: list[Operation] = []

    @rule(ids=st.lists(st.sampled_from([*IDS, "9"]), min_size=1, unique=True) | st.none())
    def perform(self, ids: list[str] | None) -> None:
        web = found(self.compute, "web")
        before = {name: (each.state, each.begun) for name, each in web.instances.items()}
        wanted = list(web.instances) if ids is None else ids
        possible = all(each in web.instances and web.instances[each].may_begin for each in wanted)
        try:
            self.accepted.append(self.compute.perform_maintenance(web, ids, self.clock()))
        except ArmError:
            assert not possible
            assert before == {name: (each.state, each.begun) for name, each in web.instances.items()}
        else:
            assert possible

    @rule(seconds=st.integers(0, 40))
    def wait(self, seconds: int) -> None:
        self.compute.mature(self.clock.advance(seconds))

    @precondition(lambda self: self.accepted)
    @rule()
    def wait_until_all_is_done(self) -> None:
        self.compute.mature(self.clock.advance(100))
        assert all(each.ended is not None for each in self.accepted)

    @invariant()
    def what_is_begun_ends_once(self) -> None:
        for each in found(self.compute, "web").instances.values():
            assert each.begun - each.finished == (each.state == "in-progress")
            assert each.state != "in-progress" or not each.may_begin

    @invariant()
    def each_instance_in_progress_is_so_under_one_operation(self) -> None:
        running = [i.vm_name for op in self.accepted for i in op.instances if i.vm_name not in op.outcomes]
        assert len(running) == len(set(running))
        in_progress = [i.vm_name for i in found(self.compute, "web").instances.values() if i.state == "in-progress"]
        assert sorted(running) == sorted(in_progress)

    @invariant()
    def errors_and_statuses_agree(self) -> None:
        for each in self.accepted:
            assert (each.error is not None) == (each.status in {"Failed", "Canceled"})


TestMaintenance = Maintenance.TestCase
