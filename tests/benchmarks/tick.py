"""A tick: operations that are due at once, each read and rescheduled, against the SDK alone moving the messages."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import aiohttp
from aiohttp import DummyCookieJar
from azure.identity.aio import ManagedIdentityCredential
from azure.mgmt.compute.aio import ComputeManagementClient
from azure.mgmt.core.polling.async_arm_polling import AsyncARMPolling
from azure.servicebus import ServiceBusMessage, ServiceBusReceivedMessage
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver, ServiceBusSender
from yarl import URL

from maintenance.worker import Worker
from tests.benchmarks.arm_client import BODY, at_once, compute_client
from tests.benchmarks.comparison import Bound, Cost, Options, Row, alternate, values
from tests.benchmarks.services import GROUP, Services, services
from tests.benchmarks.workload import OPERATIONS, REQUESTS, fill, operation_urls, send_list, settings, under_way

DUE = 10_000
SCALE_SETS = 100
RECEIVERS = 4
BATCH = 100


Look = Callable[[ServiceBusReceivedMessage], Awaitable[None]]


class Floor:
    """The SDK alone: receive, send again for later in lists, complete; several receivers, each with a sender.

    In a queue like that of the operations, but not the same: an idle receiver has credit left, takes what comes, and
    gives it back seconds later.
    """

    def __init__(self, at: Services, receivers: int) -> None:
        self._client = ServiceBusClient.from_connection_string(at.bus)
        self._receivers = [self._client.get_queue_receiver(REQUESTS, socket_timeout=0.01) for _ in range(receivers)]
        self._senders = [self._client.get_queue_sender(REQUESTS) for _ in range(receivers)]
        self.moved = 0
        self._ended_at = 0.0

    async def open(self) -> None:
        await asyncio.gather(*(one.__aenter__() for one in self._receivers))
        await asyncio.gather(*(one.__aenter__() for one in self._senders))

    async def move(self, count: int, look: Look | None = None) -> float:
        """Seconds until the last was completed. Who finds nothing more then waits in vain, which is not counted.

        `look` is done with each message before it is sent again.
        """
        self.moved, started = 0, time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for receiver, sender in zip(self._receivers, self._senders, strict=True):
                group.create_task(self._drain(receiver, sender, count, look))
        return self._ended_at - started

    async def _drain(
        self, receiver: ServiceBusReceiver, sender: ServiceBusSender, count: int, look: Look | None
    ) -> None:
        while self.moved < count:
            received = await receiver.receive_messages(max_message_count=BATCH, max_wait_time=1)
            if not received:
                continue
            self.moved += len(received)
            if look is not None:
                await asyncio.gather(*(look(message) for message in received))
            await send_list(sender, [_again(message) for message in received])
            for message in received:
                await receiver.complete_message(message)
            self._ended_at = time.perf_counter()

    async def close(self) -> None:
        await asyncio.gather(*(one.close() for one in (*self._receivers, *self._senders)))
        await self._client.close()


def _again(message: ServiceBusReceivedMessage) -> ServiceBusMessage:
    return ServiceBusMessage(
        b"".join(message.body),
        message_id=f"{message.message_id}+",
        content_type="application/json",
        subject=message.subject,
        correlation_id=message.correlation_id,
        scheduled_enqueue_time_utc=datetime.now(UTC) + timedelta(minutes=10),
    )


async def floor_cost(at: Services, floor: Floor, urls: list[str], count: int, look: Look | None = None) -> Cost:
    at.clear()
    await fill(at, REQUESTS, under_way(urls, count))
    with Cost(count) as cost:
        wall = await floor.move(count, look)
    if floor.moved != count:
        raise RuntimeError(f"{floor.moved} of {count} messages were moved")
    return replace(cost, wall=wall)


@asynccontextmanager
async def bare_get(scope: str) -> AsyncIterator[Look]:
    """A GET of the URL in a record by aiohttp, and nothing made of it: the least that looking can cost."""
    async with ManagedIdentityCredential() as credential, aiohttp.ClientSession(cookie_jar=DummyCookieJar()) as session:
        headers = {"Authorization": f"Bearer {(await credential.get_token(scope)).token}"}

        async def look(message: ServiceBusReceivedMessage) -> None:
            url = URL(json.loads(b"".join(message.body))["calls"][0]["url"], encoded=True)
            async with session.get(url, headers=headers, allow_redirects=False) as response:
                await response.read()

        yield look


async def tick_cost(at: Services, worker: Worker, urls: list[str], count: int) -> Cost:
    at.clear()
    await fill(at, OPERATIONS, under_way(urls, count))
    with Cost(count) as cost:
        kept = 0
        while kept < count:
            kept += (await worker.poll()).kept
    if kept != count:
        raise RuntimeError(f"{count} operations were due, and {kept} were kept")
    return cost


class PollOnceMore(AsyncARMPolling):
    """The SDK's own loop of waiting and polling, ended after as many polls as are asked for."""

    left = 0

    def finished(self) -> bool:
        self.left -= 1
        return self.left < 0


