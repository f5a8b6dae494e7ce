"""ARM client: performMaintenance and one poll, 64 at a time, compared with azure-mgmt-compute doing the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from azure.core.pipeline import PipelineRequest
from azure.core.pipeline.policies import SansIOHTTPPolicy
from azure.identity import ManagedIdentityCredential as SyncIdentity
from azure.identity.aio import ManagedIdentityCredential
from azure.mgmt.compute import ComputeManagementClient as SyncComputeClient
from azure.mgmt.compute.aio import ComputeManagementClient
from azure.mgmt.core.polling.arm_polling import ARMPolling
from azure.mgmt.core.polling.async_arm_polling import AsyncARMPolling

from maintenance.arm.resource_manager import ResourceManager
from maintenance.domain.observations import Accepted
from maintenance.domain.operation import Call
from maintenance.worker import Worker, utc_now
from tests.benchmarks.comparison import Bound, Cost, Options, Row, alternate, values
from tests.benchmarks.services import GROUP, SUBSCRIPTION, Services, services
from tests.benchmarks.workload import scale_set, settings

CONCURRENCY = 64
OPERATIONS = 2_000
INSTANCES = ("0",)
SCOPES = ["https://management.azure.com/.default"]
BODY: Any = {"instanceIds": list(INSTANCES)}


class OverHttp(SansIOHTTPPolicy[Any, Any]):
    """Policy that lets azure-mgmt send its token over HTTP, since loopback has no certificate."""

    def on_request(self, request: PipelineRequest[Any]) -> None:
        request.context.options["enforce_https"] = False


class PollOnce(ARMPolling):
    """Polling method that reads the operation once, whatever its status."""

    def run(self) -> None:
        self.update_status()


class PollOnceAsync(AsyncARMPolling):
    """Polling method that reads the operation once, whatever its status."""

    async def run(self) -> None:
        await self.update_status()


async def at_once(count: int, work: Callable[[int], Awaitable[object]]) -> Cost:
    """Do `work` for each number below `count`, 64 at a time."""
    numbers = iter(range(count))

    async def lane() -> None:
        for number in numbers:
            await work(number)

    with Cost(count) as cost:
        async with asyncio.TaskGroup() as group:
            for _ in range(CONCURRENCY):
                group.create_task(lane())
    return cost


@asynccontextmanager
async def compute_client(at: Services) -> AsyncIterator[ComputeManagementClient]:
    """azure-mgmt-compute's asynchronous client on these services."""
    credential = ManagedIdentityCredential()
    client = ComputeManagementClient(
        credential,
        SUBSCRIPTION,
        base_url=at.arm,
        credential_scopes=SCOPES,
        polling_interval=0,
        per_call_policies=[OverHttp()],
    )
    async with credential, client:
        yield client


async def ours(at: Services, manager: ResourceManager, count: int) -> Cost:
    async def submit_and_poll(number: int) -> None:
        accepted = await manager.perform_maintenance(scale_set(number), INSTANCES)
        assert isinstance(accepted, Accepted)
        await manager.read_operation(scale_set(number), Call(INSTANCES, accepted.url, accepted.kind))

    return await _counted(at, count, at_once(count, submit_and_poll))


async def theirs(at: Services, client: ComputeManagementClient, count: int) -> Cost:
    async def submit_and_poll(number: int) -> None:
        poller = await client.virtual_machine_scale_sets.begin_perform_maintenance(
            GROUP, f"set{number}", BODY, polling=PollOnceAsync(0)
        )
        await poller.wait()

    return await _counted(at, count, at_once(count, submit_and_poll))


async def theirs_in_threads(at: Services, client: SyncComputeClient, count: int) -> Cost:
    def submit_and_poll(number: int) -> None:
        poller = client.virtual_machine_scale_sets.begin_perform_maintenance(
            GROUP, f"set{number}", BODY, polling=PollOnce(0)
        )
        poller.wait()

    def all_of_them() -> Cost:
        with ThreadPoolExecutor(CONCURRENCY) as threads, Cost(count) as cost:
            list(threads.map(submit_and_poll, range(count)))
        return cost

    return await _counted(at, count, asyncio.to_thread(all_of_them))


async def _counted(at: Services, count: int, work: Awaitable[Cost]) -> Cost:
    """Check that a side makes the expected calls: one POST and one GET for each operation."""
    at.reset()
    cost = await work
    if at.calls() != 2 * count:
        raise RuntimeError(f"{at.calls()} calls were made for {count} operations")
    return cost


async def rows(options: Options) -> list[Row]:
    count = options.sized(OPERATIONS)
    with services(scale_sets=count, seconds=3600) as at:
        worker = Worker(settings(at))
        manager = ResourceManager(worker.arm_client, endpoint=at.arm, now=utc_now)
        threaded = SyncComputeClient(
            SyncIdentity(),
            SUBSCRIPTION,
            base_url=at.arm,
            credential_scopes=SCOPES,
            polling_interval=0,
            per_call_policies=[OverHttp()],
        )
        async with compute_client(at) as client:
            mine, other, sync = await alternate(
                options.runs,
                lambda: ours(at, manager, count),
                lambda: theirs(at, client, count),
                lambda: theirs_in_threads(at, threaded, count),
            )
        await worker.close()
    name = "POST + one poll, 64 at a time"
    rate = values(mine, lambda cost: cost.per_second)
    return [
        Row(
            name=name,
            against="azure-mgmt-compute aio",
            unit="ops/s",
            ours=rate,
            theirs=values(other, lambda cost: cost.per_second),
            required=Bound("at least", 3),
        ),
        Row(
            name=name,
            against="azure-mgmt-compute, 64 threads",
            unit="ops/s",
            ours=rate,
            theirs=values(sync, lambda cost: cost.per_second),
            required=Bound("at least", 5),
        ),
        Row(
            name=name,
            against="azure-mgmt-compute aio",
            unit="CPU ms/op",
            ours=values(mine, lambda cost: cost.cpu_each),
            theirs=values(other, lambda cost: cost.cpu_each),
            required=Bound("at most", 1 / 3),
        ),
    ]
