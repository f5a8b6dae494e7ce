"""Instances and scale sets as Resource Manager reports them, and their state with regard to maintenance.

An instance view has no flag for maintenance in progress; the provisioning state `updating` indicates it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from maintenance.domain.message_ids import short_hash
from maintenance.domain.resources import ScaleSet, fold

# Provisioning states in which maintenance cannot begin, and those in which the instance is not up for sure.
GOING = ("deleting", "deallocating", "creating")
BUSY = (*GOING, "updating", "migrating")


class InstanceState(StrEnum):
    """State of an instance with regard to maintenance, before it is submitted."""

    ELIGIBLE = "Eligible"
    IN_PROGRESS = "InProgress"
    COMPLETED = "Completed"
    NOT_ELIGIBLE = "NotEligible"
    NOT_FOUND = "NotFound"
    UNREPORTED = "Unreported"


@dataclass(frozen=True, slots=True)
class MaintenanceStatus:
    """`maintenanceRedeployStatus`; absent from the view when no maintenance is planned. `window`: its four times, as
    ARM writes them."""

    allowed: bool
    last_result: str = "none"
    last_message: str | None = None
    window: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Baseline:
    """How an instance was shown before it was posted. What became of it is judged by the difference from this, never
    by our clock."""

    # The defaults are those of most instances, and are not written into records: 1,000 must fit into one.
    planned: bool = True
    allowed: bool = True
    last_result: str = "none"
    window: str = ""  # a digest
    changed_at: datetime | None = None
    power: str = "running"


@dataclass(frozen=True, slots=True)
class Instance:
    """Instance as its view reports it. `changed_at`: when its provisioning state last changed, if reported.
    `reported` is false where the view was asked for and is not there: then it says nothing at all. `location`: its
    region, as `ScaleSetSummary` has it."""

    instance_id: str
    provisioning: str = "succeeded"
    maintenance: MaintenanceStatus | None = None
    update_domain: int | None = None
    power: str | None = None
    healthy: bool | None = None
    changed_at: datetime | None = None
    reported: bool = True
    location: str | None = None

    @property
    def state(self) -> InstanceState:
        if not self.reported:
            return InstanceState.UNREPORTED
        if self.provisioning == "updating":
            return InstanceState.IN_PROGRESS
        if self.provisioning in GOING:
            return InstanceState.NOT_ELIGIBLE
        if self.maintenance is None:
            return InstanceState.NOT_ELIGIBLE
        if self.maintenance.allowed:
            return InstanceState.ELIGIBLE
        if self.maintenance.last_result == "maintenancecompleted":
            return InstanceState.COMPLETED
        return InstanceState.NOT_ELIGIBLE

    @property
    def is_down(self) -> bool:
        """Whether it counts towards what may be down: it is not up for sure, whoever is the cause."""
        if not self.reported or self.provisioning in BUSY:
            return True
        if self.power not in (None, "running"):
            return True
        return self.healthy is False or (self.provisioning == "failed" and self.healthy is None)

    @property
    def baseline(self) -> Baseline:
        """What a later view of the instance is compared with."""
        status, power = self.maintenance, self.power or "running"
        if status is None:
            return Baseline(planned=False, allowed=False, changed_at=self.changed_at, power=power)
        window = short_hash(*status.window, length=8) if any(status.window) else ""
        return Baseline(True, status.allowed, status.last_result, window, self.changed_at, power)

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
            case InstanceState.UNREPORTED:
                return "its instance view was not reported"
        if self.provisioning != "succeeded" and self.maintenance is None:
            return f"no maintenance is planned (provisioning state: {self.provisioning})"
        if self.maintenance is None:
            return "no maintenance is planned"
        if self.provisioning in GOING:
            return f"the instance is {self.provisioning}"
        message = f": {self.maintenance.last_message}" if self.maintenance.last_message else ""
        return f"self-service maintenance is not allowed now{message}"


def select(instances: Iterable[Instance], targets: tuple[str, ...] | None) -> tuple[dict[str, Instance], list[str]]:
    """Select the targeted instances by id (all in the views' order if `targets` is None), and the ids not found.

    The letter case of Flexible VM names differs between responses, so ids are matched without it.
    """
    if targets is None:
        return {instance.instance_id: instance for instance in instances}, []
    by_key = {fold(instance.instance_id): instance for instance in instances}
    found = {target: by_key[fold(target)] for target in targets if fold(target) in by_key}
    return found, [target for target in targets if target not in found]


@dataclass(frozen=True, slots=True)
class Tags:
    """The texts of a scale set's tags that this app reads, as they are in Azure; None where there is no such tag."""

    exclude: str | None = None
    windows: str | None = None
    rollout: str | None = None


NO_TAGS = Tags()


@dataclass(frozen=True, slots=True)
class ScaleSetSummary:
    """Scale set as listed. `location` is in lower case and without spaces, for example `westeurope`."""

    scale_set: ScaleSet
    location: str
    flexible: bool = False
    tags: Tags = NO_TAGS
