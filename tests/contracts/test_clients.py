"""Clients of other teams on the sandbox with a worker: the Python client, azure-servicebus alone, Node.js."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TypeVar, cast

import pytest
from azure.servicebus import ServiceBusMessage, ServiceBusReceivedMessage

from contracts.event_schemas import cloud_event
from maintenance_client import MaintenanceClient, MaintenanceRequest, Rollout, ScaleSet, Window, aio
from maintenance_client.events import EndOf, MaintenanceEvent, read_event
from maintenance_client.messages import Messages
from sandbox.functions_host import FunctionsHost
from sandbox.message_schemas import CANCELLATION, REQUEST
from sandbox.resource_manager import InstanceSeed, ScaleSetSeed
from tests.support.contract import named
from tests.support.entities import SUBSCRIPTION
from tests.support.environment import request
from tests.support.limit import LIMIT
from tests.support.node_packages import installed
from tests.support.running import Running

ROOT = Path(__file__).parents[2]
WEB = ScaleSet("11111111-1111-4111-8111-111111111111", "shop", "web")
NOW = datetime(2026, 1, 31, tzinfo=UTC)
T = TypeVar("T")
# One that no test reads: an event that one reader completed, no other sees.
AUDIT = "maintenance-audit"
# Each test has an instance of its own: after a run its instances are left alone for the age of shared views, a minute.
with_worker = pytest.mark.asyncio(loop_scope="module")


async def while_polling(job: Running, work: Awaitable[T]) -> T:
    """Fire the worker's timer until the client has its answer."""
    task = asyncio.ensure_future(work)
    while not task.done():
        await job.worker.poll()
        await asyncio.wait([task], timeout=0.1)
    return task.result()


