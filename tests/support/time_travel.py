"""Requests followed to their end without waiting: Azure and the worker go by a clock that is moved by hand.

So tests run with the pauses of the product, of minutes and hours, and look at when things were done.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sandbox.resource_manager import Call
from sandbox.servicebus import HandMovedClock
from tests.support.environment import OPERATIONS, REQUESTS, Estate, Event, Running, estate, running

# The SDK compares locks with the machine's time, so this time has to be ahead of it.
START = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
# Of the product's settings only the one that is spent in real time is another.
REAL_TIME = {
    "MAINTENANCE_MIN_POLL_INTERVAL": "PT10S",
    "MAINTENANCE_DEFAULT_POLL_INTERVAL": "PT60S",
    "MAINTENANCE_MAX_POLL_INTERVAL": "PT10M",
    "MAINTENANCE_SETTLE_TIME": "PT20M",
    "MAINTENANCE_RECEIVE_WAIT": "PT0.05S",
}
TICK = timedelta(minutes=1)
# A message that was not settled comes again after this (infra/topology.json).
LOCK = timedelta(minutes=5)
# Seconds of real time.
PATIENCE = 2.0


def due(job: Running) -> list[datetime]:
    """When the messages of the queues are due that are not due yet."""
    messages = [*job.estate.bus.peek(REQUESTS, 1_000), *job.estate.bus.peek(OPERATIONS, 1_000)]
    return sorted(message.scheduled_for for message in messages if message.scheduled_for is not None)


async def tick(job: Running) -> None:
    """Fire the timer until the requests that are due have been handled, and listen to what it told.

    A request whose settling failed stays locked until the clock is moved, so it is not waited for.
    """
    quiet_since: float | None = None
    while True:
        await job.worker.poll()
        job.estate.overhear()
        counts = job.estate.bus.counts(REQUESTS)
        if counts.active or job.estate.handling:
            quiet_since = None
        elif not counts.locked:
            return
        else:
            quiet_since = quiet_since or time.monotonic()
            if time.monotonic() - quiet_since > PATIENCE:
                return


async def travel(
    job: Running, clock: HandMovedClock, *request_ids: str, step: timedelta = TICK, within: float = 60
) -> dict[str, Event]:
    """Fire the timer and move the clock from one thing due to the next until the requests have ended and the queues
    are empty; returns how they ended. What falls due within `step` of the first is done in one tick."""
    give_up = time.monotonic() + within
    while True:
        await tick(job)
        ended = {event.data["requestId"]: event for event in job.estate.events if event.ends}
        if all(request_id in ended for request_id in request_ids) and not job.estate.left_over():
            return ended
        if time.monotonic() > give_up:
            missing = [request_id for request_id in request_ids if request_id not in ended]
            raise AssertionError(f"not ended within {within} s: {missing}; left over: {job.estate.left_over()}")
        if times := due(job):
            clock.advance(max(times[0] - clock(), timedelta(0)) + step)
        elif any(job.estate.bus.counts(queue).locked for queue in (REQUESTS, OPERATIONS)):
            clock.advance(LOCK)


@dataclass(frozen=True, slots=True)
class Journey:
    """A worker at work under a clock that is moved by hand."""

    job: Running
    clock: HandMovedClock

    @property
    def estate(self) -> Estate:
        return self.job.estate

    async def finish(self, *request_ids: str, step: timedelta = TICK) -> dict[str, Event]:
        """See `travel`."""
        return await travel(self.job, self.clock, *request_ids, step=step)

    async def send(self, subscription_id: str, request_id: str, **fields: Any) -> None:
        """A request for the scale set `shop/web` of a subscription."""
        names = {"subscriptionId": subscription_id, "resourceGroupName": "shop", "vmScaleSetName": "web"}
        await self.job.send({**names, **fields}, message_id=request_id)

    def calls(self, subscription_id: str, part: str = "") -> list[Call]:
        """ARM's calls for a subscription, with this text in their path."""
        return [call for call in self.estate.arm.calls if subscription_id in call.path and part in call.path]


@asynccontextmanager
async def journey(
    subscriptions: Iterable[str], *, worker_options: Mapping[str, Any] | None = None, **settings: str
) -> AsyncIterator[Journey]:
    """Azure and a worker that may maintain in these subscriptions."""
    clock = HandMovedClock(START)
    with estate(clock=clock) as services, pytest.MonkeyPatch.context() as patch:
        for name, value in services.identity.environment.items():
            patch.setenv(name, value)
        services.worker_options.update(worker_options or {})
        scopes = " ".join(subscriptions)
        async with running(services, **{**REAL_TIME, "MAINTENANCE_ALLOWED_SCOPES": scopes, **settings}) as job:
            yield Journey(job, clock)
