"""Instances read from instance views."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maintenance.arm.views import MAX_MESSAGE, WINDOW, read_instance
from maintenance.domain.instances import Instance, InstanceState, MaintenanceStatus, select
from tests.support.samples import RECORDED, eligible, recorded

STATUS = json.loads((RECORDED / "maintenance_redeploy_status.json").read_text())["maintenanceRedeployStatus"]


def view(status: object = STATUS, provisioning: str = "succeeded", **more: Any) -> dict[str, Any]:
    """An element of the list as Compute returns it."""
    statuses = [
        {"code": f"ProvisioningState/{provisioning}", "level": "Info", "time": "2026-01-30T11:00:00.1234567+00:00"},
        {"code": "PowerState/running", "level": "Info"},
    ]
    instance_view = {
        "platformUpdateDomain": 2,
        "platformFaultDomain": 1,
        "statuses": statuses,
        "maintenanceRedeployStatus": status,
        **more,
    }
    if status is ...:
        del instance_view["maintenanceRedeployStatus"]
    return {
        "name": "web_3",
        "instanceId": "3",
        "properties": {"provisioningState": provisioning.capitalize(), "instanceView": instance_view},
    }


def test_instance_with_recorded_status_is_eligible() -> None:
    instance = read_instance(view())
    assert instance == Instance(
        "3",
        provisioning="succeeded",
        maintenance=MaintenanceStatus(allowed=True, window=tuple(STATUS[name] for name in WINDOW)),
        update_domain=2,
        power="running",
        changed_at=datetime(2026, 1, 30, 11, 0, 0, 123_456, tzinfo=UTC),
    )
    assert instance.state is InstanceState.ELIGIBLE
    assert instance.why == "maintenance is planned and may be started"


STATES: dict[str, tuple[dict[str, Any], InstanceState, str]] = {
    "no status at all": (view(...), InstanceState.NOT_ELIGIBLE, "no maintenance is planned"),
    "a null status": (view(None), InstanceState.NOT_ELIGIBLE, "no maintenance is planned"),
    "an empty status": (view({}), InstanceState.NOT_ELIGIBLE, "no maintenance is planned"),
    "not allowed": (
        view({**STATUS, "isCustomerInitiatedMaintenanceAllowed": False}),
        InstanceState.NOT_ELIGIBLE,
        "self-service maintenance is not allowed now",
    ),
    "allowed as text": (
        view({**STATUS, "isCustomerInitiatedMaintenanceAllowed": "true"}),
        InstanceState.NOT_ELIGIBLE,
        "self-service maintenance is not allowed now",
    ),
    "not allowed, with Azure's message": (
        view({"isCustomerInitiatedMaintenanceAllowed": False, "lastOperationMessage": "the window is over"}),
        InstanceState.NOT_ELIGIBLE,
        "self-service maintenance is not allowed now: the window is over",
    ),
    "completed": (
        view({"isCustomerInitiatedMaintenanceAllowed": False, "lastOperationResultCode": "MaintenanceCompleted"}),
        InstanceState.COMPLETED,
        "maintenance was completed before",
    ),
    "completed, and planned again": (
        view({"isCustomerInitiatedMaintenanceAllowed": True, "lastOperationResultCode": "MaintenanceCompleted"}),
        InstanceState.ELIGIBLE,
        "maintenance is planned and may be started",
    ),
    "aborted, may be retried": (
        view({"isCustomerInitiatedMaintenanceAllowed": True, "lastOperationResultCode": "MaintenanceAborted"}),
        InstanceState.ELIGIBLE,
        "maintenance is planned and may be started",
    ),
    "updating": (view(provisioning="updating"), InstanceState.IN_PROGRESS, "the instance is being updated"),
    "updating without a status": (view(..., "Updating"), InstanceState.IN_PROGRESS, "the instance is being updated"),
    "deleting": (view(provisioning="deleting"), InstanceState.NOT_ELIGIBLE, "the instance is deleting"),
    "creating": (
        view(..., "creating"),
        InstanceState.NOT_ELIGIBLE,
        "no maintenance is planned (provisioning state: creating)",
    ),
}


@pytest.mark.parametrize(("document", "state", "why"), STATES.values(), ids=STATES.keys())
def test_instance_state_is_explained(document: dict[str, Any], state: InstanceState, why: str) -> None:
    instance = read_instance(document)
    assert (instance.state, instance.why) == (state, why)


def test_instance_updating_in_model_alone_is_in_progress() -> None:
    document = view()
    document["properties"]["provisioningState"] = "Updating"
    assert read_instance(document).state is InstanceState.IN_PROGRESS


def values(name: str) -> list[dict[str, Any]]:
    """The list in a recorded page."""
    found: list[dict[str, Any]] = json.loads(recorded(name).body)["value"]
    return found


@pytest.mark.parametrize(
    "document",
    [{"instanceId": "0", "properties": {}}, {"instanceId": "0"}, *values("instances_without_view.json")],
)
def test_instance_without_view_says_nothing(document: dict[str, Any]) -> None:
    instance = read_instance(document)
    assert (instance.state, instance.why) == (InstanceState.UNREPORTED, "its instance view was not reported")
    assert instance.is_down, "until it is known to be up"


@pytest.mark.parametrize("document", values("instance_provisioning_substates.json"))
def test_instance_whose_guest_is_set_up_is_creating(document: dict[str, Any]) -> None:
    instance = read_instance(document)
    assert (instance.provisioning, instance.state) == ("creating", InstanceState.NOT_ELIGIBLE)


def test_flexible_instance_is_identified_by_its_name() -> None:
    assert read_instance({"name": "web_a1b2", "properties": {}}).instance_id == "web_a1b2"


@pytest.mark.parametrize(
    ("code", "healthy"), [("HealthState/healthy", True), ("HealthState/unhealthy", False), ("", None)]
)
def test_health_is_read_if_view_reports_it(code: str, healthy: bool | None) -> None:
    assert read_instance(view(vmHealth={"status": {"code": code}})).healthy is healthy


def test_long_message_of_azure_is_cut() -> None:
    instance = read_instance(view({"lastOperationMessage": "x" * 5_000}))
    assert instance.maintenance is not None
    assert len(instance.maintenance.last_message or "") == MAX_MESSAGE


def test_secret_in_message_of_azure_is_redacted() -> None:
    instance = read_instance(view({"lastOperationMessage": "cannot mount: AccountKey=SIGSIG; \udfff"}))
    assert instance.maintenance is not None
    assert "SIGSIG" not in (instance.maintenance.last_message or "")
    assert "cannot mount" in (instance.maintenance.last_message or "")


@pytest.mark.parametrize("statuses", [None, {}, 5, True, "x", ["x"], [None], [{"code": None}], [{"code": 5}]])
def test_malformed_statuses_leave_instance_readable(statuses: object) -> None:
    assert read_instance(view(statuses=statuses)).instance_id == "3"


@pytest.mark.parametrize("document", [{}, {"instanceId": ""}, {"instanceId": 3}, {"instanceId": None, "name": None}])
def test_instance_without_id_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="without instanceId"):
        read_instance(document)


NAMES = [
    *("properties", "instanceView", "statuses", "code", "time", "status", "provisioningState", "platformUpdateDomain"),
    *("maintenanceRedeployStatus", "isCustomerInitiatedMaintenanceAllowed", "lastOperationResultCode", "vmHealth"),
    "lastOperationMessage",
]
ODD = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(NAMES), inner, max_size=4)),
    max_leaves=10,
)


@settings(derandomize=True, max_examples=150)
@given(st.dictionaries(st.sampled_from(NAMES), ODD, max_size=5), st.one_of(st.none(), st.text(max_size=8)))
def test_any_malformed_view_is_readable(document: dict[str, Any], provisioning: str | None) -> None:
    properties = {"provisioningState": provisioning, "instanceView": document}
    instance = read_instance({"instanceId": "0", "properties": properties})
    assert instance.why
    if instance.state is InstanceState.ELIGIBLE:
        assert instance.maintenance is not None
        assert instance.maintenance.allowed


def test_targets_match_in_any_letter_case_and_retain_their_spelling() -> None:
    found, missing = select([eligible("VM_a"), eligible("VM_b")], ("vm_A", "vm_c"))
    assert found == {"vm_A": eligible("VM_a")}
    assert missing == ["vm_c"]


def test_no_targets_select_all_instances_in_views_order() -> None:
    found, missing = select([eligible("7"), eligible("0")], None)
    assert (list(found), missing) == (["7", "0"], [])


def test_empty_targets_select_no_instance() -> None:
    assert select([eligible("0")], ()) == ({}, [])
