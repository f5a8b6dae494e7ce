"""What the instance view says of an instance's maintenance. Pure.

Source: `VirtualMachineScaleSetVM` with `$expand=instanceView`, REST reference of Compute 2024-07-01. The view has no
flag for "maintenance runs now": a provisioning state of updating is the sign of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

MAX_MESSAGE = 300


class InstanceState(StrEnum):
    """Where an instance stands before maintenance is asked for."""

    ELIGIBLE = "Eligible"
    IN_PROGRESS = "InProgress"
    COMPLETED = "Completed"
    NOT_ELIGIBLE = "NotEligible"
    NOT_FOUND = "NotFound"


@dataclass(frozen=True, slots=True)
class MaintenanceStatus:
    """`maintenanceRedeployStatus`; absent from the view when no maintenance is planned."""

    allowed: bool
    last_result: str = "none"
    last_message: str | None = None


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance as its view shows it. `changed_at` is when its provisioning state last changed, where told."""

    instance_id: str
    provisioning: str = "succeeded"
    maintenance: MaintenanceStatus | None = None
    update_domain: int | None = None
    power: str | None = None
    healthy: bool | None = None
    changed_at: datetime | None = None

    @property
    def state(self) -> InstanceState:
        if self.provisioning == "updating":
            return InstanceState.IN_PROGRESS
        if self.provisioning in ("deleting", "deallocating", "creating"):
            return InstanceState.NOT_ELIGIBLE
        if self.maintenance is None:
            return InstanceState.NOT_ELIGIBLE
        if self.maintenance.allowed:
            return InstanceState.ELIGIBLE
        if self.maintenance.last_result == "maintenancecompleted":
            return InstanceState.COMPLETED
        return InstanceState.NOT_ELIGIBLE

    @property
    def maintenance_allowed(self) -> bool:
        return self.maintenance is not None and self.maintenance.allowed

    @property
    def why(self) -> str:
        """The state in words, for the person who reads the event."""
        match self.state:
            case InstanceState.ELIGIBLE:
                return "maintenance is planned and may be started"
            case InstanceState.IN_PROGRESS:
                return "the instance is being updated"
            case InstanceState.COMPLETED:
                return "maintenance was completed before"
        if self.provisioning != "succeeded" and self.maintenance is None:
            return f"no maintenance is planned (provisioning state: {self.provisioning})"
        if self.maintenance is None:
            return "no maintenance is planned"
        if self.provisioning in ("deleting", "deallocating", "creating"):
            return f"the instance is {self.provisioning}"
        told = f": {self.maintenance.last_message}" if self.maintenance.last_message else ""
        return f"self-service maintenance is not allowed now{told}"


def read_instance(document: Mapping[str, Any]) -> Instance:
    """Read one element of `virtualMachines?$expand=instanceView`.

    Raises ValueError where it holds no instance id.
    """
    instance_id = document.get("instanceId") or document.get("name")
    if not isinstance(instance_id, str) or not instance_id:
        raise ValueError("an instance without instanceId")
    properties = _mapping(document.get("properties"))
    view = _mapping(properties.get("instanceView"))
    codes = {}
    changed_at = None
    statuses = view.get("statuses")
    for status in statuses if isinstance(statuses, list) else ():
        kind, _, value = str(_mapping(status).get("code", "")).partition("/")
        codes[kind.lower()] = value.lower()
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
    )


def select(instances: Iterable[Instance], targets: tuple[str, ...] | None) -> tuple[dict[str, Instance], list[str]]:
    """The targeted instances by id in the view's order (all, where `targets` is None), and the ids not found.

    Flexible VM names differ in letter case between answers, so ids are matched without it.
    """
    if targets is None:
        return {instance.instance_id: instance for instance in instances}, []
    by_key = {instance.instance_id.lower(): instance for instance in instances}
    found = {target: by_key[target.lower()] for target in targets if target.lower() in by_key}
    return found, [target for target in targets if target not in found]


def _maintenance(document: object) -> MaintenanceStatus | None:
    if not isinstance(document, Mapping) or not document:
        return None
    message = document.get("lastOperationMessage")
    return MaintenanceStatus(
        allowed=document.get("isCustomerInitiatedMaintenanceAllowed") is True,
        last_result=str(document.get("lastOperationResultCode") or "none").lower(),
        # JSON can hold half of a surrogate pair, which no record could be written with or read from.
        last_message=str(message)[:MAX_MESSAGE].encode(errors="replace").decode() if message else None,
    )


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
