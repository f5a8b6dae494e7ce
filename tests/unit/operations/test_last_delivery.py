"""The last delivery of a message, after which Service Bus dead-letters it, is logged at Warning."""

from __future__ import annotations

import json
import logging

import pytest

from maintenance.operations import units
from maintenance.requests import handler
from tests.support.entities import OPERATIONS, REQUESTS, TOPOLOGY
from tests.support.unit_environment import UnitEnvironment


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    lines = [(each.levelno, each.getMessage()) for each in caplog.records]
    return [line for level, line in lines if level == logging.WARNING and line.startswith("Last delivery")]


def test_last_deliveries_are_those_of_the_topology() -> None:
    queues = json.loads(TOPOLOGY.read_text())["UserConfig"]["Namespaces"][0]["Queues"]
    counts = {queue["Name"]: queue["Properties"]["MaxDeliveryCount"] for queue in queues}
    assert (counts[REQUESTS], counts[OPERATIONS]) == (handler.MAX_DELIVERIES, units.MAX_DELIVERIES)


@pytest.mark.parametrize(("earlier", "warned"), [(8, False), (9, True)])
async def test_last_delivery_of_a_request_is_logged(
    earlier: int, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    environment = UnitEnvironment()
    environment.send(message_id="request-7")
    environment.bus.requests.messages[0].deliveries = earlier
    await environment.deliver()
    assert len(warnings(caplog)) == warned
    assert all("request-7" in line for line in warnings(caplog))


@pytest.mark.parametrize(("earlier", "warned"), [(28, False), (29, True)])
async def test_last_delivery_of_a_record_is_logged(
    earlier: int, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    environment = UnitEnvironment()
    environment.send()
    await environment.deliver()
    (record,) = environment.bus.operations_queue.messages
    record.deliveries = earlier
    await environment.tick()
    assert len(warnings(caplog)) == warned
    assert all(record.message_id in line for line in warnings(caplog))
