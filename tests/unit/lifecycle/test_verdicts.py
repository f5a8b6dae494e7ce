"""Judging a batch: ARM's status and the view, compared with the baseline."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from maintenance.domain.instances import Baseline, Instance, MaintenanceStatus
from maintenance.domain.operation import Call, FinalStatus, Outcome, Result
from maintenance.lifecycle.rules import Timing
from maintenance.lifecycle.verdicts import Verdict, has_recovered, is_changed, judge
from tests.support.machine import BROKEN, tracking
from tests.support.samples import LONG_AGO, NOW, aborted, completed, eligible, in_progress, seconds, without_maintenance

TIMING = Timing()
CHANGED = NOW + seconds(60)
FINAL = NOW + seconds(90)
SOON = FINAL + seconds(10)  # within the view lag
RESTED = FINAL + TIMING.view_lag
GIVEN_UP = FINAL + TIMING.confirm
SETTLED = NOW + TIMING.settle
MAINTAINED = completed("0", CHANGED)
UNTOUCHED = eligible("0")
# Baselines: as most are; of an instance that an earlier campaign maintained.
FRESH = UNTOUCHED.baseline
EARLIER = Instance(
    "0", maintenance=MaintenanceStatus(True, "maintenancecompleted", window=("w1",)), changed_at=LONG_AGO
)
AGAIN = MaintenanceStatus(True, "maintenancecompleted", window=("w2",))


def verdict(
    instance: Instance | None,
    ended: FinalStatus | None,
    read_at: datetime,
    *,
    baseline: Baseline | None = FRESH,
    updating: bool = False,
    **changes: Any,
) -> Verdict:
    call = Call(("0",), ended=ended, error=BROKEN if ended in ("failed", "canceled") else None)
    operation = tracking("0", calls=(call,), final_at=FINAL if ended else None, **changes)
    operation = replace(operation, baseline={"0": baseline} if baseline else {}, updating=("0",) if updating else ())
    return judge(operation, {"0": instance} if instance else {}, read_at, TIMING)


def judged(*args: Any, **options: Any) -> str:
    """The one instance's outcome, or what is done about it."""
    found = verdict(*args, **options)
    if found.settled:
        return found.settled["0"].result.value
    return "pending" if found.pending else "untouched"


FAILED_PROVISIONING = eligible("0", provisioning="failed", changed_at=CHANGED)
UNREPORTED = Instance("0", reported=False)


@pytest.mark.parametrize(
    ("instance", "ended", "read_at", "outcome"),
    [
        # Positive proof counts at once, whatever ARM says or does not say yet.
        (MAINTAINED, "succeeded", SOON, "Completed"),
        (MAINTAINED, "failed", SOON, "Completed"),
        (MAINTAINED, "canceled", SOON, "Completed"),
        (MAINTAINED, "unknown", SOON, "Completed"),
        (MAINTAINED, "unreported", SOON, "Completed"),
        (MAINTAINED, "gone", SOON, "Completed"),
        (MAINTAINED, None, SOON, "Completed"),
        # An update is waited for.
        (in_progress("0"), "succeeded", GIVEN_UP, "pending"),
        (in_progress("0"), "failed", GIVEN_UP, "pending"),
        (in_progress("0"), "gone", GIVEN_UP, "pending"),
        # An absent status is proof only together with ARM's own Succeeded.
        (without_maintenance("0"), "succeeded", SOON, "Completed"),
        (without_maintenance("0"), "failed", RESTED, "Failed"),
        (without_maintenance("0"), "unknown", GIVEN_UP, "Unknown"),
        (without_maintenance("0"), "gone", GIVEN_UP, "Unknown"),
        # A view may be as old as the lag: it says nothing of rest before.
        (UNTOUCHED, "succeeded", SOON, "pending"),
        (UNTOUCHED, "failed", SOON, "pending"),
        (UNTOUCHED, "failed", RESTED, "Failed"),
        (UNTOUCHED, "canceled", RESTED, "Failed"),
        (aborted("0", CHANGED), "succeeded", SOON, "pending"),
        (aborted("0", CHANGED), "succeeded", RESTED, "Failed"),
        (aborted("0", CHANGED), "unknown", RESTED, "Failed"),
        (aborted("0", CHANGED), None, RESTED, "pending"),
        # What no view ever shows is unknown, not failed.
        (UNTOUCHED, "succeeded", RESTED, "pending"),
        (UNTOUCHED, "succeeded", GIVEN_UP, "Unknown"),
        (UNTOUCHED, "gone", GIVEN_UP, "Unknown"),
        (UNTOUCHED, "unknown", GIVEN_UP, "Unknown"),
        (UNREPORTED, "succeeded", SOON, "pending"),
        (UNREPORTED, "succeeded", GIVEN_UP, "Unknown"),
        (UNREPORTED, None, GIVEN_UP, "pending"),
        # ARM has it, and may not have come to it yet.
        (UNTOUCHED, "unreported", GIVEN_UP, "pending"),
        (UNTOUCHED, None, GIVEN_UP, "pending"),
        # Provisioning that failed is never completed.
        (FAILED_PROVISIONING, "succeeded", RESTED, "Failed"),
        (replace(MAINTAINED, provisioning="failed"), "succeeded", RESTED, "Failed"),
        (replace(without_maintenance("0"), provisioning="failed"), "succeeded", RESTED, "Failed"),
        (None, "succeeded", SOON, "NotFound"),
        (None, "unknown", SOON, "NotFound"),
    ],
)
def test_instance_is_judged_by_arms_status_the_view_and_the_baseline(
    instance: Instance | None, ended: FinalStatus | None, read_at: datetime, outcome: str
) -> None:
    assert judged(instance, ended, read_at) == outcome


