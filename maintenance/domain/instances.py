"""Instances and scale sets as Resource Manager reports them, and their state with regard to maintenance.

An instance view has no flag for maintenance in progress; the provisioning state `updating` indicates it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from maintenance.domain.resources import ScaleSet


class InstanceState(StrEnum):
    """State of an instance with regard to maintenance, before it is submitted."""

    ELIGIBLE = "Eligible"
    IN_PROGRESS = "InProgress"
    COMPLETED = "Completed"
    NOT_ELIGIBLE = "NotEligible"
    NOT_FOUND = "NotFound"


@dataclass(frozen=True, slots=True)
class MaintenanceStatus:
    """`maintenanceRedeployStatus` of an instance view; absent if no maintenance is planned."""

    allowed: bool
    last_result: str = "none"
    last_message: str | None = None


@dataclass(frozen=True, slots=True)
class Instance:
    """Instance as its view reports it. `changed_at`: when its provisioning state last changed, if reported."""

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
        """Explanation of the state, for events."""
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
        message = f": {self.maintenance.last_message}" if self.maintenance.last_message else ""
        return f"self-service maintenance is not allowed now{message}"


def select(instances: Iterable[Instance], targets: tuple[str, ...] | None) -> tuple[dict[str, Instance], list[str]]:
    """Select the targeted instances by id (all in the views' order if `targets` is None), and the ids not found.

    The letter case of Flexible VM names differs between responses, so ids are matched without it.
    """
    if targets is None:
        return {instance.instance_id: instance for instance in instances}, []
    by_key = {instance.instance_id.lower(): instance for instance in instances}
    found = {target: by_key[target.lower()] for target in targets if target.lower() in by_key}
    return found, [target for target in targets if target not in found]


@dataclass(frozen=True, slots=True)
class ScaleSetSummary:
    """Scale set as listed. `location` is in lower case and without spaces, for example `westeurope`."""

    scale_set: ScaleSet
    location: str
    flexible: bool = False
