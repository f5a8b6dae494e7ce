"""Events of operations and instances, as they occur."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sandbox.resource_manager.compute.seeds import State


@dataclass(frozen=True, slots=True)
class OperationStarted:
    """A performMaintenance was accepted. `ends` is when the last of its instances will be done."""

    time: datetime
    operation_id: str
    subscription_id: str
    resource_group_name: str
    scale_set_name: str
    instance_ids: tuple[str, ...]
    ends: datetime


@dataclass(frozen=True, slots=True)
class InstanceChanged:
    """An instance's maintenance went from one state to another."""

    time: datetime
    subscription_id: str
    resource_group_name: str
    scale_set_name: str
    instance_id: str
    before: State
    state: State


@dataclass(frozen=True, slots=True)
class OperationEnded:
    """An operation came to its end: `Succeeded`, `Failed` or `Canceled`."""

    time: datetime
    operation_id: str
    status: str


ComputeEvent = OperationStarted | InstanceChanged | OperationEnded


class EventLog:
    """Events that nobody has taken yet, oldest first."""

    def __init__(self) -> None:
        self.observed = False
        """Whether there are observers: without any, none is written down."""
        self.pending: list[ComputeEvent] = []

    def append(self, event: ComputeEvent) -> None:
        """Write one down."""
        self.pending.append(event)

    def take(self) -> list[ComputeEvent]:
        """Those that nobody has taken yet."""
        taken, self.pending = self.pending, []
        return taken
