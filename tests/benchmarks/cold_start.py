"""Cold start: from a process's start until the functions are indexed, and until the first POST has left."""

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
TELL = "import time; print(time.monotonic())"

# What the host's worker does to index: import the app, and ask it for its functions.
INDEXED = f"""
import function_app
function_app.app.get_functions()
{TELL}
"""
BARE = f"{PACKAGES}\n{TELL}"

FIRST_POST = f"""
import asyncio, json, os, time
import azure.functions as func
import function_app
function_app.app.get_functions()
import httpx
from maintenance.contracts import Envelope
from maintenance.transport import AiohttpTransport
from maintenance import worker as workers
class Noting(AiohttpTransport):
    async def exchange(self, method, *others):
        answer = await super().exchange(method, *others)
        if method == "POST":
            {TELL}
        return answer
async def main():
    worker = workers.Worker(workers.read_settings(os.environ), transport=Noting())
    body = json.dumps({{"resourceId": os.environ["SCALE_SET"], "instanceIds": ["0"]}}).encode()
    await worker._handler.handle(Envelope(body=body, message_id=os.environ["REQUEST"]))
    os._exit(0)
asyncio.run(main())
"""

# The same calls without this project: the token, the scale set and its instances, the notices, and the POST.
BARE_POST = f"""
{PACKAGES}
import asyncio, os, time
async def main():
    client = azure.servicebus.aio.ServiceBusClient.from_connection_string(os.environ["ServiceBusConnection"])
    async def look():
        await client.get_queue_receiver("maintenance-coordination").peek_messages(250)
    credential = azure.identity.aio.ManagedIdentityCredential()
    url = os.environ["ARM_ENDPOINT"] + os.environ["SCALE_SET"]
    version = "api-version=2024-07-01"
    async with httpx.AsyncClient() as http:
        async def get(url):
            token = await credential.get_token("https://management.azure.com/.default")
            (await http.get(url, headers={{"Authorization": "Bearer " + token.token}})).raise_for_status()
        await asyncio.gather(
            look(), get(f"{{url}}/virtualMachines?$expand=instanceView&{{version}}")
        )
        token = await credential.get_token("https://management.azure.com/.default")
        headers = {{"Authorization": "Bearer " + token.token}}
        url = f"{{url}}/performMaintenance?{{version}}"
        answer = await http.post(url, headers=headers, json={{"instanceIds": ["0"]}})
        answer.raise_for_status()
        {TELL}
    os._exit(0)
asyncio.run(main())
"""


def _seconds_until_told(script: str, names: dict[str, str]) -> float:
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
    told: list[tuple[float, float]] = []
    for number in range(runs + 1):
        at.reset()
        mine = {**names, "SCALE_SET": scale_set(0).resource_id, "REQUEST": f"r{number}-{time.monotonic_ns()}"}
        other = {**mine, "SCALE_SET": scale_set(1).resource_id}
        pair = (
            await asyncio.to_thread(_seconds_until_told, ours, mine),
            await asyncio.to_thread(_seconds_until_told, theirs, other),
        )
        # The first of each read the modules from the disk.
        if number:
            told.append(pair)
    return tuple(mine for mine, _ in told), tuple(other for _, other in told)


async def rows(options: Options) -> list[Row]:
    # Starts are short and noisy: twice the runs.
    runs = options.runs if options.quick else options.runs * 2
    with services(scale_sets=2, seconds=3600) as at:
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
            name="from process start: the first POST answered",
            against="bare script, the same calls",
            unit="ms",
            ours=posted[0],
            theirs=posted[1],
            required=Bound("at most", 1.15),
        ),
    ]


def modules_indexed() -> list[str]:
    """The modules that are imported once the functions are indexed, by name."""
    script = "import sys, json, function_app; function_app.app.get_functions(); print(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True)
    names: list[str] = json.loads(run.stdout)
    return names
