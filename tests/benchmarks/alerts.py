"""An alert for a whole subscription: the time until a request for each of its scale sets is in the operations queue."""

from __future__ import annotations

import asyncio
import functools
import json
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import aiohttp
import azure.functions as func
import pytest
from azure.servicebus import ServiceBusMessage, ServiceBusMessageBatch
from azure.servicebus.aio import ServiceBusClient, ServiceBusSender
from yarl import URL

from maintenance.alerts.messages import REQUEST
from maintenance.operations.units import Tick
from maintenance.servicebus.sender import DATA
from maintenance.worker import Worker
from tests.benchmarks.comparison import Bound, Cost, Options, Row, alternate, values
from tests.benchmarks.floor import bare_session
from tests.benchmarks.services import SUBSCRIPTION, Services, services
from tests.benchmarks.workload import OPERATIONS, REQUESTS, settings
from tests.support.alert_payloads import health

SCALE_SETS = 100
# As many calls at once as the worker makes.
AT_ONCE = 64
# As a message in a batch has it: an AMQP string.
SUBJECT = bytes((0xA1, len(REQUEST))) + REQUEST.encode()
VERSION = "api-version=2024-07-01"
LIST = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Compute/virtualMachineScaleSets?{VERSION}"


class Counter:
    """Waits until so many requests are confirmed by Service Bus, alone or in batches."""

    def __init__(self) -> None:
        self._left = 0
        self._reached = asyncio.Event()

    def expect(self, count: int) -> None:
        self._left = count
        self._reached.clear()

    def sent(self, messages: Any) -> None:
        self._left -= _requests_in(messages)
        if self._left <= 0:
            self._reached.set()

    async def reached(self) -> None:
        await self._reached.wait()


def _requests_in(messages: Any) -> int:
    if isinstance(messages, ServiceBusMessageBatch):
        encoded: Any = messages._message[DATA]
        return sum(SUBJECT in each for each in encoded)
    return int(isinstance(messages, ServiceBusMessage) and messages.subject == REQUEST)


@contextmanager
def counted(counter: Counter) -> Iterator[None]:
    """Reports to `counter` what the SDK's senders of this process have sent."""
    send: Callable[..., Awaitable[None]] = ServiceBusSender.send_messages

    @functools.wraps(send)
    async def sending(sender: ServiceBusSender, messages: Any, **options: Any) -> None:
        await send(sender, messages, **options)
        counter.sent(messages)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ServiceBusSender, "send_messages", sending)
        yield


async def _ours(at: Services, worker: Worker, counter: Counter, count: int) -> Cost:
    at.clear()
    at.reset()
    alert = json.dumps(health(essentials={"alertId": uuid.uuid4().hex}, trackingId=uuid.uuid4().hex)).encode()
    counter.expect(count)
    ticks: list[asyncio.Task[Tick]] = []
    with Cost(count) as cost:
        response = await worker.receive_alert(func.HttpRequest(method="POST", url="/api/alerts", body=alert))
        if response.status_code != 202:
            raise RuntimeError(f"the alert was responded to by {response.status_code}: {response.get_body()!r}")
        ticks.append(asyncio.create_task(worker.poll()))
        await counter.reached()
    # The requests themselves are none of this row's: what their handling takes is measured by others.
    await asyncio.gather(*ticks)
    return cost


class Alone:
    """The same by the SDKs alone: send one message, receive it, list, read all, send a request for each, complete."""

    def __init__(self, at: Services, client: ServiceBusClient, session: aiohttp.ClientSession) -> None:
        self._at, self._session = at, session
        self._receiver = client.get_queue_receiver(REQUESTS, socket_timeout=0.01)
        self._alerts, self._sender = client.get_queue_sender(REQUESTS), client.get_queue_sender(OPERATIONS)

    async def open(self) -> None:
        await asyncio.gather(*(each.__aenter__() for each in (self._receiver, self._alerts, self._sender)))

    async def close(self) -> None:
        await asyncio.gather(*(each.close() for each in (self._receiver, self._alerts, self._sender)))

    async def cost(self, count: int) -> Cost:
        self._at.clear()
        self._at.reset()
        permits = asyncio.Semaphore(AT_ONCE)

        async def read(resource_id: str) -> ServiceBusMessage:
            async with permits:
                await self._get(f"{resource_id}/virtualMachines?$expand=instanceView&{VERSION}")
            body = json.dumps({"resourceId": resource_id, "instanceIds": ["0"]}).encode()
            return ServiceBusMessage(body, message_id=uuid.uuid4().hex)

        with Cost(count) as cost:
            await self._alerts.send_messages(ServiceBusMessage(b"{}", message_id=uuid.uuid4().hex))
            (message,) = await self._receiver.receive_messages(max_message_count=1, max_wait_time=10)
            ids = [each["id"] for each in (await self._get(LIST))["value"]]
            await self._sender.send_messages(await asyncio.gather(*map(read, ids)))
            await self._receiver.complete_message(message)
        if len(ids) != count:
            raise RuntimeError(f"{len(ids)} scale sets were listed, not {count}")
        return cost

    async def _get(self, path: str) -> Any:
        async with self._session.get(URL(f"{self._at.arm}{path}", encoded=True)) as response:
            response.raise_for_status()
            return await response.json(content_type=None)


async def row(options: Options, *, latency: str, where: str) -> Row:
    """`latency`: as of `services`; `where`: what the row says of it."""
    count = options.sized(SCALE_SETS)
    counter = Counter()
    with services(scale_sets=count, seconds=36_000, latency=latency) as at, counted(counter):
        worker = Worker(settings(at))
        async with (
            bare_session(settings(at).token_scope, calls=AT_ONCE) as session,
            ServiceBusClient.from_connection_string(at.bus) as client,
        ):
            alone = Alone(at, client, session)
            await alone.open()
            mine, other = await alternate(
                options.runs, lambda: _ours(at, worker, counter, count), lambda: alone.cost(count)
            )
            await alone.close()
        await worker.close()
    ours, theirs = (values(costs, lambda cost: cost.wall) for costs in (mine, other))
    return Row(
        name=f"an alert to its {count:,} requests, {where}",
        against="SDK: one message, a bare GET for each, one list",
        unit="s",
        ours=ours,
        theirs=theirs,
        required=Bound("at most", 1.25),
    )
