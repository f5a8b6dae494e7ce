"""Round trips to Service Bus and ARM, one after another, that a request, a poll and an end take.

What is counted are coroutines of the Service Bus SDK and of aiohttp, so nothing of `maintenance` is touched. Calls that
are under way at the same time count once: they take one round trip's time.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any

import aiohttp
import pytest
from azure.servicebus import ServiceBusMessage, ServiceBusReceivedMessage
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver, ServiceBusSender

from maintenance.servicebus.messages import to_message
from sandbox.resource_manager import InstanceSeed, ScaleSetSeed
from tests.benchmarks.sending import send_list
from tests.benchmarks.services import GROUP, SUBSCRIPTION
from tests.benchmarks.workload import operation_urls, scale_set, under_way
from tests.support.completions import Completions
from tests.support.entities import OPERATIONS, REQUESTS
from tests.support.limit import LIMIT
from tests.support.time_travel import Journey, tick

MINUTE = timedelta(minutes=1)
CALLS = {
    ServiceBusSender: ("send_messages", "schedule_messages", "cancel_scheduled_messages"),
    ServiceBusReceiver: ("receive_messages", "peek_messages"),
}


@dataclass(slots=True)
class Trip:
    """One call: what it is, and when it began and ended, as places in the order of all such moments."""

    name: str
    began: int
    ended: int = -1


@dataclass(slots=True)
class Trips:
    """Calls in the order in which they began. A receive that brought nothing is a wait, and none of them."""

    calls: list[Trip] = field(default_factory=list)
    moment: int = 0

    def begin(self, name: str) -> Trip:
        self.moment += 1
        trip = Trip(name, self.moment)
        self.calls.append(trip)
        return trip

    def end(self, trip: Trip, *, counts: bool = True) -> None:
        self.moment += 1
        trip.ended = self.moment
        if not counts:
            self.calls.remove(trip)

    def names(self) -> list[str]:
        return [trip.name for trip in self.calls]

    def between(self, first: str, last: str) -> list[Trip]:
        """From the first call whose name starts so to the one after it whose name starts so."""
        start = next(place for place, name in enumerate(self.names()) if name.startswith(first))
        stop = next(place for place, name in enumerate(self.names()) if place > start and name.startswith(last))
        return self.calls[start : stop + 1]


def in_sequence(calls: Sequence[Trip]) -> int:
    """The most of them that follow each other without overlap."""
    count, free_at = 0, -1
    for trip in sorted(calls, key=lambda trip: trip.ended if trip.ended >= 0 else trip.began):
        if trip.began > free_at:
            count, free_at = count + 1, trip.ended if trip.ended >= 0 else trip.began
    return count


@contextmanager
def recorded() -> Iterator[Trips]:
    """The calls of this process while the block runs; those of the host for the requests queue are left out."""
    trips = Trips()
    with pytest.MonkeyPatch.context() as patch:
        for kind, methods in CALLS.items():
            for method in methods:
                patch.setattr(kind, method, _recording(trips, method, getattr(kind, method)))
        for target, name, value in Completions(partial(_completing, trips), partial(_completed, trips)).changes():
            patch.setattr(target, name, value)
        patch.setattr(aiohttp.ClientSession, "_request", _recording_http(trips, aiohttp.ClientSession._request))
        yield trips


def _recording_http(trips: Trips, request: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def call(session: Any, method: str, url: Any, **options: Any) -> Any:
        trip = trips.begin(f"{method} {str(url).partition('?')[0].rpartition('/')[2]}")
        try:
            return await request(session, method, url, **options)
        finally:
            trips.end(trip)

    return call


def _recording(trips: Trips, name: str, method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(method)
    async def call(link: Any, *arguments: Any, **options: Any) -> Any:
        if link._entity_name == REQUESTS:
            return await method(link, *arguments, **options)
        trip, result = trips.begin(f"{name} {link._entity_name}"), None
        try:
            result = await method(link, *arguments, **options)
        finally:
            trip.name = f"{trip.name} {_which(result if name == 'receive_messages' else arguments)}".strip()
            trips.end(trip, counts=name != "receive_messages" or bool(result))
        return result

    return call


def _completing(trips: Trips, message: ServiceBusReceivedMessage) -> Trip | None:
    entity = message._receiver._entity_name
    return None if entity == REQUESTS else trips.begin(f"complete_message {entity} {_which([message])}".strip())


def _completed(trips: Trips, trip: Trip | None, confirmed: bool) -> None:
    if trip is not None:
        trips.end(trip)


def _which(subject: Any) -> str:
    """The records or entries that a call is about: `s1`, `lease`."""
    messages = subject[0] if isinstance(subject, tuple) and subject else subject
    ids = [_id(each) for each in (messages if isinstance(messages, list) else [messages])]
    return " ".join(name for name in ids if name)


def _id(message: Any) -> str:
    if isinstance(message, (ServiceBusMessage, ServiceBusReceivedMessage)):
        message_id = str(message.message_id)
    else:
        return ""
    head, _, tail = message_id.partition(":")
    return head if head in ("lease", "cancel", "stale") else tail


@dataclass(frozen=True, slots=True)
class RoundTrips:
    """Calls from sending a request's first record to its POST; of a poll that finds the operation running; of an END
    record. Each from receiving the record to completing it, where nothing else is said."""

    to_post: list[Trip]
    of_a_poll: list[Trip]
    of_an_end: list[Trip]


async def count(azure: Journey, subscription: str) -> RoundTrips:
    """Of a request for one instance, on links that are open."""
    # Whole pages: how many a random limit cuts is chance.
    azure.environment.bus.peek_limit = 250
    await _one(azure, subscription, "warm", "0")
    with recorded() as trips:
        await _one(azure, subscription, "counted", "1")
    received = [trip.name.rpartition(" ")[2] for trip in trips.calls if trip.name.startswith("receive_messages")]
    # The last records: a TRACK that polls, one that polls and confirms, END.
    poll, _, end = received[-3:]
    return RoundTrips(
        trips.between(f"send_messages {OPERATIONS} s0", "POST"),
        trips.between(f"receive_messages {OPERATIONS} {poll}", f"complete_message {OPERATIONS} {poll}"),
        trips.between(f"receive_messages {OPERATIONS} {end}", f"complete_message {OPERATIONS} {end}"),
    )


async def _one(azure: Journey, subscription: str, name: str, instance_id: str) -> None:
    """A request whose maintenance ends between its first poll and its second."""
    seeds = (InstanceSeed(instance_id, duration=1.5 * MINUTE),)
    azure.environment.arm.seed(ScaleSetSeed(subscription, "shop", "web", instances=seeds))
    await azure.send(subscription, name, instanceIds=[instance_id])
    async with asyncio.timeout(LIMIT):
        # The handler's own tick, and none beside it.
        while azure.environment.handles_requests:  # noqa: ASYNC110 - Service Bus runs in a thread
            await asyncio.sleep(0.01)
    await tick(azure.job)
    for _ in range(2):
        azure.clock.advance(MINUTE)
        await tick(azure.job)


async def count_tick(azure: Journey, due: int) -> list[Trip]:
    """Of a tick with so many operations due, each of a scale set of its own, on links that are open."""
    for number in range(due):
        seeds = (InstanceSeed("1", duration=600 * MINUTE),)
        azure.environment.arm.seed(ScaleSetSeed(SUBSCRIPTION, GROUP, scale_set(number).name, instances=seeds))
    urls = await operation_urls(azure.job.worker.arm_client, azure.environment.arm.endpoint, due)
    await tick(azure.job)
    client = ServiceBusClient.from_connection_string(azure.environment.bus.connection_string)
    async with client, client.get_queue_sender(OPERATIONS) as sender:
        await send_list(sender, [to_message(each) for each in under_way(urls, due)])
    with recorded() as trips:
        await tick(azure.job)
    return trips.calls
