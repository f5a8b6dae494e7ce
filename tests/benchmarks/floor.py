"""Lower bound of a tick: the SDK alone receives messages, sends them again for later, and completes them.

In a process of its own, without the worker. Run as a module, it reads orders from standard input, each a line of JSON,
and writes their cost.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from azure.servicebus import ServiceBusMessage, ServiceBusReceivedMessage
from azure.servicebus._pyamqp.outcomes import Accepted
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver, ServiceBusSender

from maintenance.worker import relax_garbage_collection
from tests.benchmarks.comparison import Cost
from tests.benchmarks.sending import send_list
from tests.benchmarks.services import Process, write

if TYPE_CHECKING:
    import aiohttp

# Not the operations queue, but one like it: an idle receiver has credit left, takes what arrives, and releases it
# seconds later.
QUEUE = "maintenance-requests"
RECEIVERS = 4
BATCH = 100
# How long a tick waits before it takes the queue for empty: see `poller.FURTHER_WAIT`.
FURTHER_WAIT = 0.05
FURTHER_WAITS = 2
DEFAULT_THRESHOLDS = gc.get_threshold()

ReadViews = Callable[[ServiceBusReceivedMessage], Awaitable[None]]
Complete = Callable[[ServiceBusReceiver, Sequence[ServiceBusReceivedMessage]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Order:
    """Order to move `count` messages.

    `spared`: with the garbage collector set as the worker sets it, else with Python's defaults. `scope`: GET the URL in
    each message, with a token of this scope. `together`: send the dispositions of a batch before their outcomes are
    waited for.
    """

    count: int
    spared: bool = False
    scope: str | None = None
    together: bool = False


class Floor:
    """Receivers, each with a sender, that receive messages, send them in lists, and complete them."""

    def __init__(self, connection_string: str) -> None:
        self._client = ServiceBusClient.from_connection_string(connection_string)
        self._receivers = [self._client.get_queue_receiver(QUEUE, socket_timeout=0.01) for _ in range(RECEIVERS)]
        self._senders = [self._client.get_queue_sender(QUEUE) for _ in range(RECEIVERS)]
        self._left = 0

    async def open(self) -> None:
        await asyncio.gather(*(one.__aenter__() for one in self._receivers))
        await asyncio.gather(*(one.__aenter__() for one in self._senders))

    async def move(self, count: int, read: ReadViews | None = None, *, together: bool = False) -> None:
        """Move `count` messages, and wait for more until none arrive. `read` is called with each before it is sent."""
        self._left = count
        complete = _complete_together if together else _complete_each
        async with asyncio.TaskGroup() as group:
            for receiver, sender in zip(self._receivers, self._senders, strict=True):
                group.create_task(self._drain(receiver, sender, read, complete))

    async def _drain(
        self, receiver: ServiceBusReceiver, sender: ServiceBusSender, read: ReadViews | None, complete: Complete
    ) -> None:
        wait = 1.0
        while self._left > 0:
            started = time.perf_counter()
            received = await receiver.receive_messages(max_message_count=BATCH, max_wait_time=wait)
            if not received:
                continue
            wait = max(FURTHER_WAIT, FURTHER_WAITS * (time.perf_counter() - started))
            self._left -= len(received)
            if read is not None:
                await asyncio.gather(*(read(message) for message in received))
            await send_list(sender, [_again(message) for message in received])
            await complete(receiver, received)

    async def close(self) -> None:
        await asyncio.gather(*(one.close() for one in (*self._receivers, *self._senders)))
        await self._client.close()


async def _complete_each(receiver: ServiceBusReceiver, messages: Sequence[ServiceBusReceivedMessage]) -> None:
    for message in messages:
        await receiver.complete_message(message)


async def _complete_together(receiver: ServiceBusReceiver, messages: Sequence[ServiceBusReceivedMessage]) -> None:
    """What the SDK does for one, each step for all."""
    link: Any = receiver._handler._link
    for message in messages:
        number = message._delivery_id
        link._pending_dispositions[number] = {"settled": False, "outcome": None}
        await link._outgoing_disposition(number, None, message._delivery_tag, False, Accepted(), None)
    for message in messages:
        await link._wait_for_disposition_outcome([message._delivery_id], 60.0)


def _again(message: ServiceBusReceivedMessage) -> ServiceBusMessage:
    return ServiceBusMessage(
        b"".join(message.body),
        message_id=f"{message.message_id}+",
        content_type="application/json",
        subject=message.subject,
        correlation_id=message.correlation_id,
        scheduled_enqueue_time_utc=datetime.now(UTC) + timedelta(minutes=10),
    )


async def one_token(scope: str) -> str:
    # Imported only here: the SDK alone needs neither this nor aiohttp.
    from azure.identity.aio import ManagedIdentityCredential

    async with ManagedIdentityCredential() as credential:
        token: str = (await credential.get_token(scope)).token
        return token


@asynccontextmanager
async def bare_session(scope: str, *, calls: int = 100) -> AsyncIterator[aiohttp.ClientSession]:
    """aiohttp alone, with a token of this scope: so many `calls` at once."""
    import aiohttp

    headers = {"Authorization": f"Bearer {await one_token(scope)}"}
    connector = aiohttp.TCPConnector(limit=calls)
    async with aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), headers=headers
    ) as session:
        yield session


@asynccontextmanager
async def bare_get(scope: str) -> AsyncIterator[ReadViews]:
    """GET the URL in a record by aiohttp and ignore the response: the lower bound of reading an operation."""
    from yarl import URL

    async with bare_session(scope) as session:

        async def read(message: ServiceBusReceivedMessage) -> None:
            url = URL(json.loads(b"".join(message.body))["calls"][0]["url"], encoded=True)
            async with session.get(url, allow_redirects=False) as response:
                await response.read()

        yield read


async def ordered(process: Process, order: Order) -> Cost:
    """Have the process of the lower bound carry out an order."""
    cost: dict[str, float] = await asyncio.to_thread(process.order, json.dumps(asdict(order)))
    return Cost(order.count, wall=cost["wall"], cpu=cost["cpu"])


async def _serve(connection_string: str) -> None:
    floor = Floor(connection_string)
    await floor.open()
    readers: dict[str, ReadViews] = {}
    async with AsyncExitStack() as stack:
        write({})
        while line := await asyncio.to_thread(sys.stdin.readline):
            order = Order(**json.loads(line))
            if order.scope and order.scope not in readers:
                readers[order.scope] = await stack.enter_async_context(bare_get(order.scope))
            gc.unfreeze()
            gc.set_threshold(*DEFAULT_THRESHOLDS)
            if order.spared:
                relax_garbage_collection()
            with Cost(order.count) as cost:
                await floor.move(order.count, readers[order.scope] if order.scope else None, together=order.together)
            write({"wall": cost.wall, "cpu": cost.cpu})


if __name__ == "__main__":
    logging.getLogger("azure").setLevel(logging.ERROR)
    asyncio.run(_serve(sys.argv[1]))
