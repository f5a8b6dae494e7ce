"""A long-running operation: one accepted performMaintenance and the instances under it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sandbox.resource_manager.instances import Instance

_ERRORS = {
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
        gone_wrong = [each for each in self.instances if each.last_outcome not in {"Succeeded", None}]
        outcomes = {each.last_outcome for each in gone_wrong}
        if not gone_wrong:
            self.status = "Succeeded"
            return
        self.status = "Canceled" if outcomes == {"Aborted"} else "Failed"
        gone_wrong.sort(key=lambda each: list(_ERRORS).index(str(each.last_outcome)))
        details = [_error(each) for each in gone_wrong]
        self.error = details[0] | ({"details": details} if len(details) > 1 else {})


def _error(instance: Instance) -> dict[str, Any]:
    code, message = _ERRORS[str(instance.last_outcome)]
    return {"code": code, "message": message.format(instance.vm_name), "target": instance.vm_name}
