"""Runs requests to their end without waiting: Azure and the worker read the time from a clock moved by hand.

So tests run with the product's pauses of minutes and hours, and assert when things were done.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sandbox.resource_manager import Call
from sandbox.servicebus import HandMovedClock, PeekedMessage
from tests.support.entities import OPERATIONS, REQUESTS, TOPOLOGY
from tests.support.environment import Environment, environment
from tests.support.limit import LIMIT
from tests.support.received import Event
from tests.support.running import Running, running

# The SDK compares locks with the machine's time, so this time has to be ahead of it.
START = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
# The product's own settings, except for the wait that is spent in real time.
REAL_TIME = {
    "MAINTENANCE_MIN_POLL_INTERVAL": "PT10S",
    "MAINTENANCE_DEFAULT_POLL_INTERVAL": "PT60S",
    "MAINTENANCE_MAX_POLL_INTERVAL": "PT10M",
    "MAINTENANCE_SETTLE_TIME": "PT20M",
    "MAINTENANCE_RECEIVE_WAIT": "PT0.05S",
}
TICK = timedelta(minutes=1)
# A message that was not settled is redelivered after this (infra/topology.json).
LOCK = timedelta(minutes=5)


def due(job: Running) -> list[datetime]:
    """When the scheduled messages of the queues fall due."""
    messages = [*job.environment.bus.peek(REQUESTS, 1_000), *job.environment.bus.peek(OPERATIONS, 1_000)]
    return sorted(message.scheduled_for for message in messages if message.scheduled_for is not None)


async def tick(job: Running) -> None:
    """Fire the timer until each record that is due was delivered and each request that is due was handled, and read the
    events.

    A record is waited for until one delivery of it has succeeded or failed: a poll of a slow machine may take the queue
    for empty, and a receiver that rests releases what it has not looked at. A request whose settlement failed stays
    locked until the clock is moved, so it is not waited for.
    """
    failed_before = {each.sequence_number: each.delivery_count for each in _records_due(job)}
    give_up = time.monotonic() + LIMIT
    while True:
        await job.worker.poll()
        handles_requests = job.environment.handles_requests
        # In this order: a request that has been handled has left its record behind.
        due = [each for each in _records_due(job) if each.delivery_count <= failed_before.get(each.sequence_number, 0)]
        job.environment.read_events()
        if not handles_requests and not due:
            return
        if time.monotonic() > give_up:
            raise AssertionError(f"requests are still handled, or records still due: {job.environment.left_over()}")


def _records_due(job: Running) -> list[PeekedMessage]:
    if not job.environment.bus.counts(OPERATIONS).active:
        return []
    return [each for each in job.environment.bus.peek(OPERATIONS, 10_000) if each.state == "active"]


async def travel(
    job: Running, clock: HandMovedClock, *request_ids: str, step: timedelta = TICK, limit: float = LIMIT
) -> dict[str, Event]:
    """Fire the timer and move the clock from one thing due to the next until the requests have ended and the queues
    are empty; returns their last events. Whatever falls due within `step` of the first is done in one tick."""
    give_up = time.monotonic() + limit
    while True:
        await tick(job)
        ended = {event.data["requestId"]: event for event in job.environment.events if event.ends}
        if all(request_id in ended for request_id in request_ids) and not job.environment.left_over():
            return ended
        if time.monotonic() > give_up:
            missing = [request_id for request_id in request_ids if request_id not in ended]
            raise AssertionError(f"requests did not end: {missing}; left over: {job.environment.left_over()}")
        if times := due(job):
            clock.advance(max(times[0] - clock(), timedelta(0)) + step)
        elif any(job.environment.bus.counts(queue).locked for queue in (REQUESTS, OPERATIONS)):
            clock.advance(LOCK)


@dataclass(frozen=True, slots=True)
class Journey:
    """Worker under a clock moved by hand."""

    job: Running
    clock: HandMovedClock

    @property
    def environment(self) -> Environment:
        return self.job.environment

    async def finish(self, *request_ids: str, step: timedelta = TICK, limit: float = LIMIT) -> dict[str, Event]:
        """Run requests to their end; see `travel`. `limit`: seconds of real time."""
        return await travel(self.job, self.clock, *request_ids, step=step, limit=limit)

    async def send(self, subscription_id: str, request_id: str, **fields: Any) -> None:
        """Send a request for the scale set `shop/web` of a subscription."""
        names = {"subscriptionId": subscription_id, "resourceGroupName": "shop", "vmScaleSetName": "web"}
        await self.job.send({**names, **fields}, message_id=request_id)

    def records(self, subscription_id: str) -> list[PeekedMessage]:
        """What waits in the operations queue about a subscription, but for what follows an end."""
        messages = self.environment.bus.peek(OPERATIONS, 1_000)
        return [each for each in messages if subscription_id.encode() in each.body and each.subject != "rest"]

    def calls(self, subscription_id: str, part: str = "") -> list[Call]:
        """Calls to ARM for a subscription, with this text in their path."""
        return [call for call in self.environment.arm.calls if subscription_id in call.path and part in call.path]


@asynccontextmanager
async def journey(
    subscriptions: Iterable[str],
    *,
    worker_options: Mapping[str, Any] | None = None,
    clock_error: timedelta = timedelta(0),
    topology: Path = TOPOLOGY,
    **settings: str,
) -> AsyncIterator[Journey]:
    """An environment, and a worker that is allowed these subscriptions. `clock_error`: how far the worker's clock is
    ahead of Azure's, or (negative) behind it."""
    clock = HandMovedClock(START)
    with environment(clock=clock, topology=topology) as services, pytest.MonkeyPatch.context() as patch:
        for name, value in services.identity.environment.items():
            patch.setenv(name, value)
        services.worker_options["now"] = lambda: clock() + clock_error
        services.worker_options.update(worker_options or {})
        scopes = " ".join(subscriptions)
        async with running(services, **{**REAL_TIME, "MAINTENANCE_ALLOWED_SCOPES": scopes, **settings}) as job:
            yield Journey(job, clock)
