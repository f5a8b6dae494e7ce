"""The daily scan over real sockets: it tells what is due, requests it, and goes on after throttling."""

from __future__ import annotations

import pytest

from sandbox.resource_manager import Fault
from tests.integration.test_alerts import ended, ends, maintained, queue_only

LISTS = "*/providers/Microsoft.Compute/virtualMachineScaleSets"


async def test_scan_tells_of_each_scale_set_that_is_due_and_starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with queue_only(monkeypatch) as job:
        for _ in range(2):
            assert await job.worker.scan() >= 1
            await job.drain()
        await job.read_events()
        events = {event.data["vmScaleSetName"]: event for event in job.environment.events}
        assert {name: event.kind for name, event in events.items()} == {"api": "due", "uk": "due", "web": "due"}
        assert len(job.environment.events) == 3
        assert [each["instanceId"] for each in events["web"].data["instances"]] == ["0", "1"]
        assert events["web"].data["selfServiceUntil"] == events["web"].data["azureBegins"] is not None
        assert (events["web"].data["underWay"], events["web"].data["hindrances"]) == (None, [])
        assert job.environment.posts() == []
        listings = [call.path for call in job.environment.arm.calls if call.path.endswith("/virtualMachines")]
        assert len(listings) == len(set(listings)) == 5


async def test_scan_requests_what_is_due_also_after_throttling(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"MAINTENANCE_SCAN": "request", "MAINTENANCE_ALERT_REGIONS": "West Europe"}
    async with queue_only(monkeypatch, **settings) as job:
        busy = {"code": "OperationNotAllowed", "message": "too many requests"}
        throttled = {"status": 429, "headers": {"Retry-After": "1"}, "json": busy}
        job.environment.arm.faults.add(Fault(path=LISTS, skip=1, **throttled))  # type: ignore[arg-type] # of mixed types
        job.environment.arm.faults.add(Fault(path="*/web/virtualMachines", **throttled))  # type: ignore[arg-type]
        await job.worker.scan()
        await job.until(ended(job, "api", "web"))
        await job.drain()
        await job.read_events()
        due = {event.data["vmScaleSetName"]: event.data for event in job.environment.events if event.kind == "due"}
        assert maintained(job) == {"api": 2, "web": 2}
        assert {name: event.status for name, event in ends(job).items()} == {"api": "Succeeded", "web": "Succeeded"}
        assert {name: data.get("requested") for name, data in due.items()} == {
            "uk": None,
            **{name: event.data["requestId"] for name, event in ends(job).items()},
        }
        assert [each["kind"] for each in due["uk"]["hindrances"]] == ["Region"]
