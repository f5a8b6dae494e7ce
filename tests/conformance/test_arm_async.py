"""azure-mgmt-compute, the asynchronous client, unmodified, against the sandbox."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.identity.aio import ManagedIdentityCredential
from azure.mgmt.compute.aio import ComputeManagementClient
from azure.mgmt.compute.models import VirtualMachineScaleSetVMInstanceIDs

from sandbox.managed_identity import ManagedIdentity
from sandbox.resource_manager import EXAMPLE_RESOURCE_GROUP as GROUP
from sandbox.resource_manager import EXAMPLE_SUBSCRIPTION_ID as SUBSCRIPTION
from sandbox.resource_manager import ResourceManager
from tests.conformance.conftest import POLLING_SECONDS, PlainHttp


@pytest.fixture
async def client(arm: ResourceManager) -> AsyncIterator[ComputeManagementClient]:
    async with (
        ManagedIdentityCredential() as credential,
        ComputeManagementClient(
            credential,
            SUBSCRIPTION,
            base_url=arm.endpoint,
            per_call_policies=[PlainHttp()],
            polling_interval=POLLING_SECONDS,
        ) as running,
    ):
        yield running


def states(arm: ResourceManager, name: str) -> dict[str, str]:
    return {each.instance_id: each.state for each in arm.instances(SUBSCRIPTION, GROUP, name)}


async def test_maintains_the_instances_that_are_named(arm: ResourceManager, client: ComputeManagementClient) -> None:
    poller = await client.virtual_machine_scale_sets.begin_perform_maintenance(
        GROUP, "web", VirtualMachineScaleSetVMInstanceIDs(instance_ids=["1", "7"])
    )
    await poller.result()
    assert poller.status() == "Succeeded"
    assert [name for name, state in states(arm, "web").items() if state == "completed"] == ["1", "7"]


async def test_maintains_all_instances_without_a_body(arm: ResourceManager, client: ComputeManagementClient) -> None:
    poller = await client.virtual_machine_scale_sets.begin_perform_maintenance(GROUP, "api")
    await poller.result()
    assert set(states(arm, "api").values()) == {"completed"}


async def test_several_at_once(arm: ResourceManager, client: ComputeManagementClient) -> None:
    async def maintain(name: str, instance_id: str) -> None:
        ids = VirtualMachineScaleSetVMInstanceIDs(instance_ids=[instance_id])
        await (await client.virtual_machine_scale_sets.begin_perform_maintenance(GROUP, name, ids)).result()

    await asyncio.gather(*(maintain("web", each) for each in "013467"), *(maintain("api", each) for each in "0125"))
    assert {*states(arm, "web").values(), *states(arm, "api").values()} == {"completed"}


async def test_an_operation_that_fails_raises_with_arms_code(client: ComputeManagementClient) -> None:
    poller = await client.virtual_machine_scale_sets.begin_perform_maintenance(GROUP, "broken")
    with pytest.raises(HttpResponseError) as raised:
        await poller.result()
    assert raised.value.error is not None
    assert raised.value.error.code == "VMRedeploymentFailed"


async def test_arm_errors_raise_with_their_code(client: ComputeManagementClient) -> None:
    with pytest.raises(ResourceExistsError) as ineligible:
        await client.virtual_machine_scale_sets.begin_perform_maintenance(GROUP, "batch")
    assert ineligible.value.error is not None
    assert ineligible.value.error.code == "OperationNotAllowed"
    with pytest.raises(ResourceNotFoundError) as unknown:
        await client.virtual_machine_scale_sets.begin_perform_maintenance(GROUP, "none")
    assert unknown.value.error is not None
    assert unknown.value.error.code == "ResourceNotFound"


async def test_lists_instances_with_views_over_pages(arm: ResourceManager, client: ComputeManagementClient) -> None:
    found = [each async for each in client.virtual_machine_scale_set_vms.list(GROUP, "web", expand="instanceView")]
    assert [each.instance_id for each in found] == ["0", "1", "3", "4", "6", "7"]
    assert all(each.properties and each.properties.instance_view for each in found)
    assert len(arm.calls.matching("GET", "/virtualMachines")) == 3


async def test_reads_instance_views_and_scale_sets(client: ComputeManagementClient) -> None:
    view = await client.virtual_machine_scale_set_vms.get_instance_view(GROUP, "web", "0")
    assert view.maintenance_redeploy_status is not None
    assert view.maintenance_redeploy_status.is_customer_initiated_maintenance_allowed is True
    found = await client.virtual_machine_scale_sets.get(GROUP, "flex")
    assert found.properties is not None
    assert found.properties.orchestration_mode == "Flexible"
    assert [each.name async for each in client.virtual_machine_scale_sets.list_all()][:2] == ["web", "api"]


async def test_maintains_one_instance_or_vm_by_its_own_path(
    arm: ResourceManager, client: ComputeManagementClient
) -> None:
    await (await client.virtual_machine_scale_set_vms.begin_perform_maintenance(GROUP, "web", "6")).result()
    await (await client.virtual_machines.begin_perform_maintenance(GROUP, "flex_c3")).result()
    assert states(arm, "web")["6"] == "completed"
    assert states(arm, "flex")["flex_c3"] == "completed"


async def test_one_token_serves_all_calls(
    identity: ManagedIdentity, arm: ResourceManager, client: ComputeManagementClient
) -> None:
    for _ in range(5):
        await client.virtual_machine_scale_sets.get(GROUP, "web")
    assert identity.issued == 1
    assert [each.resource for each in identity.requests] == ["https://management.azure.com"]
    assert all(each.authorized for each in arm.calls)


async def test_a_user_assigned_identity_is_asked_for_by_its_client_id(identity: ManagedIdentity) -> None:
    client_id = "7d6c3b3f-3f6c-4d56-9a43-0a4a4f6f0001"
    async with ManagedIdentityCredential(client_id=client_id) as credential:
        token = await credential.get_token("https://management.azure.com/.default")
    assert identity.accepts(token.token)
    assert [each.client_id for each in identity.requests] == [client_id]