async def pollers_cost(client: ComputeManagementClient, pollers: list[PollOnceMore], count: int) -> Cost:
    """azure-mgmt-compute with its pollers in memory, 64 at work at a time, each polling as often as its share is."""
    if not pollers:
        for number in range(SCALE_SETS):
            method = PollOnceMore(0)
            await client.virtual_machine_scale_sets.begin_perform_maintenance(
                GROUP, f"set{number}", BODY, polling=method
            )
            pollers.append(method)
    share = count // SCALE_SETS

    async def poll(number: int) -> None:
        # When it has finished, the SDK reads the final state by one more call.
        pollers[number].left = share - 1
        await pollers[number].run()

    cost = await at_once(SCALE_SETS, poll)
    return replace(cost, count=share * SCALE_SETS)


async def rows(options: Options) -> list[Row]:
    count = options.sized(DUE)
    # Two instances: one that our operations are about, one that azure-mgmt-compute's are.
    with services(scale_sets=SCALE_SETS, instances=2, seconds=3600) as at:
        worker, floor = Worker(settings(at)), Floor(at, RECEIVERS)
        await floor.open()
        urls = await operation_urls(worker.arm_client, at, SCALE_SETS)
        pollers: list[PollOnceMore] = []
        async with compute_client(at) as client, bare_get(settings(at).token_scope) as look:
            mine, other, least, memory = await alternate(
                options.runs,
                lambda: tick_cost(at, worker, urls, count),
                lambda: floor_cost(at, floor, urls, count),
                lambda: floor_cost(at, floor, urls, count, look),
                lambda: pollers_cost(client, pollers, count),
            )
        await floor.close()
        await worker.close()
    return [
        Row(
            name=f"a tick with {count:,} operations due",
            against="SDK alone: receive, send, complete",
            unit="s",
            ours=values(mine, lambda cost: cost.wall),
            theirs=values(other, lambda cost: cost.wall),
            required=Bound("at most", 1.5),
        ),
        Row(
            name="the same",
            against="SDK and a GET in bare aiohttp for each",
            unit="s",
            ours=values(mine, lambda cost: cost.wall),
            theirs=values(least, lambda cost: cost.wall),
        ),
        Row(
            name="the same: processor time of the client",
            against="SDK alone: receive, send, complete",
            unit="CPU ms/op",
            ours=values(mine, lambda cost: cost.cpu_each),
            theirs=values(other, lambda cost: cost.cpu_each),
        ),
        Row(
            name="polls, kept in Service Bus",
            against="azure-mgmt-compute aio, kept in memory",
            unit="polls/CPU s",
            ours=values(mine, lambda cost: cost.count / cost.cpu),
            theirs=values(memory, lambda cost: cost.count / cost.cpu),
            required=Bound("at least", 1),
        ),
    ]
