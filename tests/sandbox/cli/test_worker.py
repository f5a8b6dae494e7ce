"""`python -m sandbox worker` as a process: how it starts, what it says, how it ends, what survives its death."""

import asyncio
import contextlib
import os
import signal
import sys
import textwrap
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient

from sandbox.servicebus import ServiceBus, Topology
from sandbox.servicebus.topology.topology import QueueDescription, QueueSettings
from tests.support.limit import LIMIT

APP = """
    import asyncio
    import logging

    import azure.functions as func

    app = func.FunctionApp(http_auth_level=func.AuthLevel.FUNCTION)

    @app.route("hello")
    async def hello(req: func.HttpRequest) -> str:
        return "here"

    @app.service_bus_queue_trigger("message", connection="Bus", queue_name="%QUEUE%", data_type=func.DataType.BINARY)
    async def receive(message: func.ServiceBusMessage) -> None:
        logging.info("handed over %d", message.delivery_count)
        if message.get_body() == b"stay" and message.delivery_count == 1:
            await asyncio.Event().wait()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "function_app.py").write_text(textwrap.dedent(APP))
    return tmp_path


@pytest.fixture
def bus() -> Iterator[ServiceBus]:
    queue = QueueDescription("work", QueueSettings(lock_duration=1_000))
    bus = ServiceBus(Topology(queues=(queue,)), port=0)
    bus.start()
    yield bus
    bus.close()


@contextlib.asynccontextmanager
async def worker(folder: Path, **settings: str) -> AsyncIterator[Process]:
    """The process, its stderr piped; killed at the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sandbox", "worker", "--app", str(folder), "--env-file", str(folder / "none")),
        stdout=DEVNULL,
        stderr=PIPE,
        env={"PATH": os.environ["PATH"], **settings},
    )
    try:
        async with asyncio.timeout(LIMIT):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def line_with(process: Process, text: str) -> str:
    """The next line on stderr that holds `text`; fails when the process ends before."""
    assert process.stderr is not None
    seen = []
    async for raw in process.stderr:
        seen.append(line := raw.decode())
        if text in line:
            return line
    raise AssertionError(f"it ended without saying {text!r}: {''.join(seen)}")


async def test_missing_settings_are_named(folder: Path) -> None:
    async with worker(folder) as process:
        _, printed = await process.communicate()
    assert process.returncode == 2
    assert "receive: connection names Bus, but neither" in printed.decode()
    assert "receive: queue_name names the setting QUEUE, which is missing" in printed.decode()
    assert "Traceback" not in printed.decode()


async def test_a_folder_without_an_app(tmp_path: Path) -> None:
    async with worker(tmp_path) as process:
        assert await line_with(process, "no function_app.py")
        assert await process.wait() == 2


async def test_it_serves_http_and_ends_in_order(folder: Path, bus: ServiceBus) -> None:
    settings = {"QUEUE": "work", "Bus": bus.connection_string, "SANDBOX_FUNCTION_KEY": "the-key"}
    async with worker(folder, **settings) as process:
        line = await line_with(process, "HTTP functions at ")
        endpoint = line.split(" at ")[1].split(",")[0]
        assert "key the-key" in line
        async with httpx.AsyncClient(base_url=endpoint) as client:
            assert (await client.get("/api/hello?code=the-key")).text == "here"
            assert (await client.get("/api/hello")).status_code == 401
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0


async def test_what_a_killed_worker_held_goes_to_another(folder: Path, bus: ServiceBus) -> None:
    settings = {"QUEUE": "work", "Bus": bus.connection_string}
    async with worker(folder, **settings) as first:
        async with (
            ServiceBusClient.from_connection_string(bus.connection_string) as client,
            client.get_queue_sender("work") as sender,
        ):
            await sender.send_messages(ServiceBusMessage("stay", message_id="m-1"))
        await line_with(first, "handed over 1")
        async with worker(folder, **settings) as second:
            first.kill()
            await line_with(second, "handed over 2")
            await line_with(second, "receive message m-1 succeeded")
            second.send_signal(signal.SIGINT)
            assert await second.wait() == 0


async def test_it_keeps_trying_while_the_namespace_is_not_there(folder: Path, bus: ServiceBus) -> None:
    bus.close()
    async with worker(folder, QUEUE="work", Bus=bus.connection_string) as process:
        assert "retry in" in await line_with(process, "receive can't listen to work: ServiceBusConnectionError")
        assert await line_with(process, "receive can't listen to work")
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
