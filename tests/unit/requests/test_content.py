"""What makes two requests ask for the same, and what a cancellation must say."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from maintenance.domain.errors import InvalidRequest
from maintenance.domain.operation import Rollout
from maintenance.domain.resources import ScaleSet
from maintenance.requests.schema import Cancellation, MaintenanceRequest, read_cancellation
from tests.support.samples import NOW, SCALE_SET, SUBSCRIPTION, request_body

REQUEST = MaintenanceRequest(request_id="r", scale_set=SCALE_SET, instance_ids=("a", "b"))


@pytest.mark.parametrize(
    "changes",
    [
        {"request_id": "other"},
        {"reason": "why"},
        {"scale_set": ScaleSet(SUBSCRIPTION, "WEB-RG", "Web")},
        {"instance_ids": ("B", "a")},
    ],
)
def test_content_is_the_same_whatever_it_is_called_and_however_it_is_spelt(changes: dict[str, Any]) -> None:
    assert replace(REQUEST, **changes).content == REQUEST.content


@pytest.mark.parametrize(
    "changes",
    [
        {"scale_set": ScaleSet(SUBSCRIPTION, "web-rg", "api")},
        {"instance_ids": ("a",)},
        {"instance_ids": None},
        {"rollout": Rollout(max_instances_per_wave=1)},
        {"not_before": NOW},
        {"deadline": NOW + timedelta(hours=1)},
        {"reject_ineligible": True},
        {"dry_run": True},
    ],
)
def test_content_differs_where_something_else_is_requested(changes: dict[str, Any]) -> None:
    assert replace(REQUEST, **changes).content != REQUEST.content


def test_content_fits_into_a_lease() -> None:
    assert len(REQUEST.content) <= 64


def cancellation(**fields: Any) -> dict[str, Any]:
    return request_body(instanceIds=..., **{"cancel": "req-1", **fields})


def test_cancellation_names_the_request_and_its_scale_set() -> None:
    assert read_cancellation(cancellation(reason="why")) == Cancellation("req-1", SCALE_SET, "why")
    by_id = {"cancel": "req-1", "resourceId": SCALE_SET.resource_id}
    assert read_cancellation(by_id) == Cancellation("req-1", SCALE_SET)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"cancel": ""}, "cancel"),
        ({"cancel": "with space"}, "cancel"),
        ({"cancel": None}, "cancel"),
        ({"cancel": 7}, "cancel"),
        ({"vmScaleSetName": ...}, "vmScaleSetName"),
        ({"vmScaleSetName": "a/b"}, "vmScaleSetName"),
        ({"resourceId": SCALE_SET.resource_id}, "subscriptionId"),
        ({"deadline": "2026-01-31T12:00:00Z"}, "deadline"),
        ({"requestId": "mine"}, "requestId"),
        ({"schemaVersion": 2}, "schemaVersion"),
    ],
)
def test_cancellation_is_read_strictly(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_cancellation(cancellation(**fields))
    assert field in {problem.field for problem in refused.value.problems}
