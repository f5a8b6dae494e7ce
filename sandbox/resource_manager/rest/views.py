"""Scale sets, instances and operations as the REST API shows them.

JSON comes with CRLF line ends, as Azure's does. Instances are rendered once for each change: a listing of a
thousand is a join of a thousand strings.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from sandbox.resource_manager.compute.instances import WINDOW, Instance
from sandbox.resource_manager.compute.operations import Operation
from sandbox.resource_manager.compute.scale_sets import ScaleSet
from sandbox.resource_manager.compute.seeds import Hiding

_SKU = {"name": "Standard_D2s_v3", "tier": "Standard"}
_DISPLAYED = {"Succeeded": "Provisioning succeeded", "Failed": "Provisioning failed", "Updating": "Updating"}
_COMPACT = json.JSONEncoder(separators=(",\r\n", ": "))


def as_json(value: Any) -> bytes:
    """Small bodies: indented, CRLF."""
    # Line ends inside of strings are escaped in JSON, so these are only those of the layout.
    return json.dumps(value, indent=2).replace("\n", "\r\n").encode()


def moment(time: datetime) -> str:
    """RFC 3339 as Compute writes it: seven decimals, and an offset."""
    return time.astimezone(UTC).isoformat(timespec="microseconds")[:-6] + "0+00:00"


def operation_status(operation: Operation) -> bytes:
    """`{startTime, endTime?, status, error?, name}`."""
    # Written out and not encoded: most of all calls in a benchmark end here, and `json` with an indent is slow.
    ended = f'  "endTime": "{moment(operation.ended)}",\r\n' if operation.ended else ""
    error = f'  "error": {_COMPACT.encode(operation.error)},\r\n' if operation.error else ""
    return (
        f'{{\r\n  "startTime": "{moment(operation.started)}",\r\n{ended}  "status": "{operation.status}",\r\n{error}'
        f'  "name": "{operation.operation_id}"\r\n}}'
    ).encode()


def scale_set(found: ScaleSet, now: datetime) -> dict[str, Any]:
    """`GET …/virtualMachineScaleSets/{name}`."""
    instances = found.shown(now)
    seed = found.seed
    return {
        "name": seed.name,
        "id": found.resource_id,
        "type": "Microsoft.Compute/virtualMachineScaleSets",
        "location": seed.location,
        **({"tags": dict(seed.tags)} if seed.tags else {}),
        "sku": {**_SKU, "capacity": len(instances)},
        "properties": {
            "orchestrationMode": seed.orchestration_mode,
            "provisioningState": "Succeeded",
            "platformFaultDomainCount": 1 + max((i.seed.fault_domain for i in instances.values()), default=0),
            "singlePlacementGroup": not found.flexible,
            "uniqueId": "00000000-0000-0000-0000-000000000000",
        },
    }


def scale_set_instance_view(instances: Iterable[Instance]) -> dict[str, Any]:
    """`GET …/virtualMachineScaleSets/{name}/instanceView`: how many instances there are in each state."""
    codes: dict[str, int] = {}
    for instance in instances:
        for status in instance_view(instance)["statuses"]:
            codes[status["code"]] = codes.get(status["code"], 0) + 1
    return {
        "virtualMachine": {"statusesSummary": [{"code": code, "count": n} for code, n in sorted(codes.items())]},
        "statuses": [
            {
                "code": "ProvisioningState/succeeded",
                "level": "Info",
                "displayStatus": "Provisioning succeeded",
            }
        ],
    }


def instance_view(instance: Instance) -> dict[str, Any]:
    """The instance view of a scale-set instance or of a VM."""
    provisioning = instance.provisioning_state
    domain = instance.seed.update_domain
    view: dict[str, Any] = {
        **({} if domain is None else {"platformUpdateDomain": domain}),
        "platformFaultDomain": instance.seed.fault_domain,
        "computerName": instance.vm_name,
    }
    if instance.state != "not-planned":
        opens, closes = instance.window_closes - WINDOW, instance.window_closes
        view["maintenanceRedeployStatus"] = {
            "isCustomerInitiatedMaintenanceAllowed": instance.may_begin,
            "preMaintenanceWindowStartTime": opens.isoformat(),
            "preMaintenanceWindowEndTime": closes.isoformat(),
            "maintenanceWindowStartTime": closes.isoformat(),
            "maintenanceWindowEndTime": (closes + WINDOW / 5).isoformat(),
            "lastOperationResultCode": instance.last_result_code,
            "lastOperationMessage": instance.message,
        }
    if instance.vm_health is not None:
        view["vmHealth"] = {
            "status": {
                "code": f"HealthState/{instance.vm_health}",
                "level": "Info" if instance.vm_health == "healthy" else "Error",
                "displayStatus": f"The VM is reporting itself as {instance.vm_health}",
            }
        }
    view["statuses"] = [
        {
            "code": f"ProvisioningState/{provisioning.lower()}",
            "level": "Error" if provisioning == "Failed" else "Info",
            "displayStatus": _DISPLAYED[provisioning],
            "time": moment(instance.provisioned),
        },
        {
            "code": f"PowerState/{instance.power_state}",
            "level": "Info",
            "displayStatus": f"VM {instance.power_state}",
        },
    ]
    return view


def instance(found: ScaleSet, each: Instance, *, with_view: bool, hidden: Hiding | None = None) -> str:
    """An instance as JSON: `…/virtualMachineScaleSets/{set}/virtualMachines/{id}`, or in a Flexible set a VM.

    `hidden`: with a view that is null or missing.
    """
    if with_view and hidden is None and each.rendered is not None:
        return each.rendered
    seed = found.seed
    # Compute writes the resource group in capitals in the ids of instances, as seen in recorded listings.
    group = f"/subscriptions/{seed.subscription_id}/resourceGroups/{seed.resource_group_name.upper()}"
    parent = f"{group}/providers/Microsoft.Compute"
    properties: dict[str, Any] = {
        "vmId": each.vm_id,
        "hardwareProfile": {"vmSize": _SKU["name"]},
        "provisioningState": each.provisioning_state,
    }
    if with_view and hidden != "missing":
        properties["instanceView"] = None if hidden == "null" else instance_view(each)
    body: dict[str, Any] = {"name": each.vm_name, "location": seed.location, "properties": properties}
    if found.flexible:
        body["id"] = f"{parent}/virtualMachines/{each.vm_name}"
        body["type"] = "Microsoft.Compute/virtualMachines"
        properties["virtualMachineScaleSet"] = {"id": found.resource_id}
    else:
        body["id"] = f"{parent}/virtualMachineScaleSets/{seed.name}/virtualMachines/{each.seed.instance_id}"
        body["type"] = "Microsoft.Compute/virtualMachineScaleSets/virtualMachines"
        body["instanceId"] = each.seed.instance_id
        body["sku"] = _SKU
        properties["latestModelApplied"] = True
    text = _COMPACT.encode(body)
    if with_view and hidden is None:
        each.rendered = text
    return text


def instance_of_flexible_set(found: ScaleSet, each: Instance) -> str:
    """An instance of a Flexible set in the listing under the set: no instance view, and the VM's id."""
    seed = found.seed
    group = f"/subscriptions/{seed.subscription_id}/resourceGroups/{seed.resource_group_name.upper()}"
    machines = f"{group}/providers/Microsoft.Compute/virtualMachines"
    return _COMPACT.encode(
        {
            "name": each.vm_name,
            "id": f"{found.resource_id}/virtualMachines/{each.vm_name}",
            "type": "Microsoft.Compute/virtualMachineScaleSets/virtualMachines",
            "location": seed.location,
            "instanceId": each.vm_name,
            "properties": {
                "provisioningState": each.provisioning_state,
                "virtualMachineResourceId": f"{machines}/{each.vm_name}",
            },
        }
    )


def page(items: list[str], next_link: str | None) -> bytes:
    """`{value: […], nextLink?}` of items that are JSON already."""
    tail = f',\r\n  "nextLink": {json.dumps(next_link)}' if next_link else ""
    return ('{\r\n  "value": [' + ",\r\n".join(items) + "]" + tail + "\r\n}").encode()
