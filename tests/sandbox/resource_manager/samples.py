"""What the tests of the sandbox's Resource Manager share: a clock moved by hand, and small scale sets."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sandbox.resource_manager import InstanceSeed, ScaleSetSeed

SUBSCRIPTION = "22222222-2222-4222-8222-222222222222"
GROUP = "Group-1"
START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
COMPUTE = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers/Microsoft.Compute"
VERSION = "api-version=2024-07-01"


class HandClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> datetime:
        self.now += timedelta(seconds=seconds)
        return self.now


def scale_set(name: str, *instances: InstanceSeed, **options: Any) -> ScaleSetSeed:
    return ScaleSetSeed(SUBSCRIPTION, GROUP, name, instances=instances, **options)


def instance(instance_id: str, **options: Any) -> InstanceSeed:
    return InstanceSeed(instance_id, **{"duration": timedelta(seconds=10), **options})
