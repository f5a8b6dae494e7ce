"""What the app allows of a well-formed request, and how long a run may take."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from maintenance.domain.errors import PolicyViolation
from maintenance.domain.formats import LONGEST_RUN
from maintenance.domain.operation import Rollout
from maintenance.domain.resources import ScaleSet, Scope
from maintenance.requests.policy import check_request, check_scale_set, deadline_of
from maintenance.requests.schema import MaintenanceRequest
from maintenance.settings import ServiceBusConnection, Settings
from tests.support.samples import NOW, OTHER_SUBSCRIPTION, SCALE_SET, SUBSCRIPTION

POLICY = Settings(service_bus=ServiceBusConnection(namespace="ns"), allowed_scopes=(Scope(SUBSCRIPTION),))
REQUEST = MaintenanceRequest(request_id="r", scale_set=SCALE_SET, instance_ids=("0",))
ONE = Rollout(max_instances_per_wave=1)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def problems(policy: Settings = POLICY, **changes: Any) -> set[str]:
    """The fields that are not allowed."""
    try:
        check_request(replace(REQUEST, **changes), policy, NOW)
    except PolicyViolation as violation:
        assert violation.scale_set == replace(REQUEST, **changes).scale_set
        return {problem.field for problem in violation.problems}
    return set()


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({}, set()),
        ({"instance_ids": None}, set()),
        ({"scale_set": ScaleSet(OTHER_SUBSCRIPTION, "web-rg", "web")}, {"scale set"}),
        ({"deadline": NOW}, {"deadline"}),
        ({"deadline": NOW + timedelta(seconds=1)}, set()),
        ({"deadline": NOW + 35 * DAY}, set()),
        ({"deadline": NOW + 35 * DAY + timedelta(seconds=1)}, {"deadline"}),
        ({"not_before": NOW + 35 * DAY}, set()),
        ({"not_before": NOW + 36 * DAY}, {"notBefore"}),
        ({"not_before": NOW - DAY}, set()),
        ({"rollout": replace(ONE, pause_between_waves=5 * HOUR)}, set()),
        ({"rollout": replace(ONE, pause_between_waves=6 * HOUR)}, {"rollout.pauseBetweenWaves"}),
        ({"rollout": replace(ONE, pause_between_waves=HOUR), "deadline": NOW + HOUR}, {"rollout.pauseBetweenWaves"}),
        # A pause between waves is none where there is but one wave.
        ({"rollout": Rollout(pause_between_waves=9 * HOUR)}, set()),
        # The time to the deadline begins at notBefore.
        ({"rollout": ONE, "not_before": NOW + 10 * HOUR}, set()),
        ({"rollout": replace(ONE, pause_between_waves=5 * HOUR), "not_before": NOW + 10 * HOUR}, set()),
        (
            {
                "rollout": replace(ONE, pause_between_waves=3 * HOUR),
                "not_before": NOW + 10 * HOUR,
                "deadline": NOW + 12 * HOUR,
            },
            {"rollout.pauseBetweenWaves"},
        ),
    ],
)
def test_request_is_held_against_policy(changes: dict[str, Any], fields: set[str]) -> None:
    assert problems(**changes) == fields


def test_whole_scale_set_can_be_forbidden() -> None:
    strict = replace(POLICY, allow_whole_scale_set=False)
    assert problems(strict, instance_ids=None) == {"instanceIds"}
    assert problems(strict) == set()


@pytest.mark.parametrize("rollout", [ONE, Rollout(by_update_domain=True)])
def test_waves_need_instance_views(rollout: Rollout) -> None:
    blind = replace(POLICY, read_instance_views=False)
    assert problems(blind, rollout=rollout) == {"rollout"}
    assert problems(blind) == set()


def test_everything_that_is_not_allowed_is_named_at_once() -> None:
    strict = replace(POLICY, allow_whole_scale_set=False, read_instance_views=False)
    found = problems(
        strict,
        scale_set=ScaleSet(OTHER_SUBSCRIPTION, "web-rg", "web"),
        instance_ids=None,
        deadline=NOW - DAY,
        rollout=Rollout(by_update_domain=True),
    )
    assert {"scale set", "instanceIds", "deadline", "rollout"} <= found


@pytest.mark.parametrize(
    ("changes", "deadline"),
    [
        ({}, NOW + 6 * HOUR),
        ({"not_before": NOW + DAY}, NOW + DAY + 6 * HOUR),
        ({"not_before": NOW - DAY}, NOW + 6 * HOUR),
        ({"deadline": NOW + HOUR, "not_before": NOW + timedelta(minutes=1)}, NOW + HOUR),
    ],
)
def test_deadline_is_the_requests_own_or_the_default_after_its_begin(changes: dict[str, Any], deadline: Any) -> None:
    assert deadline_of(replace(REQUEST, **changes), POLICY, NOW) == deadline


@pytest.mark.parametrize("default", [6 * HOUR, 10 * DAY])
@pytest.mark.parametrize("changes", [{"not_before": NOW + 35 * DAY}, {"deadline": NOW + 80 * DAY}])
def test_deadline_is_never_further_ahead_than_a_record_may_say(changes: dict[str, Any], default: timedelta) -> None:
    policy = replace(POLICY, default_deadline=default)
    assert deadline_of(replace(REQUEST, **changes), policy, NOW) - NOW <= LONGEST_RUN


def test_cancellation_outside_the_allowed_scopes_is_not_allowed() -> None:
    check_scale_set(SCALE_SET, POLICY, None)
    with pytest.raises(PolicyViolation) as violation:
        check_scale_set(ScaleSet(OTHER_SUBSCRIPTION, "g", "n"), POLICY, "why")
    assert violation.value.reason == "why"
