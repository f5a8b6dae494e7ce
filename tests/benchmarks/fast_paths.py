"""What each fast path spares, against the plain path that it equals: tests hold that they come to the same.

All in processor time for one operation that is polled, so that each can be held against that of a tick.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx
from azure.servicebus import ServiceBusMessageBatch

from maintenance.arm.client import ArmClient
from maintenance.arm.transport import AiohttpTransport
from maintenance.domain.operation import Operation
from maintenance.operations.records import read_record, to_record
from maintenance.servicebus.messages import to_message
from maintenance.servicebus.sender import add
from maintenance.settings import Settings
from maintenance.worker import Worker
from tests.benchmarks.arm_client import CONCURRENCY, at_once
from tests.benchmarks.comparison import Cost, Options, Row, alternate, values
from tests.benchmarks.floor import one_token
from tests.benchmarks.services import services
from tests.benchmarks.workload import operation_urls, scale_set, settings, tracked

TIMES = 20_000
CALLS = 4_000


class ByHttpx(httpx.AsyncBaseTransport):
    """The worker's transport as any other of httpx's: each call has objects of httpx."""

    def __init__(self, transport: AiohttpTransport) -> None:
        self._transport = transport

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self._transport.handle_async_request(request)

    async def aclose(self) -> None:
        await self._transport.aclose()


async def rows(options: Options) -> list[Row]:
    with services(instances=2, seconds=36_000) as at:
        worker = Worker(settings(at))
        (url,) = await operation_urls(worker.arm_client, at.arm, 1)
        found = [
            await _written(options, url),
            await _made(options, url),
            await _called(options, url, settings(at)),
        ]
        await worker.close()
    return found


def _read(url: str) -> Operation:
    """An operation in progress, as it is read from its record."""
    return read_record(to_record(tracked("bench", scale_set(0), url), None).body)


async def _written(options: Options, url: str) -> Row:
    operation = _read(url)

    def again() -> None:
        to_record(operation.with_next_number(), None)

    def anew() -> None:
        to_record(replace(operation, number=operation.number + 1), None)

    return await _row(options, "a record of which only the number changes", "written anew", again, anew)


async def _made(options: Options, url: str) -> Row:
    due = datetime.now(UTC) + timedelta(minutes=1)
    record = to_record(_read(url), due)

    def batch() -> ServiceBusMessageBatch:
        made = ServiceBusMessageBatch(max_size_in_bytes=1 << 40)
        made.add_message(to_message(record))
        return made

    mine, other = batch(), batch()

    def ours() -> None:
        add(mine, record)

    def theirs() -> None:
        other.add_message(to_message(record))

    return await _row(options, "a record added to a batch", "ServiceBusMessage, added by the SDK", ours, theirs)


async def _row(options: Options, name: str, against: str, ours: Callable[[], None], theirs: Callable[[], None]) -> Row:
    count = options.sized(TIMES)
    return _compared(name, against, *await alternate(options.runs, _repeated(ours, count), _repeated(theirs, count)))


def _repeated(work: Callable[[], None], count: int) -> Callable[[], Awaitable[Cost]]:
    async def cost() -> Cost:
        with Cost(count) as measured:
            for _ in range(count):
                work()
        return measured

    return cost


class OneToken:
    """Authorises calls with a token that was fetched once."""

    def __init__(self, token: str) -> None:
        self._token = token

    async def token(self) -> str:
        return self._token

    def invalidate(self, token: str) -> None: ...


async def _called(options: Options, url: str, at: Settings) -> Row:
    count = options.sized(CALLS)
    token = OneToken(await one_token(at.token_scope))
    plain, by_httpx = (
        ArmClient(transport, token, endpoint=at.arm_endpoint)
        for transport in (AiohttpTransport(), ByHttpx(AiohttpTransport()))
    )

    async def ours(_: int) -> None:
        await plain.send("GET", url)

    async def theirs(_: int) -> None:
        await by_httpx.send("GET", url)

    mine, other = await alternate(options.runs, lambda: at_once(count, ours), lambda: at_once(count, theirs))
    await plain.aclose()
    await by_httpx.aclose()
    return _compared(f"a GET, {CONCURRENCY} at once", "the same with httpx's objects", mine, other)


def _compared(name: str, against: str, mine: list[Cost], other: list[Cost]) -> Row:
    ours, theirs = (values(costs, lambda cost: cost.cpu_each * 1000) for costs in (mine, other))
    return Row(name=name, against=against, unit="CPU µs", ours=ours, theirs=theirs)
