"""Requests: many waiting at once, and one at a time on an idle system, compared with the SDKs alone."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator

import aiohttp
from azure.servicebus import ServiceBusMessage, ServiceBusReceivedMessage
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver, ServiceBusSender
from yarl import URL

from maintenance.arm.responses import ArmResponse
from maintenance.arm.transport import AiohttpTransport, Headers
from maintenance.operations.units import Tick
from maintenance.worker import Worker
from sandbox.functions_host.listeners.conversion import service_bus_message
from tests.benchmarks.comparison import Bound, Cost, Options, Row, alternate, values
from tests.benchmarks.floor import bare_session
from tests.benchmarks.services import Services, services
from tests.benchmarks.workload import OPERATIONS, REQUESTS, fill, scale_set, settings

WAITING = 300
CALLS = (16, 64)
ONE_BY_ONE = 100

# The floor of a request.
LEAST = "SDK, a bare GET and POST and a record for each"

Handle = Callable[[ServiceBusReceivedMessage, int], Awaitable[None]]


class Pumps:
    """Pumps as in the host: each receives one message, has it handled, and completes it."""

    def __init__(self, at: Services, number: int) -> None:
        self._client = ServiceBusClient.from_connection_string(at.bus)
        self._receivers = [self._client.get_queue_receiver(REQUESTS, socket_timeout=0.01) for _ in range(number)]
        self.senders = [self._client.get_queue_sender(OPERATIONS) for _ in range(number)]
        self.requests = self._client.get_queue_sender(REQUESTS)
        self._left = self._to_come = 0

    @property
    def done(self) -> bool:
        """Whether all that was to be taken is completed."""
        return self._left <= 0

    async def open(self) -> None:
        entered: list[ServiceBusReceiver | ServiceBusSender] = [*self._receivers, *self.senders, self.requests]
        for start in range(0, len(entered), 16):
            async with asyncio.TaskGroup() as group:
                for each in entered[start : start + 16]:
                    group.create_task(_enter(each))

    async def take(self, count: int, handle: Handle) -> None:
        self._left = self._to_come = count
        async with asyncio.TaskGroup() as group:
            for number in range(len(self._receivers)):
                group.create_task(self._pump(number, handle))

    async def _pump(self, number: int, handle: Handle) -> None:
        receiver = self._receivers[number]
        # Not as long as any is handled: the host is another process, and what it does while it waits is not this one's.
        while self._to_come > 0:
            for message in await receiver.receive_messages(max_message_count=1, max_wait_time=0.2):
                self._to_come -= 1
                await handle(message, number)
                await receiver.complete_message(message)
                self._left -= 1

    async def close(self) -> None:
        await asyncio.gather(*(each.close() for each in (*self._receivers, *self.senders, self.requests)))
        await self._client.close()


async def _enter(each: ServiceBusReceiver | ServiceBusSender) -> None:
    await each.__aenter__()


class TimedTransport(AiohttpTransport):
    """Transport that notes how many POSTs had their responses, and when the last was sent."""

    posted = 0.0
    posts = 0

    async def exchange(self, method: str, url: str, headers: Headers, body: bytes | None = None) -> ArmResponse:
        if method == "POST":
            self.posted = time.perf_counter()
        response = await super().exchange(method, url, headers, body)
        self.posts += method == "POST"
        return response


def requests_for(count: int) -> Iterator[ServiceBusMessage]:
    batch = uuid.uuid4().hex[:8]
    for number in range(count):
        body = {"resourceId": scale_set(number).resource_id, "instanceIds": ["0"]}
        yield ServiceBusMessage(json.dumps(body).encode(), message_id=f"{batch}-{number}")


class Alone:
    """A request handled by the SDKs alone: read the instances, post, send one record."""

    def __init__(self, at: Services, pumps: Pumps, session: aiohttp.ClientSession) -> None:
        self._at, self._pumps, self._session = at, pumps, session

    async def handle(self, message: ServiceBusReceivedMessage, number: int) -> None:
        root = f"{self._at.arm}{scale_set(int(str(message.message_id).rpartition('-')[2])).resource_id}"
        views = "virtualMachines?$expand=instanceView&api-version=2024-07-01"
        await self._call("GET", f"{root}/{views}", None)
        await self._call("POST", f"{root}/performMaintenance?api-version=2024-07-01", b'{"instanceIds":["0"]}')
        again = ServiceBusMessage(b"".join(message.body), message_id=f"{message.message_id}+")
        await self._pumps.senders[number].send_messages(again)

    async def _call(self, method: str, url: str, body: bytes | None) -> None:
        headers = {"Content-Type": "application/json"} if body else {}
        async with self._session.request(method, URL(url, encoded=True), data=body, headers=headers) as response:
            await response.read()
            response.raise_for_status()


async def rows(options: Options) -> list[Row]:
    count = options.sized(WAITING)
    found: list[Row] = []
    with services(scale_sets=count, seconds=36_000) as at:
        transport = TimedTransport(limit=80)
        worker = Worker(settings(at), transport=transport)
        for calls in CALLS:
            mine, other = await all_posted(at, worker, transport, options, count=count, calls=calls)
            found.append(
                Row(
                    name=f"{count:,} requests waiting, {calls} at once",
                    against=LEAST,
                    unit="s",
                    ours=values(mine, lambda cost: cost.wall),
                    theirs=values(other, lambda cost: cost.wall),
                    required=Bound("at most", 1.3),
                )
            )
        found += await one_by_one(at, worker, transport, options, count=options.sized(ONE_BY_ONE))
        await worker.close()
    return found


async def all_posted(
    at: Services, worker: Worker, transport: TimedTransport, options: Options, *, count: int, calls: int
) -> tuple[list[Cost], list[Cost]]:
    """Costs of having so many requests posted, so many of which the host hands over at once; and of their floor."""
    ticks: list[asyncio.Task[Tick]] = []

    async def posted() -> None:
        """The last POST was made, wherever: most handlers leave before that of their own record."""
        await asyncio.gather(*ticks)
        done = transport.posts + count
        while transport.posts < done:
            if pumps.done and all(tick.done() for tick in ticks):
                # What comes later than a handler stays is left to the timer.
                ticks.append(asyncio.create_task(worker.poll()))
            await asyncio.sleep(0.02)

    pumps = Pumps(at, calls)
    await pumps.open()
    async with bare_session(settings(at).token_scope, calls=80) as session:
        alone = Alone(at, pumps, session)
        mine, other = await alternate(
            options.runs,
            lambda: take_all(at, pumps, handled_by(worker), count, until=posted),
            lambda: take_all(at, pumps, alone.handle, count),
        )
    await pumps.close()
    await asyncio.gather(*ticks)
    return mine, other


def handled_by(worker: Worker) -> Handle:
    async def handle(message: ServiceBusReceivedMessage, _: int) -> None:
        await worker.receive(service_bus_message(message, binary=True))

    return handle


async def take_all(
    at: Services, pumps: Pumps, handle: Handle, count: int, *, until: Callable[[], Awaitable[None]] | None = None
) -> Cost:
    """Cost of having so many requests handled: until all are completed, or `until` that."""
    at.clear()
    at.reset()
    await fill(at, REQUESTS, requests_for(count))
    with Cost(count) as cost:
        taking = asyncio.create_task(pumps.take(count, handle))
        await (taking if until is None else until())
    await taking
    return cost


async def one_by_one(
    at: Services, worker: Worker, transport: TimedTransport, options: Options, *, count: int
) -> list[Row]:
    """Time from sending a message to its POST, compared with the SDK alone: from sending to completing it."""
    pumps = Pumps(at, 1)
    await pumps.open()
    mine: list[list[float]] = []
    other: list[list[float]] = []
    for number in range(options.runs + 1):
        at.clear()
        at.reset()
        posts: list[float] = []
        completions: list[float] = []
        for message in requests_for(count):
            started = time.perf_counter()
            await pumps.requests.send_messages(message)
            await pumps.take(1, handled_by(worker))
            posts.append((transport.posted - started) * 1000)
            again = ServiceBusMessage(b"".join(message.body), message_id=f"{message.message_id}-alone")
            started = time.perf_counter()
            await pumps.requests.send_messages(again)
            await pumps.take(1, _nothing)
            completions.append((time.perf_counter() - started) * 1000)
        if number:
            mine.append(posts)
            other.append(completions)
    await pumps.close()
    return [
        Row(
            name=f"from message to POST, {name}, one at a time",
            against="SDK alone: send, receive, complete",
            unit="ms",
            ours=tuple(_percentile(each, percent) for each in mine),
            theirs=tuple(_percentile(each, percent) for each in other),
        )
        # What is required of it stands where calls take time: see `latencies`.
        for name, percent in (("p50", 50), ("p99", 99))
    ]


async def _nothing(message: ServiceBusReceivedMessage, number: int) -> None:
    pass


def _percentile(numbers: list[float], percent: int) -> float:
    return statistics.quantiles(numbers, n=100)[percent - 1]
