"""How a run ends: its leftovers, its status, dead letters, and the release of its lease."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from maintenance.coordination.entries import LEASE_OUTLASTS_DEADLINE, StaleViews
from maintenance.domain.instances import Instance
from maintenance.domain.observations import ErrorDetail
from maintenance.domain.operation import Call, Operation, Outcome, Owed, Phase, Result, Status
from maintenance.lifecycle.actions import Action, Denied, Done, LeaseReleased, Read, ReleaseLease
from maintenance.lifecycle.ending import MAX_STRIKES, end, strike
from maintenance.lifecycle.machine import next_action
from maintenance.lifecycle.rules import Rules
from tests.support.machine import (
    BROKEN,
    BUSY,
    RULES,
    WITHOUT_VIEWS,
    deliver,
    due,
    ended,
    following,
    judging,
    outcomes,
    planned,
    posting,
    read_state,
    tracking,
    unavailable,
)
from tests.support.samples import (
    NOW,
    OTHER_SUBSCRIPTION,
    completed,
    eligible,
    in_progress,
    new_operation,
    without_maintenance,
)

COMPLETED, FAILED, SKIPPED = Outcome(Result.COMPLETED, wave=0), Outcome(Result.FAILED, wave=0), Outcome(Result.SKIPPED)
UNKNOWN, UNTRIED = Outcome(Result.UNKNOWN, wave=0), Outcome(Result.NOT_ATTEMPTED)


def end_record(**changes: Any) -> Operation:
    return planned(("0",), **{"phase": Phase.END, "status": Status.SUCCEEDED, "ended_at": NOW, "number": 7, **changes})


def rest_record(*batch: str, **changes: Any) -> Operation:
    baseline = {instance_id: eligible(instance_id).baseline for instance_id in batch}
    rest = {"phase": Phase.REST, "batch": batch, "baseline": baseline, "at_work": True, **changes}
    return end_record(**rest)


def released(operation: Operation, *, found: bool) -> Action:
    return next_action(RULES, operation, LeaseReleased(found), NOW)


# ---- leftovers and status


def test_every_instance_has_an_outcome_at_the_end() -> None:
    operation = planned(("0", "1"), ("2",), outcomes={"0": COMPLETED, "9": SKIPPED})
    assert outcomes(end(operation, NOW)) == {
        "0": "Completed",
        "9": "Skipped",
        "1": "NotAttempted",
        "2": "NotAttempted",
    }


def test_targets_of_a_run_without_waves_are_not_attempted() -> None:
    assert outcomes(end(new_operation(), NOW)) == {"0": "NotAttempted", "1": "NotAttempted", "2": "NotAttempted"}


@pytest.mark.parametrize("operation", [judging("0", "1"), tracking("0", "1")])
def test_posted_instances_without_outcome_are_unknown_and_may_be_at_work(operation: Operation) -> None:
    operation = replace(operation, waves=(("0", "1"), ("2",)), outcomes={"0": COMPLETED})
    action = end(operation, NOW)
    assert outcomes(action) == {"0": "Completed", "1": "Unknown", "2": "NotAttempted"}
    assert following(action).at_work


@pytest.mark.parametrize("operation", [posting("0"), planned(("0",))])
def test_instances_that_were_only_to_be_posted_are_untried_and_not_at_work(operation: Operation) -> None:
    action = end(operation, NOW)
    assert outcomes(action) == {"0": "NotAttempted"}
    assert not following(action).at_work


@pytest.mark.parametrize(
    ("calls", "at_work"),
    [
        ((), True),
        ((Call((), "url"),), True),
        ((Call((), ended="unknown"),), True),
        ((Call((), ended="unreported"),), True),
        ((Call((), ended="succeeded"),), False),
        ((Call((), ended="failed"),), False),
        ((Call((), ended="gone"),), False),
    ],
)
def test_whole_scale_set_may_be_at_work_until_its_call_has_ended(calls: tuple[Call, ...], *, at_work: bool) -> None:
    operation = replace(tracking(), calls=calls)
    assert following(end(operation, NOW)).at_work is at_work


@pytest.mark.parametrize(
    ("found", "error", "status"),
    [
        ({"0": COMPLETED}, None, "Succeeded"),
        ({"0": COMPLETED, "1": SKIPPED}, None, "Succeeded"),
        ({"0": Outcome(Result.ALREADY_COMPLETED)}, None, "NothingToDo"),
        ({"0": SKIPPED, "1": Outcome(Result.NOT_FOUND)}, None, "NothingToDo"),
        ({}, None, "NothingToDo"),
        ({"0": COMPLETED, "1": FAILED}, None, "PartiallySucceeded"),
        ({"0": COMPLETED, "1": UNKNOWN}, None, "PartiallySucceeded"),
        ({"0": COMPLETED, "1": UNTRIED}, None, "PartiallySucceeded"),
        ({"0": COMPLETED}, BROKEN, "PartiallySucceeded"),
        ({"0": FAILED}, None, "Failed"),
        ({"0": UNKNOWN}, None, "Failed"),
        ({"0": UNTRIED}, None, "Failed"),
        ({"0": SKIPPED}, BROKEN, "Failed"),
    ],
)
def test_status_is_concluded_from_outcomes_and_error(
    found: dict[str, Outcome], error: ErrorDetail | None, status: str
) -> None:
    action = end(planned(outcomes=found, error=error), NOW)
    operation = following(action)
    assert operation.status is not None
    assert operation.status.value == status
    assert (operation.error is None) == (status in ("Succeeded", "NothingToDo"))
    assert (operation.phase, operation.ended_at, operation.number, due(action)) == (Phase.END, NOW, 4, NOW)


def test_error_of_a_failed_run_is_arms_own_where_there_is_one() -> None:
    operation = tracking("0", calls=(Call(("0",), ended="failed", error=BROKEN),), outcomes={"0": FAILED})
    assert following(end(operation, NOW)).error == BROKEN
    assert following(end(replace(operation, calls=(), transient_error=BUSY), NOW)).error == BUSY
    fallback = following(end(replace(operation, calls=()), NOW)).error
    assert fallback is not None
    assert (fallback.code, fallback.message) == ("MaintenanceFailed", "1 of 1 instances were not maintained.")


def test_end_carries_what_is_owed() -> None:
    owed = (Owed("accepted", NOW),)
    assert following(end(planned(("0",), owed=owed), NOW)).owed == owed


# ---- the release of the lease


def test_end_delivered_releases_the_lease() -> None:
    assert deliver(end_record()) == ReleaseLease(end_record())
    assert deliver(end_record(), redelivered=True) == ReleaseLease(end_record())


@pytest.mark.parametrize(
    ("results", "instances"),
    [
        ({"0": COMPLETED, "1": SKIPPED}, ("0",)),
        ({"0": COMPLETED, "1": FAILED}, None),
        ({"0": UNKNOWN}, None),
    ],
)
@pytest.mark.parametrize("make", [end_record, rest_record])
def test_release_after_maintenance_notes_that_views_may_be_stale(
    make: Callable[..., Operation], results: dict[str, Outcome], instances: tuple[str, ...] | None
) -> None:
    operation = make(outcomes=results, started_at=NOW, at_work=False)
    action = deliver(operation)
    assert isinstance(action, ReleaseLease)
    assert action.note == StaleViews(
        run_id=operation.run_id,
        request_id=operation.request_id,
        scale_set=operation.scale_set.key,
        until=NOW + RULES.timing.view_lag + RULES.timing.state_age,
        instances=instances,
    )


@pytest.mark.parametrize(
    ("changes", "rules"),
    [
        ({"outcomes": {"0": COMPLETED}}, RULES),
        ({"outcomes": {"0": SKIPPED}, "started_at": NOW}, RULES),
        ({"outcomes": {"0": COMPLETED}, "started_at": NOW}, WITHOUT_VIEWS),
    ],
)
def test_release_notes_nothing_where_nothing_was_done_or_no_views_are_read(
    changes: dict[str, Any], rules: Rules
) -> None:
    assert deliver(end_record(**changes), rules=rules) == ReleaseLease(end_record(**changes))


def test_end_of_dry_run_has_nothing_to_release() -> None:
    assert deliver(end_record(dry_run=True)) == Done(end_record(dry_run=True))


def test_lease_found_and_canceled_is_the_last_of_the_run() -> None:
    assert released(end_record(), found=True) == Done(end_record())


def test_lease_not_found_is_looked_for_once_more_after_the_release_look() -> None:
    action = released(end_record(), found=False)
    rest = following(action)
    assert (rest.phase, rest.number, rest.at_work) == (Phase.REST, 8, False)
    assert due(action) == NOW + RULES.timing.release_read
    assert deliver(rest, due(action)) == ReleaseLease(rest)
    assert released(rest, found=False) == Done(rest)
    assert released(rest, found=True) == Done(rest)


def test_end_with_a_wave_at_work_rests_before_it_releases() -> None:
    action = deliver(end_record(at_work=True))
    rest = following(action)
    assert (rest.phase, rest.at_work, due(action)) == (Phase.REST, True, NOW + RULES.timing.slice)
    assert deliver(rest, due(action)) == Read(rest, views=True, coordination=False)


def test_end_never_runs_its_owed_events_again_as_rest() -> None:
    assert following(deliver(end_record(at_work=True, owed=(Owed("accepted", NOW),)))).owed == ()


@pytest.mark.parametrize(
    "instance",
    [
        completed("0", NOW),
        without_maintenance("0"),
        eligible("0", changed_at=NOW),
        None,
    ],
)
def test_views_that_show_rest_release_the_lease(instance: Instance | None) -> None:
    rest = rest_record("0")
    assert read_state(rest, [instance] if instance else []) == ReleaseLease(rest)


@pytest.mark.parametrize("instance", [in_progress("0"), eligible("0"), Instance("0", reported=False)])
def test_views_that_do_not_show_rest_are_read_again_after_a_slice(instance: Instance) -> None:
    action = read_state(rest_record("0"), [instance])
    assert (following(action).phase, following(action).at_work) == (Phase.REST, True)
    assert due(action) == NOW + RULES.timing.slice


def test_every_instance_of_the_batch_must_be_at_rest() -> None:
    assert following(read_state(rest_record("0", "1"), [completed("0", NOW), in_progress("1")])).phase is Phase.REST


def test_lease_is_released_at_the_latest_when_it_runs_out() -> None:
    rest = rest_record("0")
    assert deliver(rest, rest.deadline + LEASE_OUTLASTS_DEADLINE) == ReleaseLease(rest)
    assert isinstance(deliver(rest, rest.deadline + LEASE_OUTLASTS_DEADLINE - timedelta(seconds=1)), Read)


def test_without_views_the_lease_is_kept_until_it_runs_out() -> None:
    rest = rest_record()
    action = deliver(rest, rules=WITHOUT_VIEWS)
    assert (following(action).phase, due(action)) == (Phase.REST, NOW + RULES.timing.slice)
    assert deliver(rest, rest.deadline + LEASE_OUTLASTS_DEADLINE, rules=WITHOUT_VIEWS) == ReleaseLease(rest)


def test_run_that_ends_before_its_last_wave_has_recovered_keeps_its_lease_until_then() -> None:
    rest = rest_record("0", recovering_since=NOW, outcomes={"0": COMPLETED})
    ill = replace(completed("0", NOW), healthy=False)
    assert following(read_state(rest, [ill])).phase is Phase.REST
    assert read_state(rest, [replace(ill, healthy=True)]) == ReleaseLease(rest)
    assert read_state(rest, [ill], NOW + rest.rollout.health_timeout) == ReleaseLease(rest)


@pytest.mark.parametrize("operation", [end_record(), rest_record("0")])
def test_release_that_fails_is_tried_again_and_the_end_is_not_published_again(operation: Operation) -> None:
    action = unavailable(operation)
    assert following(action).phase is Phase.REST
    assert following(action).at_work is operation.at_work
    assert NOW < due(action) <= NOW + RULES.timing.slice


def test_rest_with_denied_views_does_not_ask_every_few_seconds() -> None:
    action = next_action(RULES, rest_record("0"), Denied(BROKEN), NOW)
    assert following(action).phase is Phase.REST
    assert due(action) >= NOW + timedelta(minutes=5)


def test_rest_of_a_scale_set_beyond_the_scopes_reads_no_views() -> None:
    rest = rest_record("0")
    beyond = replace(rest, scale_set=replace(rest.scale_set, subscription_id=OTHER_SUBSCRIPTION))
    assert not isinstance(deliver(beyond), Read)


# ---- dead letters


@pytest.mark.parametrize("operation", [planned(("0",)), judging("0"), tracking("0")])
def test_dead_letter_is_one_more_delivery_of_its_successor(operation: Operation) -> None:
    action = strike(operation, "MaxDeliveryCountExceeded", NOW)
    struck = following(action)
    assert (struck.phase, struck.number, struck.strikes) == (operation.phase, operation.number + 1, 1)
    assert (struck.batch, struck.calls, due(action)) == (operation.batch, operation.calls, NOW)
    assert struck.transient_error is not None
    assert "MaxDeliveryCountExceeded" in struck.transient_error.message


def test_dead_letter_of_a_post_is_planned_again() -> None:
    struck = following(strike(posting("0"), "why", NOW))
    assert (struck.phase, struck.batch, struck.baseline, struck.strikes) == (Phase.PLAN, (), {}, 1)


@pytest.mark.parametrize(
    ("operation", "outcome", "at_work"),
    [
        (planned(("0",)), "NotAttempted", False),
        (posting("0"), "NotAttempted", False),
        (judging("0"), "Unknown", True),
        (tracking("0"), "Unknown", True),
    ],
)
def test_third_strike_ends_the_run_with_what_is_known(operation: Operation, outcome: str, *, at_work: bool) -> None:
    action = strike(replace(operation, strikes=MAX_STRIKES - 1), "why", NOW)
    assert ended(action) == ("Failed", "DeadLettered")
    assert outcomes(action) == {"0": outcome}
    assert following(action).at_work is at_work


@pytest.mark.parametrize("operation", [end_record(), rest_record("0")])
def test_end_and_rest_have_no_limit_of_strikes(operation: Operation) -> None:
    struck = following(strike(replace(operation, strikes=99), "why", NOW))
    assert (struck.phase, struck.status, struck.error) == (operation.phase, operation.status, operation.error)
    assert struck.number == operation.number + 1


def test_strike_keeps_what_is_owed() -> None:
    owed = (Owed("accepted", NOW),)
    assert following(strike(replace(tracking("0"), owed=owed), "why", NOW)).owed == owed
