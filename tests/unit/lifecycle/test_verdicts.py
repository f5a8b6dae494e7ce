"""Judging a wave: ARM's word and the instance view's word together."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from maintenance.domain.instances import Instance, MaintenanceStatus
from maintenance.domain.observations import ErrorDetail
from maintenance.domain.operation import Call, Ended, Outcome, Result
from maintenance.lifecycle.verdicts import Verdict, changed_since, judge, untouched_since
from tests.support.samples import (
    LONG_AGO,
    NOW,
    aborted,
    completed,
    eligible,
    in_progress,
    new_operation,
    seconds,
    without_maintenance,
)

LATER = NOW + seconds(300)
BROKEN = ErrorDetail("HostBroken", "The host broke.")


def verdict(instance: Instance | None, ended: Ended | None, *, grace_over: bool = False) -> Verdict:
    call = Call(("0",), ended=ended, error=BROKEN if ended in ("failed", "canceled", "refused") else None)
    operation = new_operation(targets=None, waves=(("0",),), calls=(call,), posted_at=NOW + seconds(10))
    return judge(operation, {"0": instance} if instance else {}, grace_over=grace_over)


def judged(instance: Instance | None, ended: Ended | None, *, grace_over: bool = False) -> str:
    """The one instance's outcome, or what is done about it."""
    found = verdict(instance, ended, grace_over=grace_over)
    if found.settled:
        return found.settled["0"].result.value
    return "pending" if found.pending else "again"


COMPLETED_BUT_ALLOWED = Instance("0", maintenance=MaintenanceStatus(True, "maintenancecompleted"), changed_at=LATER)
NOT_ALLOWED = Instance("0", maintenance=MaintenanceStatus(False), changed_at=LONG_AGO)


@pytest.mark.parametrize(
    ("instance", "ended", "outcome"),
    [
        (completed("0", LATER), "succeeded", "Completed"),
        (COMPLETED_BUT_ALLOWED, "succeeded", "Completed"),
        (without_maintenance("0"), "succeeded", "Completed"),
        (in_progress("0"), "succeeded", "pending"),
        (eligible("0"), "succeeded", "pending"),
        (aborted("0", LATER), "succeeded", "Failed"),
        (aborted("0"), "succeeded", "pending"),
        (None, "succeeded", "NotFound"),
        (completed("0", LATER), "failed", "Completed"),
        (completed("0"), "failed", "Failed"),
        (eligible("0"), "failed", "Failed"),
        (without_maintenance("0"), "failed", "Failed"),
        (in_progress("0"), "failed", "pending"),
        (eligible("0"), "canceled", "Failed"),
        (eligible("0"), "refused", "Failed"),
        (completed("0", LATER), "unknown", "Completed"),
        (completed("0"), "unknown", "Completed"),
        (in_progress("0"), "unknown", "pending"),
        (eligible("0"), "unknown", "again"),
        (eligible("0", changed_at=LATER), "unknown", "pending"),
        (eligible("0", changed_at=None), "unknown", "pending"),
        (aborted("0", LATER), "unknown", "Failed"),
        (NOT_ALLOWED, "unknown", "Skipped"),
        (completed("0", LATER), "foreign", "Completed"),
        (eligible("0", changed_at=LATER), "foreign", "again"),
        (in_progress("0"), "foreign", "pending"),
        (NOT_ALLOWED, "foreign", "Skipped"),
        (eligible("0", changed_at=LATER), "unsent", "again"),
        (eligible("0"), "unreported", "pending"),
        (completed("0", LATER), "unreported", "Completed"),
        (eligible("0"), "gone", "pending"),
        (completed("0", LATER), "gone", "Completed"),
    ],
)
def test_an_instance_is_judged_by_arms_word_and_the_views(
    instance: Instance | None, ended: Ended, outcome: str
) -> None:
    assert judged(instance, ended) == outcome


@pytest.mark.parametrize(
    ("instance", "ended"), [(eligible("0"), "succeeded"), (eligible("0", changed_at=LATER), "unknown")]
)
def test_what_the_view_never_confirms_fails_when_its_time_is_over(instance: Instance, ended: Ended) -> None:
    assert judged(instance, ended) == "pending"
    assert judged(instance, ended, grace_over=True) == "Failed"


def test_what_arm_took_is_never_posted_again_and_fails_only_where_arm_no_longer_keeps_it() -> None:
    assert judged(eligible("0"), "unreported", grace_over=True) == "pending"
    assert judged(eligible("0"), "gone", grace_over=True) == "Failed"


def test_a_look_from_before_arms_last_word_does_not_make_a_failure() -> None:
    call = Call(("0",), ended="failed", error=BROKEN)
    operation = new_operation(targets=None, waves=(("0",),), calls=(call,), posted_at=NOW, confirming_since=LATER)
    before = replace(operation, views_read_at=NOW)
    assert judge(before, {"0": eligible("0")}, grace_over=False).pending == ("0",)
    after = replace(operation, views_read_at=LATER)
    assert judge(after, {"0": eligible("0")}, grace_over=False).settled["0"].result is Result.FAILED


def test_an_update_in_progress_is_waited_for_though_its_time_is_over() -> None:
    assert judged(in_progress("0"), "succeeded", grace_over=True) == "pending"


def test_a_failure_is_told_in_the_views_words_or_else_in_arms() -> None:
    assert verdict(eligible("0"), "failed").settled["0"] == Outcome(Result.FAILED, "HostBroken: The host broke.", 0)
    told = "the host was needed elsewhere"
    assert verdict(aborted("0", LATER), "failed").settled["0"].message == told
    assert verdict(aborted("0", LATER), "succeeded").settled["0"].message == told


def test_each_instance_is_judged_by_the_call_it_was_posted_with() -> None:
    calls = (Call(("0",), ended="failed", error=BROKEN), Call(("1",), ended="succeeded"))
    operation = new_operation(targets=None, waves=(("0", "1", "2"),), calls=calls, posted_at=NOW)
    views = {"0": eligible("0"), "1": completed("1", LATER), "2": eligible("2")}
    found = judge(operation, views, grace_over=False)
    assert {i: outcome.result for i, outcome in found.settled.items()} == {"0": Result.FAILED, "1": Result.COMPLETED}
    assert found.again == ("2",)


def test_what_is_settled_stays_settled() -> None:
    outcomes = {"0": Outcome(Result.COMPLETED)}
    operation = new_operation(targets=None, waves=(("0",),), outcomes=outcomes, calls=(Call(("0",), ended="failed"),))
    assert judge(operation, {"0": aborted("0", LATER)}, grace_over=True) == Verdict()


def test_a_change_is_recent_within_the_difference_of_two_clocks() -> None:
    assert changed_since(completed("0", NOW - timedelta(minutes=4)), NOW)
    assert not changed_since(completed("0", NOW - timedelta(minutes=6)), NOW)
    assert changed_since(eligible("0", changed_at=None), NOW)


def test_only_a_view_that_tells_its_time_proves_an_instance_untouched() -> None:
    assert untouched_since(eligible("0"), NOW)
    assert not untouched_since(eligible("0", changed_at=None), NOW)
    assert not untouched_since(eligible("0", changed_at=NOW), NOW)
    assert not untouched_since(eligible("0", changed_at=NOW - timedelta(minutes=4)), NOW), "clocks differ"
    assert not untouched_since(eligible("0"), None)
