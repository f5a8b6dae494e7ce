"""An instance of a scale set as it is, and as its view shows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from maintenance.domain.instances import Instance, MaintenanceStatus
from tests.simulation.clock import EPOCH
from tests.simulation.plans import MachinePlan


@dataclass(eq=False)
class Machine:
    """An instance as it is. `by`: the run that maintains it, "others", or none. `ours`: the run on whose account it is
    down, from the moment ARM took the call until it is up again."""

    plan: MachinePlan
    health: bool
    provisioning: str = "succeeded"
    planned: bool = True
    allowed: bool = True
    result: str = "none"
    campaign: int = 1
    healthy: bool | None = None
    power: str = "running"
    changed_at: float = -90_000.0
    by: str | None = None
    ours: str | None = None
    gone: bool = False
    # Until then, its view is not reported.
    hidden_until: float = 0.0
    history: list[tuple[float, Instance | None]] = field(default_factory=list)

    def ends_as(self, ending: str) -> None:
        """How its maintenance ends."""
        match ending:
            case "completed" | "second":
                self.result, self.allowed = "maintenancecompleted", False
            case "absent":
                self.planned = False
            case "retry":
                self.result, self.allowed = "retrylater", True
            case "barred":
                self.result, self.allowed = "retrylater", False
            case "aborted":
                self.result, self.allowed = "maintenanceaborted", True
            case "failed":
                self.provisioning, self.result = "failed", "maintenanceaborted"

    def begins_as(self, state: str) -> None:
        """How it is shown at first."""
        match state:
            case "earlier":
                self.result = "maintenancecompleted"
            case "completed":
                self.result, self.allowed = "maintenancecompleted", False
            case "none":
                self.planned = False
            case "retry":
                self.result = "retrylater"
            case "barred":
                self.allowed = False
            case "failed":
                self.provisioning = "failed"
            case "ill":
                self.fall_ill()

    def fall_ill(self) -> None:
        self.power = "running" if self.health else "starting"
        self.healthy = False if self.health else None

    def recover(self) -> None:
        self.power = "running"
        self.healthy = True if self.health else None

    def snapshot(self) -> Instance | None:
        if self.gone:
            return None
        status = None
        if self.planned:
            window = (f"{self.campaign}-1", f"{self.campaign}-2", f"{self.campaign}-3", f"{self.campaign}-4")
            status = MaintenanceStatus(self.allowed, self.result, window=window)
        return Instance(
            self.plan.name,
            provisioning=self.provisioning,
            maintenance=status,
            update_domain=self.plan.domain,
            power=self.power,
            healthy=self.healthy,
            changed_at=EPOCH + timedelta(seconds=round(self.changed_at, 3)),
        )
