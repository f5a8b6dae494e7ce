"""Cold start: from the start of a process until the functions are indexed, and until the first POST has a response."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time

from tests.benchmarks.comparison import Bound, Options, Row
from tests.benchmarks.services import ROOT, Services, services
from tests.benchmarks.workload import environment, scale_set

PACKAGES = "import azure.functions, azure.identity.aio, azure.servicebus.aio, httpx"
PRINT_TIME = "import time; print(time.monotonic())"

# What the host's worker does to index: import the app and list its functions.
INDEXED = f"""
import function_app
function_app.app.get_functions()
{PRINT_TIME}
"""
BARE = f"{PACKAGES}\n{PRINT_TIME}"

FIRST_POST = f"""
import asyncio, json, os, time
import azure.functions as func
import function_app
function_app.app.get_functions()
import httpx
from maintenance.domain.messages import Envelope
from maintenance.arm.transport import AiohttpTransport
from maintenance import worker as workers
class TimedTransport(AiohttpTransport):
    async def exchange(self, method, *others):
        response = await super().exchange(method, *others)
        if method == "POST":
            {PRINT_TIME}
        return response
async def main():
    worker = workers.Worker(workers.read_settings(os.environ), transport=TimedTransport())
    body = json.dumps({{"resourceId": os.environ["SCALE_SET"], "instanceIds": ["0"]}}).encode()
    # As `Worker.receive` does with a message of the host's.
    worker.open_links()
    await worker._handler.handle(
        Envelope(body=body, message_id=os.environ["REQUEST"], sequence_number=time.monotonic_ns() % 2**40)
    )
    os._exit(0)
asyncio.run(main())
"""

# The same calls without this project: the token, the first record, the instances and the coordination queue, the lease,
# the leases again, the JUDGE record, the completion, and the POST.
BARE_POST = f"""
{PACKAGES}
import asyncio, os, time
from datetime import UTC, datetime, timedelta
from azure.servicebus import ServiceBusMessage
async def main():
    client = azure.servicebus.aio.ServiceBusClient.from_connection_string(os.environ["ServiceBusConnection"])
    coordination, operations = "maintenance-coordination", "maintenance-operations"
    entries, records = client.get_queue_receiver(coordination), client.get_queue_receiver(operations)
    leases, sender = client.get_queue_sender(coordination), client.get_queue_sender(operations)
    await asyncio.gather(*(each.__aenter__() for each in (entries, records, leases, sender)))
    later, message = datetime.now(UTC) + timedelta(minutes=10), ServiceBusMessage(b"{{}}")
    credential = azure.identity.aio.ManagedIdentityCredential()
    url = os.environ["ARM_ENDPOINT"] + os.environ["SCALE_SET"]
    version = "api-version=2024-07-01"
    async with httpx.AsyncClient() as http:
        async def get(url):
            token = await credential.get_token("https://management.azure.com/.default")
            (await http.get(url, headers={{"Authorization": "Bearer " + token.token}})).raise_for_status()
        await sender.send_messages(message)
        (record,) = await records.receive_messages(1)
        await asyncio.gather(
            entries.peek_messages(250), get(f"{{url}}/virtualMachines?$expand=instanceView&{{version}}")
        )
        await leases.schedule_messages(message, later)
        await entries.peek_messages(250)
        await sender.schedule_messages(message, later)
        await records.complete_message(record)
        token = await credential.get_token("https://management.azure.com/.default")
        headers = {{"Authorization": "Bearer " + token.token}}
        url = f"{{url}}/performMaintenance?{{version}}"
        response = await http.post(url, headers=headers, json={{"instanceIds": ["0"]}})
        response.raise_for_status()
        {PRINT_TIME}
    os._exit(0)
asyncio.run(main())
"""


def _milliseconds_until_printed(script: str, names: dict[str, str]) -> float:
    started = time.monotonic()
    run = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**os.environ, **names},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return (float(run.stdout.split()[-1]) - started) * 1000


async def _pairs(ours: str, theirs: str, at: Services, runs: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    names = environment(at)
    measured: list[tuple[float, float]] = []
    for number in range(runs + 1):
        at.reset()
        at.clear()
        mine = {**names, "SCALE_SET": scale_set(2 * number).resource_id, "REQUEST": f"r{number}-{time.monotonic_ns()}"}
        other = {**mine, "SCALE_SET": scale_set(2 * number + 1).resource_id}
        pair = (
            await asyncio.to_thread(_milliseconds_until_printed, ours, mine),
            await asyncio.to_thread(_milliseconds_until_printed, theirs, other),
        )
        # The first pair reads the modules from the disk.
        if number:
            measured.append(pair)
    return tuple(mine for mine, _ in measured), tuple(other for _, other in measured)


async def rows(options: Options) -> list[Row]:
    # Starts are short and noisy: twice the runs.
    runs = options.runs if options.quick else options.runs * 2
    # A scale set for each: the lease of a process that was ended stays. And a number, of which its run's id is made.
    with services(scale_sets=2 * (runs + 1), seconds=3600) as at:
        indexed = await _pairs(INDEXED, BARE, at, runs)
        posted = await _pairs(FIRST_POST, BARE_POST, at, runs)
    return [
        Row(
            name="from process start: functions indexed",
            against="bare script, the four packages imported",
            unit="ms",
            ours=indexed[0],
            theirs=indexed[1],
            required=Bound("at most", 1.15),
        ),
        Row(
            name="from process start: response to the first POST",
            against="bare script, the same calls",
            unit="ms",
            ours=posted[0],
            theirs=posted[1],
            required=Bound("at most", 1.15),
        ),
    ]


def modules_indexed() -> list[str]:
    """Names of the modules that indexing the functions imports."""
    script = "import sys, json, function_app; function_app.app.get_functions(); print(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True)
    names: list[str] = json.loads(run.stdout)
    return names
