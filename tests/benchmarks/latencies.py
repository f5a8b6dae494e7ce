"""Where every call takes time: ticks and requests, compared with the SDKs in the best known way, just as far away."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import aiohttp
from azure.servicebus import ServiceBusMessage, ServiceBusReceivedMessage
from yarl import URL

from maintenance.operations.units import Tick
from maintenance.worker import Worker
from sandbox.functions_host.listeners.conversion import service_bus_message
from tests.benchmarks import alerts
from tests.benchmarks.comparison import Bound, Cost, Options, Row, alternate, values
from tests.benchmarks.floor import Order, bare_session
from tests.benchmarks.requests import Pumps, TimedTransport, one_by_one, take_all
from tests.benchmarks.services import Process, Services, services
from tests.benchmarks.tick import SCALE_SETS, floor_cost, tick_cost
from tests.benchmarks.workload import operation_urls, scale_set, settings

# Milliseconds of each direction: within a region, and from one to another.
NEAR, FAR = 5, 20
# Of Resource Manager, which is slower than its network.
ARM = 40
DUE = 2_000
WAITING, CALLS = 500, 16
ONE_BY_ONE = 20
# Round trips to Service Bus between a request's first record and its POST, one after the other; tests/integration/
# test_counts.py holds them. Being delivered takes half of one: the request, and the two records.
IN_SEQUENCE, DELIVERIES = 12, 3


def _both(milliseconds: int) -> str:
    return f"servicebus={milliseconds}ms,arm={milliseconds}ms"


async def rows(options: Options) -> list[Row]:
    found = [await _tick(options, milliseconds) for milliseconds in (NEAR, FAR)]
    alert = await alerts.row(options, latency=f"servicebus={NEAR}ms,arm={ARM}ms", where=f"{NEAR} ms away, ARM {ARM}")
    return [*found, *await _requests(options), alert]


async def _tick(options: Options, milliseconds: int) -> Row:
    count = options.sized(DUE)
    with services(scale_sets=SCALE_SETS, instances=2, seconds=36_000, latency=_both(milliseconds)) as at:
        worker, floor = Worker(settings(at)), Process("tests.benchmarks.floor", at.bus)
        urls = await operation_urls(worker.arm_client, at.arm, SCALE_SETS)
        order = Order(count, spared=True, scope=settings(at).token_scope, together=True)
        mine, other = await alternate(
            options.runs,
            lambda: tick_cost(at, worker, urls, count),
            lambda: floor_cost(at, floor, urls, order),
        )
        floor.close()
        await worker.close()
    name = f"a tick with {count:,} operations due, {milliseconds} ms away"
    return _wall(name, "SDK and a bare GET for each, completed together", mine, other)


def _wall(name: str, against: str, mine: list[Cost], other: list[Cost]) -> Row:
    ours, theirs = (values(costs, lambda cost: cost.wall) for costs in (mine, other))
    return Row(name=name, against=against, unit="s", ours=ours, theirs=theirs, required=Bound("at most", 1.25))


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


async def _requests(options: Options) -> list[Row]:
    count = options.sized(WAITING)
    latency = f"servicebus={NEAR}ms,arm={ARM}ms"
    with services(scale_sets=count, seconds=36_000, latency=latency) as at:
        transport = TimedTransport(limit=80)
        worker = Worker(settings(at), transport=transport)

        async def handle(message: ServiceBusReceivedMessage, _: int) -> None:
            await worker.receive(service_bus_message(message, binary=True))

        ticks: list[asyncio.Task[Tick]] = []

        async def posted() -> None:
            """The last POST was made, wherever: a handler leaves as soon as its own record was dealt with."""
            await asyncio.gather(*ticks)
            all_posted = transport.posts + count
            while transport.posts < all_posted:
                if pumps.done and all(tick.done() for tick in ticks):
                    ticks.append(asyncio.create_task(worker.poll()))
                await asyncio.sleep(0.02)

        pumps = Pumps(at, CALLS)
        await pumps.open()
        async with bare_session(settings(at).token_scope, calls=80) as session:
            alone = Alone(at, pumps, session)
            mine, other = await alternate(
                options.runs,
                lambda: take_all(at, pumps, handle, count, until=posted),
                lambda: take_all(at, pumps, alone.handle, count),
            )
        await pumps.close()
        await asyncio.gather(*ticks)
        found = await one_by_one(at, worker, transport, handle, options, count=ONE_BY_ONE)
        await worker.close()
    least = 2 * NEAR * (IN_SEQUENCE + DELIVERIES / 2) + 2 * ARM + ARM
    return [
        _wall(
            f"{count:,} requests waiting, {CALLS} at once, {NEAR} ms away, ARM {ARM}",
            "SDK, a bare GET and POST and a record for each",
            mine,
            other,
        ),
        *(
            replace(
                row,
                name=f"{row.name}, {NEAR} ms away, ARM {ARM}",
                against="the sum of the round trips in sequence",
                theirs=tuple(float(least) for _ in row.ours),
                required=Bound("at most", 1.2) if "p50" in row.name else None,
            )
            for row in found
        ),
    ]
