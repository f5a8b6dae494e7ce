"""A long-running operation: one accepted performMaintenance and the instances under it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sandbox.resource_manager.compute.instances import Instance
from sandbox.resource_manager.compute.seeds import Outcome

_ERRORS: dict[Outcome, tuple[str, str]] = {
    "Failed": (
        "VMRedeploymentFailed",
        "VM '{}' redeployment failed due to an internal error. Please retry later.",
    ),
    "RetryLater": (
        "AllocationFailed",
        "Allocation failed for VM '{}'. We do not have sufficient capacity for the requested VM size in this region.",
    ),
    "Aborted": ("OperationPreempted", "The maintenance of VM '{}' was preempted by another operation."),
}


@dataclass(eq=False, slots=True)
class Operation:
    """Its status is `InProgress` until `end` is called, then `Succeeded`, `Failed` or `Canceled`."""

    operation_id: str
    subscription_id: str
    location: str
    instances: tuple[Instance, ...]
    started: datetime
    status: str = "InProgress"
    ended: datetime | None = None
    error: dict[str, Any] | None = None
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    """By VM name, how its maintenance ended under this operation: it may be under the next one's before this ends."""

    def report(self) -> dict[str, Any]:
        """What `/sandbox/operations` shows."""
        return {
            "operationId": self.operation_id,
            "subscriptionId": self.subscription_id,
            "vmNames": [each.vm_name for each in self.instances],
            "started": self.started.isoformat(),
            "ended": self.ended.isoformat() if self.ended else None,
            "status": self.status,
            "error": self.error,
        }

    def end(self, now: datetime) -> None:
        """All instances are done: sum up how they ended. The worst outcome is the operation's."""
        self.ended = now
        gone_wrong = [(vm, outcome) for vm, outcome in self.outcomes.items() if outcome != "Succeeded"]
        if not gone_wrong:
            self.status = "Succeeded"
            return
        self.status = "Canceled" if {outcome for _, outcome in gone_wrong} == {"Aborted"} else "Failed"
        worst_first = list(_ERRORS)
        gone_wrong.sort(key=lambda each: worst_first.index(each[1]))
        details = [_error(vm_name, outcome) for vm_name, outcome in gone_wrong]
        self.error = details[0] | ({"details": details} if len(details) > 1 else {})


def _error(vm_name: str, outcome: Outcome) -> dict[str, Any]:
    code, message = _ERRORS[outcome]
    return {"code": code, "message": message.format(vm_name), "target": vm_name}
