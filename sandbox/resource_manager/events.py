"""Events of the Resource Manager, published to observers as they occur."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sandbox.resource_manager.calls import Call
from sandbox.resource_manager.seeds import State


@dataclass(frozen=True, slots=True)
class CallReceived:
    """A call was received and has its response (or a reset)."""

    time: datetime
    call: Call


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


ArmEvent = CallReceived | OperationStarted | InstanceChanged | OperationEnded
Observer = Callable[[ArmEvent], None]
