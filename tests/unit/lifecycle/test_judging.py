"""The phase JUDGE: by the views against the baseline, was the POST taken?"""

from __future__ import annotations

from dataclasses import replace

import pytest

from maintenance.domain.instances import Instance, MaintenanceStatus
from maintenance.domain.operation import Call, Operation, Owed, Phase, Result
from maintenance.lifecycle.actions import Denied, Read
from maintenance.lifecycle.machine import next_action
from tests.support.machine import (
    ALL,
    BROKEN,
    RULES,
    WITHOUT_VIEWS,
    deliver,
    due,
    ended,
    following,
    judging,
    outcomes,
    read_state,
    unavailable,
)
from tests.support.samples import NOW, aborted, completed, eligible, in_progress, without_maintenance

JUDGE = judging("0", "1", "2")
FLEXIBLE = judging("a", "b", "c", flexible=True)
SETTLED = NOW + RULES.timing.settle
UNREPORTED = Instance("0", reported=False)
REST = (eligible("1"), eligible("2"))


def test_judge_reads_views_newer_than_the_post_and_no_leases() -> None:
    action = deliver(JUDGE, SETTLED)
    assert action == Read(JUDGE, views=True, coordination=False, newer_than=NOW)
    assert deliver(JUDGE, SETTLED, redelivered=True) == action


CHANGES: dict[str, Instance] = {
    "updating": in_progress("0"),
    "completed": completed("0", NOW),
    "aborted": aborted("0", NOW),
    "no longer planned": without_maintenance("0"),
    "another time": eligible("0", changed_at=NOW),
    "no longer allowed": eligible("0", maintenance=MaintenanceStatus(False)),
}


@pytest.mark.parametrize("instance", CHANGES.values(), ids=CHANGES.keys())
def test_change_of_one_instance_proves_the_whole_call_taken(instance: Instance) -> None:
    action = read_state(JUDGE, [instance, *REST], SETTLED)
    operation = following(action)
    assert (operation.phase, operation.number, operation.batch) == (Phase.TRACK, 5, ("0", "1", "2"))
    assert operation.calls == (Call(("0", "1", "2"), ended="unknown"),)
    assert (operation.final_at, operation.owed) == (SETTLED, (Owed("accepted", SETTLED),))
    assert operation.baseline == JUDGE.baseline


def test_no_change_in_any_plans_again() -> None:
    action = read_state(JUDGE, ALL, SETTLED)
    operation = following(action)
    assert (operation.phase, operation.batch, operation.calls, operation.posted_at) == (Phase.PLAN, (), (), None)
    assert (operation.number, operation.failures, operation.started_at) == (5, 1, None)
    assert operation.transient_error is not None
    assert operation.transient_error.code == "PostLost"


def test_instance_that_is_gone_did_not_change_on_account_of_the_post() -> None:
    again = following(read_state(JUDGE, REST, SETTLED))
    assert (again.phase, again.left_of_wave()) == (Phase.PLAN, ("1", "2"))
    assert again.outcomes["0"].result is Result.NOT_FOUND
    tracked = following(read_state(JUDGE, [in_progress("1"), eligible("2")], SETTLED))
    assert (tracked.phase, tracked.batch) == (Phase.TRACK, ("1", "2"))


def test_unreported_view_leaves_it_unknown_until_the_deadline() -> None:
    action = read_state(JUDGE, [UNREPORTED, *REST], SETTLED)
    assert following(action).phase is Phase.JUDGE
    assert SETTLED < due(action) <= SETTLED + RULES.timing.slice
    action = read_state(JUDGE, [UNREPORTED, *REST], JUDGE.deadline)
    assert ended(action) == ("TimedOut", "DeadlineExceeded")
    assert set(outcomes(action).values()) == {"Unknown"}
    assert following(action).at_work


def test_unreported_view_beside_a_change_counts_as_taken() -> None:
    assert following(read_state(JUDGE, [UNREPORTED, in_progress("1"), eligible("2")], SETTLED)).phase is Phase.TRACK


def test_nothing_taken_by_the_deadline_ends_untried() -> None:
    planned = following(read_state(JUDGE, ALL, JUDGE.deadline))
    action = read_state(planned, ALL, JUDGE.deadline)
    assert ended(action) == ("TimedOut", "DeadlineExceeded")
    assert set(outcomes(action).values()) == {"NotAttempted"}


def test_flexible_vms_are_judged_each_for_itself() -> None:
    views = [in_progress("a"), eligible("b"), eligible("c")]
    operation = following(read_state(FLEXIBLE, views, SETTLED, flexible=True))
    assert (operation.phase, operation.batch) == (Phase.TRACK, ("a",))
    assert operation.left_of_wave() == ("a", "b", "c")


def test_flexible_vm_that_is_not_reported_stays_in_doubt() -> None:
    views = [in_progress("a"), replace(eligible("b"), reported=False), eligible("c")]
    assert following(read_state(FLEXIBLE, views, SETTLED, flexible=True)).batch == ("a", "b")


def test_flexible_set_without_change_plans_all_again() -> None:
    views = [eligible(name) for name in "abc"]
    assert following(read_state(FLEXIBLE, views, SETTLED, flexible=True)).phase is Phase.PLAN


@pytest.mark.parametrize("operation", [JUDGE, judging()])
def test_without_views_judge_never_posts_again(operation: Operation) -> None:
    action = deliver(operation, SETTLED, rules=WITHOUT_VIEWS)
    assert ended(action) == ("Failed", "OutcomeUnknown")
    assert set(outcomes(action).values()) <= {"Unknown"}
    assert following(action).at_work


def test_unavailable_views_are_read_again_until_the_deadline() -> None:
    action = unavailable(JUDGE, SETTLED)
    assert following(action).phase is Phase.JUDGE
    assert due(action) > SETTLED
    assert ended(unavailable(JUDGE, JUDGE.deadline)) == ("TimedOut", "DeadlineExceeded")


def test_denied_views_end_the_run_with_the_batch_in_doubt() -> None:
    action = next_action(RULES, JUDGE, Denied(BROKEN), SETTLED)
    assert ended(action) == ("Failed", "HostBroken")
    assert set(outcomes(action).values()) == {"Unknown"}
    assert following(action).at_work


def test_waves_are_not_split_again_by_what_judge_finds() -> None:
    later = replace(JUDGE, waves=(("0", "1", "2", "3"), ("4",)))
    for views in (ALL, [in_progress("0"), *REST]):
        assert following(read_state(later, [*views, eligible("3")], SETTLED)).waves == later.waves
