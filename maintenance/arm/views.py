"""Reader of instance views and of listed scale sets. Pure.

Source: `VirtualMachineScaleSetVM` with `$expand=instanceView` and `VirtualMachineScaleSets_ListAll`, REST reference of
Compute 2024-07-01.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from maintenance.arm.responses import error_text
from maintenance.domain.instances import Instance, MaintenanceStatus, ScaleSetSummary, Tags
from maintenance.domain.resources import parse_scale_set_id
from maintenance.policies.tags import of_texts

MAX_MESSAGE = 300

WINDOW = (
    "preMaintenanceWindowStartTime",
    "preMaintenanceWindowEndTime",
    "maintenanceWindowStartTime",
    "maintenanceWindowEndTime",
)


def read_instance(document: Mapping[str, Any]) -> Instance:
    """Read one element of `virtualMachines?$expand=instanceView`.

    Raises ValueError if it has no instance id.
    """
    instance_id = document.get("instanceId") or document.get("name")
    if not isinstance(instance_id, str) or not instance_id:
        raise ValueError("an instance without instanceId")
    properties = _mapping(document.get("properties"))
    reported = isinstance(properties.get("instanceView"), Mapping)
    view = _mapping(properties.get("instanceView"))
    codes = {}
    changed_at = None
    statuses = view.get("statuses")
    for status in statuses if isinstance(statuses, list) else ():
        kind, _, value = str(_mapping(status).get("code", "")).partition("/")
        # A third part tells what of the guest is set up: `creating/OSProvisioningInProgress` is creating.
        codes[kind.lower()] = value.lower().partition("/")[0]
        if kind.lower() == "provisioningstate":
            changed_at = _moment(_mapping(status).get("time"))
    provisioning = codes.get("provisioningstate") or str(properties.get("provisioningState") or "succeeded").lower()
    if str(properties.get("provisioningState", "")).lower() == "updating":
        provisioning = "updating"
    health = str(_mapping(_mapping(view.get("vmHealth")).get("status")).get("code", "")).partition("/")[2].lower()
    domain = view.get("platformUpdateDomain")
    return Instance(
        instance_id=instance_id,
        provisioning=provisioning,
        maintenance=_maintenance(view.get("maintenanceRedeployStatus")),
        update_domain=domain if isinstance(domain, int) else None,
        power=codes.get("powerstate"),
        healthy=health == "healthy" if health else None,
        changed_at=changed_at,
        reported=reported,
        location=_location(document) or None,
    )


def _maintenance(document: object) -> MaintenanceStatus | None:
    if not isinstance(document, Mapping) or not document:
        return None
    message = document.get("lastOperationMessage")
    return MaintenanceStatus(
        allowed=document.get("isCustomerInitiatedMaintenanceAllowed") is True,
        last_result=str(document.get("lastOperationResultCode") or "none").lower(),
        window=tuple(str(document.get(name) or "")[:40] for name in WINDOW),
        last_message=error_text(message, MAX_MESSAGE - 1),
    )


def _location(document: Mapping[str, Any]) -> str:
    return str(document.get("location") or "").replace(" ", "").lower()


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _moment(value: object) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def read_scale_set_summary(document: Mapping[str, Any]) -> ScaleSetSummary:
    """Read one element of the list. Raises ValueError, LookupError, TypeError or AttributeError if it is malformed."""
    properties = document.get("properties")
    mode = properties.get("orchestrationMode") if isinstance(properties, Mapping) else None
    return ScaleSetSummary(
        scale_set=parse_scale_set_id(document["id"]),
        location=_location(document),
        flexible=isinstance(mode, str) and mode.lower() == "flexible",
        tags=read_tags(document),
    )


def read_tags(document: Mapping[str, Any]) -> Tags:
    """Read those of a scale set's tags that this app knows, in whatever letter case: it means nothing to ARM. Raises
    AttributeError if they are malformed."""
    listed = document.get("tags") or {}
    return of_texts({str(name).lower(): "" if text is None else str(text) for name, text in listed.items()})
