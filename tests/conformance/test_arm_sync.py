"""azure-mgmt-compute, the synchronous client, unmodified, against the sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
    ServiceRequestError,
)
from azure.identity import ManagedIdentityCredential
from azure.mgmt.compute import ComputeManagementClient
from azure.mgmt.compute.models import VirtualMachineScaleSetVMInstanceIDs

from sandbox.managed_identity import ManagedIdentity
from sandbox.resource_manager import EXAMPLE_RESOURCE_GROUP as GROUP
from sandbox.resource_manager import EXAMPLE_SUBSCRIPTION_ID as SUBSCRIPTION
from sandbox.resource_manager import Fault, InstanceSeed, Limits, Rate, ResourceManager, ScaleSetSeed, seed_example
from tests.conformance.conftest import POLLING_SECONDS, PlainHttp


def client_for(arm: ResourceManager, credential: Any, **options: Any) -> ComputeManagementClient:
    return ComputeManagementClient(
        credential,
        SUBSCRIPTION,
        base_url=arm.endpoint,
        per_call_policies=[PlainHttp()],
        polling_interval=POLLING_SECONDS,
        **options,
    )


@pytest.fixture
def client(arm: ResourceManager) -> Iterator[ComputeManagementClient]:
    with ManagedIdentityCredential() as credential, client_for(arm, credential) as running:
        yield running


def states(arm: ResourceManager, name: str) -> dict[str, str]:
    return {each.instance_id: each.state for each in arm.instances(SUBSCRIPTION, GROUP, name)}


def test_maintains_the_instances_that_are_named(arm: ResourceManager, client: ComputeManagementClient) -> None:
    poller = client.virtual_machine_scale_sets.begin_perform_maintenance(
        GROUP, "web", VirtualMachineScaleSetVMInstanceIDs(instance_ids=["0", "3"])
    )
    poller.result()
    assert poller.status() == "Succeeded"
    assert states(arm, "web") == {
        "0": "completed",
        "1": "eligible",
        "3": "completed",
        "4": "eligible",
        "6": "eligible",
        "7": "eligible",
    }
    [post] = arm.calls.matching("POST", "performMaintenance")
    assert post.json == {"instanceIds": ["0", "3"]}
    polls = arm.calls.matching("GET", "/operations/")
    # One at its end and the last look at Location, besides those while it ran: none on a machine that is slow.
    assert len(polls) >= 2
    assert {"p", "t", "c", "s", "h"} <= set(polls[0].query)
    assert "monitor" in polls[-1].query
    assert all(each.token_seen and each.authorized for each in arm.calls)


def test_maintains_all_instances_without_a_body(arm: ResourceManager, client: ComputeManagementClient) -> None:
    client.virtual_machine_scale_sets.begin_perform_maintenance(GROUP, "api").result()
    assert set(states(arm, "api").values()) == {"completed"}
    [post] = arm.calls.matching("POST", "performMaintenance")
    assert post.body == b""


def test_an_operation_that_fails_raises_with_arms_code(client: ComputeManagementClient) -> None:
    poller = client.virtual_machine_scale_sets.begin_perform_maintenance(GROUP, "broken")
    with pytest.raises(HttpResponseError) as raised:
        poller.result()
    error = raised.value.error
    assert error is not None
    assert error.code == "VMRedeploymentFailed"
    assert "broken_1" in (error.message or "")
    assert error.target == "broken_1"
    assert [each.code for each in error.details] == ["VMRedeploymentFailed", "OperationPreempted"]


def test_an_operation_that_is_canceled_raises(client: ComputeManagementClient) -> None:
    ids = VirtualMachineScaleSetVMInstanceIDs(instance_ids=["2"])
    poller = client.virtual_machine_scale_sets.begin_perform_maintenance(GROUP, "broken", ids)
    with pytest.raises(HttpResponseError) as raised:
        poller.result()
    assert poller.status() == "Canceled"
    assert raised.value.error is not None
    assert raised.value.error.code == "OperationPreempted"


@pytest.mark.parametrize(
    ("scale_set", "ids", "kind", "status", "code", "text"),
    [
        pytest.param(
            "batch",
            None,
            ResourceExistsError,
            409,
            "OperationNotAllowed",
            "Operation 'performMaintenance' is not allowed on VM 'batch_3' since the Subscription of this VM "
            "is not eligible.",
            id="one of all is done already",
        ),
        pytest.param("idle", ["1"], ResourceExistsError, 409, "OperationNotAllowed", "'idle_1'", id="nothing planned"),
        pytest.param("web", ["99"], HttpResponseError, 400, "InvalidParameter", "instanceId 99", id="unknown id"),
        pytest.param("none", None, ResourceNotFoundError, 404, "ResourceNotFound", "none", id="unknown scale set"),
        pytest.param("flex", None, HttpResponseError, 400, "BadRequest", "'flex'", id="flexible"),
        pytest.param("web", [], HttpResponseError, 400, "InvalidParameter", "instanceIds", id="empty list"),
    ],
)
def test_arm_errors_raise_with_their_code(  # noqa: PLR0917 - one parameter for each thing that is checked
    client: ComputeManagementClient,
    scale_set: str,
    ids: list[str] | None,
    kind: type[HttpResponseError],
    status: int,
    code: str,
    text: str,
) -> None:
    body = None if ids is None else VirtualMachineScaleSetVMInstanceIDs(instance_ids=ids)
    with pytest.raises(kind) as raised:
        client.virtual_machine_scale_sets.begin_perform_maintenance(GROUP, scale_set, body)
    assert raised.value.status_code == status
    assert raised.value.error is not None
    assert raised.value.error.code == code
    assert text in str(raised.value)


def test_a_second_maintenance_while_one_runs_is_a_conflict(
    arm: ResourceManager, client: ComputeManagementClient
) -> None:
    instances = tuple(InstanceSeed(each, duration=timedelta(hours=1)) for each in "01")
    arm.seed(ScaleSetSeed(SUBSCRIPTION, GROUP, "slow", instances=instances))
    ids = VirtualMachineScaleSetVMInstanceIDs(instance_ids=["0"])
    client.virtual_machine_scale_sets.begin_perform_maintenance(GROUP, "slow", ids, polling=False)
    with pytest.raises(ResourceExistsError) as raised:
        client.virtual_machine_scale_sets.begin_perform_maintenance(GROUP, "slow")
    assert raised.value.error is not None
    assert raised.value.error.code == "Conflict"
    assert states(arm, "slow") == {"0": "in-progress", "1": "eligible"}


def test_lists_instances_with_views_over_pages(arm: ResourceManager, client: ComputeManagementClient) -> None:
    found = list(client.virtual_machine_scale_set_vms.list(GROUP, "web", expand="instanceView"))
    assert [each.instance_id for each in found] == ["0", "1", "3", "4", "6", "7"]
    assert len(arm.calls.matching("GET", "/virtualMachines")) == 3
    first = found[0]
    assert first.name == "web_0"
    assert first.properties is not None
    assert first.properties.provisioning_state == "Succeeded"
    view = first.properties.instance_view
    assert view is not None
    assert (view.platform_update_domain, view.platform_fault_domain) == (0, 0)
    status = view.maintenance_redeploy_status
    assert status is not None
    assert status.is_customer_initiated_maintenance_allowed is True
    assert status.last_operation_result_code == "None"
    assert status.pre_maintenance_window_end_time is not None
    assert [each.code for each in view.statuses or []] == ["ProvisioningState/succeeded", "PowerState/running"]
    without = list(client.virtual_machine_scale_set_vms.list(GROUP, "web"))
    assert all(each.properties is not None and each.properties.instance_view is None for each in without)


def test_reads_instance_views(client: ComputeManagementClient) -> None:
    view = client.virtual_machine_scale_set_vms.get_instance_view(GROUP, "batch", "3")
    assert view.maintenance_redeploy_status is not None
    assert view.maintenance_redeploy_status.last_operation_result_code == "MaintenanceCompleted"
    assert view.maintenance_redeploy_status.is_customer_initiated_maintenance_allowed is False
    unplanned = client.virtual_machine_scale_set_vms.get_instance_view(GROUP, "batch", "4")
    assert unplanned.maintenance_redeploy_status is None
    healthy = client.virtual_machine_scale_set_vms.get_instance_view(GROUP, "broken", "1")
    assert healthy.vm_health is not None
    assert healthy.vm_health.status is not None
    assert healthy.vm_health.status.code == "HealthState/healthy"
    summary = client.virtual_machine_scale_sets.get_instance_view(GROUP, "web")
    assert summary.virtual_machine is not None
    counts = {each.code: each.count for each in summary.virtual_machine.statuses_summary or []}
    assert counts == {"PowerState/running": 6, "ProvisioningState/succeeded": 6}


def test_reads_scale_sets(client: ComputeManagementClient) -> None:
    uniform = client.virtual_machine_scale_sets.get(GROUP, "web")
    assert uniform.properties is not None
    assert uniform.properties.orchestration_mode == "Uniform"
    assert uniform.properties.provisioning_state == "Succeeded"
    assert uniform.location == "westeurope"
    assert uniform.sku is not None
    assert uniform.sku.capacity == 6
    flexible = client.virtual_machine_scale_sets.get(GROUP, "flex")
    assert flexible.properties is not None
    assert flexible.properties.orchestration_mode == "Flexible"
    names = ["web", "api", "batch", "idle", "flex", "broken"]
    assert [each.name for each in client.virtual_machine_scale_sets.list_all()] == names
    assert [each.name for each in client.virtual_machine_scale_sets.list(GROUP)] == names


def test_maintains_one_instance_by_its_own_path(arm: ResourceManager, client: ComputeManagementClient) -> None:
    client.virtual_machine_scale_set_vms.begin_perform_maintenance(GROUP, "web", "6").result()
    assert [name for name, state in states(arm, "web").items() if state == "completed"] == ["6"]


def test_maintains_a_vm_of_a_flexible_scale_set(arm: ResourceManager, client: ComputeManagementClient) -> None:
    client.virtual_machines.begin_perform_maintenance(GROUP, "flex_b2").result()
    assert states(arm, "flex") == {"flex_a1": "eligible", "flex_b2": "completed", "flex_c3": "eligible"}
    view = client.virtual_machines.instance_view(GROUP, "flex_b2")
    assert view.maintenance_redeploy_status is not None
    assert view.maintenance_redeploy_status.last_operation_result_code == "MaintenanceCompleted"
    with pytest.raises(ResourceExistsError):
        client.virtual_machines.begin_perform_maintenance(GROUP, "flex_b2")


def test_finds_the_vms_of_a_flexible_scale_set(client: ComputeManagementClient) -> None:
    scale_set_id = client.virtual_machine_scale_sets.get(GROUP, "flex").id
    machines = list(
        client.virtual_machines.list(
            GROUP, filter=f"'virtualMachineScaleSet/id' eq '{scale_set_id}'", expand="instanceView"
        )
    )
    assert [each.name for each in machines] == ["flex_a1", "flex_b2", "flex_c3"]
    assert all(each.properties and each.properties.instance_view for each in machines)
    assert machines[0].properties is not None
    assert machines[0].properties.virtual_machine_scale_set is not None
    assert machines[0].properties.virtual_machine_scale_set.id == scale_set_id
    assert [each.name for each in client.virtual_machine_scale_set_vms.list(GROUP, "flex")] == [
        "flex_a1",
        "flex_b2",
        "flex_c3",
    ]
    # As in Azure, where instance views of a Flexible set are not to be had from the scale set.
    with pytest.raises(HttpResponseError, match=r"VirtualMachineScaleSets.virtualMachines.GET"):
        list(client.virtual_machine_scale_set_vms.list(GROUP, "flex", expand="instanceView"))


def test_throttled_when_the_bucket_is_empty(identity: ManagedIdentity) -> None:
    with ResourceManager(tokens=identity.accepts, limits=Limits(reads=Rate(2, 1 / 60))) as arm:
        seed_example(arm)
        with ManagedIdentityCredential() as credential, client_for(arm, credential, retry_total=0) as client:
            client.virtual_machine_scale_sets.get(GROUP, "web")
            client.virtual_machine_scale_sets.get(GROUP, "web")
            with pytest.raises(HttpResponseError) as raised:
                client.virtual_machine_scale_sets.get(GROUP, "web")
    assert raised.value.status_code == 429
    assert raised.value.error is not None
    assert raised.value.error.code == "SubscriptionRequestsThrottled"
    assert "Please try again after" in str(raised.value)


def test_a_wrong_audience_is_not_authorized(arm: ResourceManager) -> None:
    with (
        ManagedIdentityCredential() as credential,
        client_for(arm, credential, credential_scopes=["https://vault.azure.net/.default"]) as client,
        pytest.raises(ClientAuthenticationError) as raised,
    ):
        client.virtual_machine_scale_sets.get(GROUP, "web")
    assert raised.value.error is not None
    assert raised.value.error.code == "InvalidAuthenticationToken"
    assert (arm.calls[0].token_seen, arm.calls[0].authorized) == (True, False)


def test_faults_reach_the_client(arm: ResourceManager, client: ComputeManagementClient) -> None:
    arm.faults.add(Fault(method="POST", status=403, json={"error": {"code": "AuthorizationFailed", "message": "No."}}))
    with pytest.raises(HttpResponseError) as raised:
        client.virtual_machine_scale_sets.begin_perform_maintenance(GROUP, "web")
    assert raised.value.error is not None
    assert raised.value.error.code == "AuthorizationFailed"
    assert set(states(arm, "web").values()) == {"eligible"}


def test_the_token_goes_nowhere_without_the_option(arm: ResourceManager) -> None:
    with (
        ManagedIdentityCredential() as credential,
        ComputeManagementClient(credential, SUBSCRIPTION, base_url=arm.endpoint, retry_total=0) as client,
    ):
        with pytest.raises(ServiceRequestError, match="not permitted"):
            client.virtual_machine_scale_sets.get(GROUP, "web")
        assert client.virtual_machine_scale_sets.get(GROUP, "web", enforce_https=False).name == "web"
