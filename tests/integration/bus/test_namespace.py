"""Queues that were made by hand, with Azure's defaults: nothing is started, and the end names queue and property."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from azure.servicebus import ServiceBusMessage

from maintenance.servicebus.namespace_check import SUBJECT
from sandbox.resource_manager import ScaleSetSeed
from tests.support.entities import COORDINATION, OPERATIONS, TOPOLOGY
from tests.support.time_travel import journey, tick

SUBSCRIPTION = "77777777-5555-4555-8555-555555555555"


def made_by_hand(folder: Path, queue: str, **properties: object) -> Path:
    """infra/topology.json with one queue that has other properties; without any, it detects no duplicates."""
    document = json.loads(TOPOLOGY.read_text())
    for entity in document["UserConfig"]["Namespaces"][0]["Queues"]:
        if entity["Name"] == queue:
            entity["Properties"].update(properties or {"RequiresDuplicateDetection": False})
    path = folder / "topology.json"
    path.write_text(json.dumps(document))
    return path


@pytest.mark.parametrize("queue", [OPERATIONS, COORDINATION])
async def test_queue_without_duplicate_detection_request_is_rejected_and_nothing_is_posted(
    tmp_path: Path, queue: str
) -> None:
    async with journey([SUBSCRIPTION], topology=made_by_hand(tmp_path, queue)) as azure:
        azure.environment.arm.seed(ScaleSetSeed(SUBSCRIPTION, "shop", "web"))
        await azure.send(SUBSCRIPTION, "one")
        ended = await azure.finish("one")
        assert azure.calls(SUBSCRIPTION) == []
    problems = ended["one"].data["problems"]
    assert ended["one"].status == "Rejected"
    assert [each["field"] for each in problems] == ["namespace"]
    assert f"{queue} has no duplicate detection" in problems[0]["message"]
    assert "RequiresDuplicateDetection" in problems[0]["message"]


@pytest.mark.parametrize(("name", "value"), [("LockDuration", "PT30S"), ("DefaultMessageTimeToLive", "P14D")])
async def test_queue_whose_messages_show_what_is_wrong_with_it_nothing_is_posted(
    tmp_path: Path, name: str, value: str
) -> None:
    """That shows with the first record, when its request was taken: the run ends, and the next request is rejected."""
    topology = made_by_hand(tmp_path, OPERATIONS, **{name: value})
    async with journey([SUBSCRIPTION], topology=topology) as azure:
        azure.environment.arm.seed(ScaleSetSeed(SUBSCRIPTION, "shop", "web"))
        await azure.send(SUBSCRIPTION, "one")
        first = (await azure.finish("one"))["one"]
        await azure.send(SUBSCRIPTION, "two")
        second = (await azure.finish("two"))["two"]
        assert azure.calls(SUBSCRIPTION) == []
    assert first.data["error"]["code"] == "UnsafeNamespace"
    assert OPERATIONS in first.data["error"]["message"]
    assert name in first.data["error"]["message"]
    assert second.status == "Rejected"
    assert name in second.data["problems"][0]["message"]


async def test_namespace_as_deployed_is_checked_once_and_nothing_of_the_check_is_left() -> None:
    async with journey([SUBSCRIPTION]) as azure:
        seen: list[str] = []
        azure.environment.bus.observers.add(lambda event: seen.append(event.message_id))
        azure.environment.arm.seed(ScaleSetSeed(SUBSCRIPTION, "shop", "web"))
        for name in ("one", "two"):
            await azure.send(SUBSCRIPTION, name, instanceIds=["0"])
            await azure.finish(name)
        checks = {each for each in seen if each.startswith("namespace-check-")}
        left = [each for each in azure.environment.left_over() if "namespace-check" in each]
    assert len(checks) == 2  # one for each queue
    assert left == []


async def test_message_of_a_check_that_was_killed_is_dropped_when_it_falls_due(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with journey([SUBSCRIPTION]) as azure:
        await azure.job.send_operations(ServiceBusMessage(b"", message_id="namespace-check-1", subject=SUBJECT))
        with caplog.at_level(logging.WARNING, logger="maintenance"):
            await tick(azure.job)
        assert azure.environment.left_over() == []
    assert [record for record in caplog.records if record.name.startswith("maintenance")] == []
