"""There is no operations queue: it is misnamed, or was not made. Nothing is started, and requests end in time."""

from __future__ import annotations

from datetime import timedelta

import pytest

from sandbox.resource_manager import InstanceSeed, ScaleSetSeed
from sandbox.servicebus import NOT_FOUND
from tests.support.entities import OPERATIONS, REQUESTS
from tests.support.time_travel import journey, tick

SUBSCRIPTION = "00000001-9999-4999-8999-999999999999"


async def test_request_without_operations_queue_ends_once_at_its_deadline(caplog: pytest.LogCaptureFixture) -> None:
    async with journey([SUBSCRIPTION]) as azure:
        azure.environment.arm.seed(ScaleSetSeed(SUBSCRIPTION, "shop", "web", instances=(InstanceSeed("0"),)))
        azure.environment.bus.faults.refuse(OPERATIONS, NOT_FOUND)
        deadline = azure.clock() + timedelta(hours=2)
        await azure.send(SUBSCRIPTION, "r", deadline=deadline.isoformat())
        for _ in range(2):
            await tick(azure.job)
            assert azure.environment.events == []
            azure.clock.advance(timedelta(hours=1))
        await tick(azure.job)
        (event,) = azure.environment.events
        assert (event.status, event.data["requestId"]) == ("Rejected", "r")
        assert azure.calls(SUBSCRIPTION) == []
        assert azure.environment.bus.counts(REQUESTS).empty
        assert f"there is no queue {OPERATIONS}" in caplog.text
        azure.environment.bus.faults.reset()
        await tick(azure.job)
        assert len(azure.environment.events) == 1