@pytest.mark.parametrize(
    ("instance", "ended", "updating", "outcome"),
    [
        # Shown as before the POST: nothing that happened since.
        (EARLIER, "succeeded", False, "Unknown"),
        (EARLIER, "unknown", False, "Unknown"),
        # Completed, and done with: no longer allowed.
        (
            replace(EARLIER, maintenance=MaintenanceStatus(False, "maintenancecompleted", window=("w1",))),
            "succeeded",
            False,
            "Unknown",
        ),
        (completed("0", CHANGED), "succeeded", False, "Completed"),
        (completed("0", CHANGED), "unknown", False, "Completed"),
        # Allowed again in the next campaign: its window is another.
        (replace(EARLIER, maintenance=AGAIN, changed_at=CHANGED), "succeeded", False, "Completed"),
        (replace(EARLIER, maintenance=AGAIN, changed_at=CHANGED), "gone", True, "Completed"),
        # Nobody knows whether the POST was taken: others may have updated it, and Azure may have moved the window.
        (replace(EARLIER, maintenance=AGAIN, changed_at=CHANGED), "unknown", True, "Unknown"),
        (replace(EARLIER, maintenance=AGAIN, changed_at=CHANGED), "unknown", False, "Unknown"),
        (replace(EARLIER, maintenance=AGAIN), "succeeded", False, "Unknown"),
        (replace(EARLIER, changed_at=CHANGED), "succeeded", False, "Unknown"),
    ],
)
def test_completed_of_an_earlier_campaign_is_no_proof(
    instance: Instance, ended: FinalStatus, *, updating: bool, outcome: str
) -> None:
    assert judged(instance, ended, GIVEN_UP, baseline=EARLIER.baseline, updating=updating) == outcome


def test_absent_status_after_an_update_that_was_seen_is_completed() -> None:
    assert judged(without_maintenance("0"), "unknown", SOON, updating=True) == "Completed"
    assert judged(without_maintenance("0"), "gone", SOON, updating=True) == "Completed"


def test_result_of_before_the_post_is_no_failure_of_this_run() -> None:
    before = aborted("0")
    assert judged(before, "succeeded", RESTED, baseline=before.baseline) == "pending"
    assert judged(before, "succeeded", GIVEN_UP, baseline=before.baseline) == "Unknown"


def test_failed_provisioning_of_before_the_post_is_no_failure_within_the_view_lag() -> None:
    before = eligible("0", provisioning="failed")
    assert judged(before, "succeeded", SOON, baseline=before.baseline) == "pending"


def test_failed_provisioning_of_before_the_post_is_no_failure_while_arm_is_at_work() -> None:
    before = eligible("0", provisioning="failed")
    assert judged(before, None, SOON, baseline=before.baseline) == "pending"


def test_failed_provisioning_of_before_is_no_failure_while_arm_never_says_how_it_ended() -> None:
    before = eligible("0", provisioning="failed")
    assert judged(before, "unreported", RESTED, baseline=before.baseline) == "pending"
    assert judged(before, "gone", RESTED, baseline=before.baseline) == "Failed"
    assert judged(replace(before, changed_at=CHANGED), "unreported", RESTED, baseline=before.baseline) == "Failed"


def test_failed_provisioning_of_before_a_post_in_doubt_is_unknown_though_the_window_moved() -> None:
    before = eligible("0", provisioning="failed")
    moved = replace(before, maintenance=MaintenanceStatus(True, window=("2026-02-01", "", "", "")))
    for instance in (before, moved):
        assert judged(instance, "unknown", GIVEN_UP, baseline=before.baseline) == "Unknown"
    assert judged(replace(before, changed_at=CHANGED), "unknown", RESTED, baseline=before.baseline) == "Failed"


