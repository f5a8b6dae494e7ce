"""Events of the Resource Manager, published to observers as they occur."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sandbox.resource_manager.calls import Call
from sandbox.resource_manager.compute.events import ComputeEvent


@dataclass(frozen=True, slots=True)
class CallReceived:
    """A call was received and has its response (or a reset)."""

    time: datetime
    call: Call


ArmEvent = CallReceived | ComputeEvent
Observer = Callable[[ArmEvent], None]