async def output(job: Running, *command: str | Path) -> str:
    """What a program prints, which exits with 0."""
    settings = {"SERVICEBUS_CONNECTION_STRING": job.environment.bus.connection_string, "PYTHONPATH": str(ROOT)}
    process = await asyncio.create_subprocess_exec(
        *command, env={**os.environ, **settings}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    printed, errors = await while_polling(job, process.communicate())
    assert process.returncode == 0, errors.decode()
    return printed.decode()


@with_worker
async def test_client_that_blocks_waits_for_the_end_of_its_request(job: Running) -> None:
    wanted = MaintenanceRequest(scale_set=WEB, instance_ids=("0",), reason="client")

    def use() -> MaintenanceEvent:
        with MaintenanceClient.from_connection_string(job.environment.bus.connection_string) as client:
            client.request(wanted)
            return client.wait_for(wanted.request_id, SUBSCRIPTION, timeout=LIMIT, pause=0.1)

    end = await while_polling(job, asyncio.to_thread(use))
    assert (end.kind, end.status, end.request_id) == ("completed", "Succeeded", wanted.request_id)
    assert [(each.instance_id, each.outcome) for each in end.instances] == [("0", "Completed")]


@with_worker
async def test_async_client_cancels_and_reads_the_answer_and_the_end(job: Running) -> None:
    later = MaintenanceRequest(scale_set=WEB, instance_ids=("3",), not_before=datetime.now(UTC) + timedelta(hours=1))

    async def use() -> tuple[MaintenanceEvent, list[MaintenanceEvent]]:
        async with aio.MaintenanceClient.from_connection_string(job.environment.bus.connection_string) as client:
            bad = MaintenanceRequest(scale_set=ScaleSet("no", "shop", "web"))
            await client.request(bad)
            own_id = await client.cancel(later.request_id, WEB, reason="wrong day")
            end = await client.wait_for(bad.request_id, SUBSCRIPTION, timeout=LIMIT, pause=0.1)
            seen = []
            async for event in client.events(SUBSCRIPTION, max_wait=LIMIT):
                seen.append(event)
                if event.request_id == own_id:
                    break
            return end, [event for event in seen if event.request_id == own_id]

    end, (answer,) = await while_polling(job, use())
    assert (end.kind, end.status, end.ends) == ("rejected", "Rejected", True)
    assert (answer.kind, answer.data["cancels"], answer.ends) == ("accepted", later.request_id, False)


@with_worker
@pytest.mark.parametrize(("program", "instance"), [("send_and_wait.py", "1"), ("send_and_wait_servicebus.py", "3")])
async def test_python_example_sends_a_request_and_prints_its_end(job: Running, program: str, instance: str) -> None:
    printed = await output(
        job, sys.executable, ROOT / "examples" / "python" / program, WEB.subscription_id, "shop", "web", instance
    )
    assert printed.splitlines()[0] == "completed Succeeded"


@with_worker
async def test_example_at_the_gates_lets_a_wave_go_once_it_has_drained_it(job: Running) -> None:
    job.environment.arm.seed(ScaleSetSeed(WEB.subscription_id, "shop", "gated", instances=(InstanceSeed("5"),)))
    request_id = await job.send(request("gated", instanceIds=["5"], rollout={"gate": "first"}))
    program = ROOT / "examples" / "python" / "open_gates.py"
    environment = {**os.environ, "EVENTS_SUBSCRIPTION": AUDIT, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    environment["SERVICEBUS_CONNECTION_STRING"] = job.environment.bus.connection_string
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, program, str(LIMIT)), env=environment, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        printed = await while_polling(job, process.stdout.readline())
        ended = await job.finish(request_id)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
    assert printed.decode().startswith("draining 5 of /subscriptions/")
    assert ended[request_id].status == "Succeeded"


@pytest.fixture(scope="module")
def node_example() -> str:
    """The Node.js example beside the one package that it needs."""
    directory = installed("node-example", "@azure/service-bus@7.9.5")
    return str(shutil.copy(ROOT / "examples" / "node" / "send-and-wait.mjs", directory))


@with_worker
async def test_node_example_sends_a_request_and_prints_its_completion(job: Running, node_example: str) -> None:
    printed = await output(job, "node", node_example, WEB.subscription_id, "shop", "web", "4")
    assert printed.splitlines() == ["vmss.maintenance.completed.v1 Succeeded", "4 Completed"]


def test_whatever_the_client_sends_is_what_the_schemas_say() -> None:
    wanted = MaintenanceRequest(
        scale_set=WEB,
        instance_ids=("0",),
        not_before=NOW,
        deadline=NOW + timedelta(hours=1),
        rollout=Rollout(
            max_instances_per_wave="20%",
            by_update_domain=True,
            pause_between_waves=timedelta(days=1, seconds=0.5),
            max_failed_instances=1,
            health_timeout=timedelta(minutes=5),
            gate="everyWave",
            gate_timeout=timedelta(minutes=30),
            at_gate_timeout="proceed",
        ),
        windows=(Window("0 22 * * SAT", timedelta(hours=6), "Europe/Berlin"),),
        ineligible="reject",
        dry_run=True,
        reason="größe",
    )
    document = wanted.to_document()
    named(REQUEST).validate(document)
    assert document["rollout"]["pauseBetweenWaves"] == "PT86400.5S"
    # Nothing that a request may say is missing from the client, but the other way to name a scale set.
    assert named(REQUEST).schema["properties"].keys() - document.keys() == {"resourceId"}
    assert named(REQUEST).schema["properties"]["rollout"]["properties"].keys() == document["rollout"].keys()
    named(REQUEST).validate(MaintenanceRequest(scale_set=WEB).to_document())
    cancellation = {"schemaVersion": 1, **WEB.to_document(), "cancel": "a", "reason": "b"}
    named(CANCELLATION).validate(cancellation)


def test_proceed_of_the_client_names_the_wave_of_the_event_that_it_answers() -> None:
    event = cloud_event("awaiting")
    body = json.dumps(event).encode()
    read = read_event(cast(ServiceBusReceivedMessage, ServiceBusMessage(body)))
    own_id, message = Messages(None)._proceed(read, "drained")
    document = json.loads(b"".join(message.body))
    named("maintenance-proceed").validate(document)
    assert (document["proceed"], document["wave"], document["vmScaleSetName"]) == (read.request_id, 1, "web")
    assert (message.message_id, own_id) == (own_id, f"proceed-{read.event_id}")


def test_request_for_no_instance_is_refused_before_it_is_sent() -> None:
    with pytest.raises(ValueError, match="at least one instance"):
        MaintenanceRequest(scale_set=WEB, instance_ids=())
    with pytest.raises(ValueError, match="time zone"):
        MaintenanceRequest(scale_set=WEB, deadline=datetime(2026, 1, 31))  # noqa: DTZ001 - the point of the test


def end_event(kind: str, run_id: str, *, minutes: int = 0, duplicate_of: str | None = None) -> MaintenanceEvent:
    return MaintenanceEvent(
        event_id=f"{run_id}:ended",
        type=f"vmss.maintenance.{kind}.v1",
        kind=kind,
        status="",
        request_id="r",
        run_id=run_id,
        time=NOW + timedelta(minutes=minutes),
        data={"duplicateOf": duplicate_of},
    )


def test_end_of_a_duplicate_is_the_end_of_the_run_that_it_names() -> None:
    end = EndOf("r", NOW)
    first = end_event("completed", "1", minutes=-1)
    assert end.take(first) is None
    assert end.take(end_event("duplicate", "2", minutes=1, duplicate_of="1")) is first


def test_end_of_an_earlier_request_with_the_same_id_is_passed_over() -> None:
    end = EndOf("r", NOW)
    assert end.take(end_event("completed", "1", minutes=-1)) is None
    second = end_event("completed", "2", minutes=1)
    assert end.take(second) is second


@with_worker
async def test_function_example_logs_the_end_of_a_request(job: Running, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    spec = importlib.util.spec_from_file_location("example_app", ROOT / "examples" / "function" / "function_app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    settings = {**job.environment.app_settings(), "EVENTS_SUBSCRIPTION": SUBSCRIPTION}
    async with FunctionsHost(module.app, environment=settings):
        request_id = await job.send(request(instanceIds=["6"]))
        line = f"Maintenance {request_id} of "
        while not any(line in record.getMessage() for record in caplog.records):
            await job.worker.poll()
            await asyncio.sleep(0.05)
    (message,) = (record.getMessage() for record in caplog.records if line in record.getMessage())
    assert message.endswith(": Succeeded, failed: []")


def test_curl_example_posts_a_valid_request_with_its_message_id() -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    calls: list[tuple[str, dict[str, str], bytes]] = []

    class Recorder(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            calls.append((self.path, dict(self.headers.items()), body))
            self.send_response(201)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Recorder) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        environment = {"PATH": os.environ["PATH"], "SERVICEBUS_URL": f"http://127.0.0.1:{server.server_port}"}
        command = ["sh", str(ROOT / "examples" / "curl" / "send.sh"), WEB.subscription_id, "shop", "web", "r-1", "0"]
        subprocess.run(command, env={**environment, "SERVICEBUS_TOKEN": "made-up"}, timeout=LIMIT, check=True)
        thread.join()
    ((path, headers, body),) = calls
    assert path == "/maintenance-requests/messages"
    assert headers["Authorization"] == "Bearer made-up"
    assert json.loads(headers["BrokerProperties"]) == {"MessageId": "r-1"}
    named(REQUEST).validate(json.loads(body))