def test_flexible_vm_without_change_after_the_settle_time_is_untouched() -> None:
    assert judged(UNTOUCHED, "unknown", SETTLED, flexible=True) == "untouched"
    assert judged(UNTOUCHED, "unknown", SETTLED, flexible=False) == "Unknown"
    assert judged(UNTOUCHED, "succeeded", SETTLED, flexible=True) == "Unknown"


def test_failure_has_the_message_of_the_view_or_else_arms() -> None:
    told = "the host was needed elsewhere"
    assert verdict(aborted("0", CHANGED), "failed", RESTED).settled["0"].message == told
    assert verdict(aborted("0", CHANGED), "succeeded", RESTED).settled["0"].message == told
    arms = Outcome(Result.FAILED, "HostBroken: The host broke.", 0)
    assert verdict(UNTOUCHED, "failed", RESTED).settled["0"] == arms


def test_each_instance_is_judged_by_its_own_call() -> None:
    calls = (Call(("0",), ended="failed", error=BROKEN), Call(("1",), ended="succeeded"))
    operation = tracking("0", "1", "2", calls=calls, final_at=FINAL)
    views = {"0": eligible("0"), "1": without_maintenance("1"), "2": in_progress("2")}
    found = judge(operation, views, RESTED, TIMING)
    assert {i: outcome.result.value for i, outcome in found.settled.items()} == {"0": "Failed", "1": "Completed"}
    assert (found.pending, found.updating) == (("2",), ("2",))


def test_call_for_the_whole_scale_set_covers_every_instance() -> None:
    operation = tracking("0", calls=(Call((), ended="succeeded"),), final_at=FINAL)
    assert judge(operation, {"0": without_maintenance("0")}, SOON, TIMING).settled["0"].result is Result.COMPLETED


def test_what_is_settled_is_not_judged_again() -> None:
    outcomes = {"0": Outcome(Result.COMPLETED)}
    operation = tracking("0", calls=(Call(("0",), ended="failed"),), final_at=FINAL, outcomes=outcomes)
    assert judge(operation, {"0": aborted("0", CHANGED)}, GIVEN_UP, TIMING) == Verdict()


def test_confirm_time_shorter_than_the_lag_does_not_give_up_within_the_lag() -> None:
    hasty = Timing(confirm=timedelta(0))
    operation = tracking("0", calls=(Call(("0",), ended="succeeded"),), final_at=FINAL)
    assert judge(operation, {"0": UNTOUCHED}, SOON, hasty).pending == ("0",)
    assert judge(operation, {"0": UNTOUCHED}, RESTED, hasty).settled["0"].result is Result.UNKNOWN


@pytest.mark.parametrize(
    ("instance", "changed"),
    [
        (UNTOUCHED, False),
        (None, False),
        (UNREPORTED, None),
        (in_progress("0", LONG_AGO), True),
        (MAINTAINED, True),
        (eligible("0", changed_at=CHANGED), True),
        (eligible("0", maintenance=MaintenanceStatus(True, window=("w",))), True),
        (without_maintenance("0"), True),
        (eligible("0", power="stopped"), False),
        (eligible("0", healthy=False), False),
    ],
)
def test_change_is_judged_against_the_baseline(instance: Instance | None, *, changed: bool | None) -> None:
    assert is_changed(instance, FRESH) is changed


def test_change_without_baseline_is_not_known() -> None:
    assert is_changed(UNTOUCHED, None) is None


def up(**changes: Any) -> Instance:
    return replace(MAINTAINED, **changes)


@pytest.mark.parametrize(
    ("instance", "baseline", "recovered"),
    [
        (up(healthy=True), FRESH, True),
        (up(healthy=False), FRESH, False),
        (up(healthy=True, power="stopped"), FRESH, True),
        (up(power="running"), FRESH, True),
        (up(power="starting"), FRESH, False),
        (up(), FRESH, True),
        (up(power="stopped"), replace(FRESH, power="stopped"), True),
        (up(healthy=False), replace(FRESH, power="stopped"), False),
        (up(power="starting"), None, False),
        # A view from before the maintenance says nothing.
        (eligible("0", healthy=True), FRESH, False),
        (Instance("0", reported=False), FRESH, False),
    ],
)
def test_recovery_is_health_where_reported_and_else_power(
    instance: Instance, baseline: Baseline | None, *, recovered: bool
) -> None:
    assert has_recovered(instance, baseline) is recovered
