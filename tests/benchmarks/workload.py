"""Workload of the benchmarks: app settings for the services, and operations under way."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient

from maintenance.arm.client import ArmClient
from maintenance.domain.instances import Baseline
from maintenance.domain.messages import Record
from maintenance.domain.operation import Call, Operation, Phase
from maintenance.domain.resources import ScaleSet
from maintenance.operations.records import to_record
from maintenance.servicebus.sender import Sender
from maintenance.settings import Settings, read_settings
from sandbox.cli.environment import worker_environment
from tests.benchmarks.services import GROUP, SUBSCRIPTION, Services

REQUESTS = "maintenance-requests"
OPERATIONS = "maintenance-operations"
LISTS = 200


def environment(at: Services) -> dict[str, str]:
    """App settings: the product's defaults, with the addresses of the services."""
    names = worker_environment(servicebus=at.bus, arm_endpoint=at.arm, identity={}, function_key="bench")
    # Shortened for a person who watches. To read a duration takes pydantic, 65 ms of a start.
    for shortened in ("MIN_POLL_INTERVAL", "DEFAULT_POLL_INTERVAL", "SETTLE_TIME", "VIEW_LAG", "LEASE_WAIT"):
        del names[f"MAINTENANCE_{shortened}"]
    return names


def settings(at: Services) -> Settings:
    return read_settings(environment(at))


def scale_set(number: int) -> ScaleSet:
    return ScaleSet(SUBSCRIPTION, GROUP, f"set{number}")


async def operation_urls(client: ArmClient, arm: str, scale_sets: int) -> list[str]:
    """Start maintenance on each of the scale sets; return the operation URLs."""
    urls = []
    for number in range(scale_sets):
        url = f"{arm}{scale_set(number).resource_id}/performMaintenance?api-version=2024-07-01"
        response = await client.send("POST", url, b'{"instanceIds":["1"]}')
        urls.append(response.headers["azure-asyncoperation"])
    return urls


def under_way(urls: Sequence[str], count: int) -> Iterator[Record]:
    """Records of `count` operations in progress, spread over the scale sets."""
    batch = uuid.uuid4().hex[:8]
    for number in range(count):
        place = number % len(urls)
        yield to_record(tracked(f"{batch}-{number}", scale_set(place), urls[place]), None)


def tracked(request_id: str, of: ScaleSet, url: str) -> Operation:
    """An operation in progress, to be polled at the URL."""
    now = datetime.now(UTC)
    return Operation(
        run_id=uuid.uuid4().hex,
        request_id=request_id,
        scale_set=of,
        requested_at=now,
        deadline=now + timedelta(hours=6),
        flexible=False,
        phase=Phase.TRACK,
        planned=True,
        waves=(("0",),),
        batch=("0",),
        baseline={"0": Baseline(changed_at=now)},
        calls=(Call(("0",), url),),
        leased_at=now,
        started_at=now,
        posted_at=now,
    )


async def fill(at: Services, queue: str, messages: Iterator[Record | ServiceBusMessage]) -> None:
    """Send messages to a queue, in lists."""
    async with ServiceBusClient.from_connection_string(at.bus) as client:
        sender = Sender(queue, lambda: client.get_queue_sender(queue))
        waiting = list(messages)
        for start in range(0, len(waiting), LISTS):
            await sender.send(waiting[start : start + LISTS])
        await sender.close()
