"""Where every call takes time: ticks and requests, compared with the SDKs in the best known way, just as far away."""

from __future__ import annotations

from dataclasses import replace

from maintenance.worker import Worker
from tests.benchmarks import alerts
from tests.benchmarks.comparison import Bound, Cost, Options, Row, alternate, values
from tests.benchmarks.floor import Order
from tests.benchmarks.requests import LEAST, TimedTransport, all_posted, one_by_one
from tests.benchmarks.services import Process, services
from tests.benchmarks.tick import SCALE_SETS, floor_cost, tick_cost
from tests.benchmarks.workload import operation_urls, settings

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


async def _requests(options: Options) -> list[Row]:
    count = options.sized(WAITING)
    latency = f"servicebus={NEAR}ms,arm={ARM}ms"
    with services(scale_sets=count, seconds=36_000, latency=latency) as at:
        transport = TimedTransport(limit=80)
        worker = Worker(settings(at), transport=transport)

        mine, other = await all_posted(at, worker, transport, options, count=count, calls=CALLS)
        found = await one_by_one(at, worker, transport, options, count=ONE_BY_ONE)
        await worker.close()
    least = 2 * NEAR * (IN_SEQUENCE + DELIVERIES / 2) + 2 * ARM + ARM
    return [
        _wall(
            f"{count:,} requests waiting, {CALLS} at once, {NEAR} ms away, ARM {ARM}",
            LEAST,
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
