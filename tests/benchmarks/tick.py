"""Tick: operations due at once are read and rescheduled, compared with the SDK alone moving the messages."""

from __future__ import annotations

from dataclasses import replace

from azure.mgmt.compute.aio import ComputeManagementClient
from azure.mgmt.core.polling.async_arm_polling import AsyncARMPolling

from maintenance.worker import Worker
from tests.benchmarks.arm_client import BODY, at_once, compute_client
from tests.benchmarks.comparison import Bound, Cost, Options, Row, alternate, values
from tests.benchmarks.floor import QUEUE, Order, ordered
from tests.benchmarks.services import GROUP, Process, Services, services
from tests.benchmarks.workload import OPERATIONS, fill, operation_urls, settings, under_way

DUE = 10_000
SCALE_SETS = 100


async def tick_cost(at: Services, worker: Worker, urls: list[str], count: int, invocation: str | None = None) -> Cost:
    at.clear()
    await fill(at, OPERATIONS, under_way(urls, count))
    with Cost(count) as cost:
        persisted = 0
        while persisted < count:
            persisted += (await worker.poll(invocation)).persisted
    if persisted != count:
        raise RuntimeError(f"{count} operations were due, and {persisted} were persisted")
    return cost


class PollOnceMore(AsyncARMPolling):
    """Polling method: the SDK's own loop of waiting and polling, ended after a number of polls."""

    left = 0

    def finished(self) -> bool:
        self.left -= 1
        return self.left < 0


async def pollers_cost(client: ComputeManagementClient, pollers: list[PollOnceMore], count: int) -> Cost:
    """Cost of azure-mgmt-compute with its pollers in memory, 64 at a time, each with its share of the polls."""
    if not pollers:
        for number in range(SCALE_SETS):
            method = PollOnceMore(0)
            await client.virtual_machine_scale_sets.begin_perform_maintenance(
                GROUP, f"set{number}", BODY, polling=method
            )
            pollers.append(method)
    share = count // SCALE_SETS

    async def poll(number: int) -> None:
        # At the end the SDK reads the final state with one more call.
        pollers[number].left = share - 1
        await pollers[number].run()

    cost = await at_once(SCALE_SETS, poll)
    return replace(cost, count=share * SCALE_SETS)


async def floor_cost(at: Services, floor: Process, urls: list[str], order: Order) -> Cost:
    at.clear()
    await fill(at, QUEUE, under_way(urls, order.count))
    return await ordered(floor, order)


async def rows(options: Options) -> list[Row]:
    count = options.sized(DUE)
    # Two instances: one for our operations, one for those of azure-mgmt-compute.
    with services(scale_sets=SCALE_SETS, instances=2, seconds=3600) as at:
        worker, floor = Worker(settings(at)), Process("tests.benchmarks.floor", at.bus)
        urls = await operation_urls(worker.arm_client, at.arm, SCALE_SETS)
        pollers: list[PollOnceMore] = []
        alone = Order(count)
        spared = replace(alone, spared=True)
        reading = replace(spared, scope=settings(at).token_scope)
        async with compute_client(at) as client:
            mine, other, tuned, least, memory = await alternate(
                options.runs,
                lambda: tick_cost(at, worker, urls, count),
                lambda: floor_cost(at, floor, urls, alone),
                lambda: floor_cost(at, floor, urls, spared),
                lambda: floor_cost(at, floor, urls, reading),
                lambda: pollers_cost(client, pollers, count),
            )
        floor.close()
        await worker.close()
    walls = [
        Row(
            name=f"a tick with {count:,} operations due",
            against=against,
            unit="s",
            ours=values(mine, lambda cost: cost.wall),
            theirs=values(theirs, lambda cost: cost.wall),
            required=required,
        )
        for against, theirs, required in (
            ("SDK alone: receive, send, complete", other, None),
            ("SDK alone, collector spared as ours", tuned, None),
            ("that, and a GET in bare aiohttp for each", least, Bound("at most", 1.15)),
        )
    ]
    return [
        *walls,
        Row(
            name="the same: processor time of the client",
            against="SDK alone: receive, send, complete",
            unit="CPU ms/op",
            ours=values(mine, lambda cost: cost.cpu_each),
            theirs=values(other, lambda cost: cost.cpu_each),
        ),
        Row(
            name="polls, persisted in Service Bus",
            against="azure-mgmt-compute aio, in memory",
            unit="polls/CPU s",
            ours=values(mine, lambda cost: cost.count / cost.cpu),
            theirs=values(memory, lambda cost: cost.count / cost.cpu),
            required=Bound("at least", 1),
        ),
    ]
