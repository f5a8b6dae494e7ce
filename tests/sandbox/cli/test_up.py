"""`python -m sandbox up` as a process, used by nothing of this project: the public SDKs and a socket."""

import asyncio
import json
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

import httpx
import pytest
from azure.identity.aio import ManagedIdentityCredential
from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient, ServiceBusSender

from tests.support.limit import LIMIT

SUBSCRIPTION = "11111111-1111-4111-8111-111111111111"
ANY_PORTS = ("--servicebus-port", "0", "--arm-port", "0")


async def up(*arguments: str) -> Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sandbox", "up", *arguments), stdout=PIPE, stderr=PIPE
    )


async def test_json_mode_serves_the_public_sdks_until_it_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    async with asyncio.timeout(LIMIT):
        process = await up("--json", *ANY_PORTS)
        assert process.stdout is not None
        printed = json.loads(await process.stdout.readline())
        assert set(printed) == {"serviceBus", "arm", "environment"}
        environment = printed["environment"]
        assert environment["ServiceBusConnection"] == printed["serviceBus"]
        assert environment["ARM_ENDPOINT"] == printed["arm"]
        assert environment["MAINTENANCE_ALLOWED_SCOPES"] == f"/subscriptions/{SUBSCRIPTION}"

        async with ServiceBusClient.from_connection_string(printed["serviceBus"]) as client:

            async def send(sender: ServiceBusSender) -> None:
                async with sender:
                    await sender.send_messages(ServiceBusMessage("sent", message_id="m-1"))

            async with asyncio.TaskGroup() as group:
                group.create_task(send(client.get_topic_sender(environment["EVENTS_TOPIC"])))
                group.create_task(send(client.get_queue_sender(environment["REQUESTS_QUEUE"])))
                group.create_task(send(client.get_queue_sender(environment["OPERATIONS_QUEUE"])))
                async with client.get_subscription_receiver(environment["EVENTS_TOPIC"], "all-events") as receiver:
                    (event,) = await receiver.receive_messages(1, max_wait_time=LIMIT)
                    assert str(event) == "sent"
                    await receiver.complete_message(event)

        for name in ("IDENTITY_ENDPOINT", "IDENTITY_HEADER"):
            monkeypatch.setenv(name, environment[name])
        async with ManagedIdentityCredential() as credential:
            token = (await credential.get_token("https://management.azure.com/.default")).token
        url = (
            f"{printed['arm']}/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Compute/virtualMachineScaleSets"
            "?api-version=2024-07-01"
        )
        async with httpx.AsyncClient(timeout=LIMIT) as http:
            assert (await http.get(url)).status_code == 401
            response = await http.get(url, headers={"Authorization": f"Bearer {token}"})
        assert {each["name"] for each in response.json()["value"]} >= {"web", "api"}

        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
        assert (process.returncode, out, err) == (0, b"", b"")


async def test_plain_mode_leaves_a_file_that_shells_read(tmp_path: Path) -> None:
    file = tmp_path / "with a space" / "sandbox.env"
    async with asyncio.timeout(LIMIT):
        process = await up(*ANY_PORTS, "--env-file", str(file))
        assert process.stdout is not None
        lines = []
        while "Ctrl-C" not in (line := (await process.stdout.readline()).decode()):
            assert line, "it ended"
            lines.append(line)
        assert file.stat().st_mode & 0o777 == 0o600
        assert any("shop/web" in line and "6 of 6 instances can be maintained" in line for line in lines)
        # A shell reads it by the line that was printed.
        (command,) = [line.strip() for line in lines if line.startswith("  set -a; ")]
        shell = await asyncio.create_subprocess_exec(
            *("sh", "-c", f"{command}; exec printenv ServiceBusConnection"), stdout=PIPE
        )
        read = (await shell.communicate())[0].decode().strip()
        assert read.startswith("Endpoint=sb://127.0.0.1:")
        assert any(read in line for line in lines if line.startswith("Service Bus"))
        process.send_signal(signal.SIGTERM)
        await process.communicate()
        assert process.returncode == 0
    assert not file.exists()


async def test_traces_are_taken_where_they_are_asked_for_and_drawn_when_their_run_ends() -> None:
    span = {"traceId": "a" * 32, "spanId": "b" * 16, "name": "maintenance web", "endTimeUnixNano": "2000000000"}
    body = {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}
    async with asyncio.timeout(LIMIT):
        process = await up("--json", "--otlp", "0", *ANY_PORTS)
        assert process.stdout is not None
        printed = json.loads(await process.stdout.readline())
        endpoint = printed["environment"]["OTEL_EXPORTER_OTLP_ENDPOINT"]
        assert endpoint == printed["otlp"]
        async with httpx.AsyncClient(timeout=LIMIT) as http:
            assert (await http.post(f"{endpoint}/v1/traces", json=body)).status_code == 200
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()
    assert process.returncode == 0
    assert f"Trace {'a' * 32}, 2.0 s" in err.decode()


async def test_worker_in_the_same_terminal_is_killed_and_started_on_the_page_and_ends_with_it(tmp_path: Path) -> None:
    file = tmp_path / "sandbox.env"
    async with asyncio.timeout(LIMIT):
        process = await up(
            *("--worker", "--http-port", "0", "--json", "--page-port", "0", "--env-file", str(file)), *ANY_PORTS
        )
        assert process.stdout is not None
        assert process.stderr is not None
        address, token = json.loads(await process.stdout.readline())["page"].split("#")
        await _serves_http(process.stderr)
        async with httpx.AsyncClient(base_url=address, headers={"X-Sandbox-Token": token}, timeout=LIMIT) as page:
            for command in ("kill-worker", "start-worker"):
                response = await page.post("/do", json={"do": command})
                assert response.status_code == 200, response.text
        await _serves_http(process.stderr)
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()
    assert process.returncode == 0
    assert "Traceback" not in err.decode()


async def _serves_http(stderr: asyncio.StreamReader) -> None:
    lines: list[str] = []
    while "HTTP functions at " not in (line := (await stderr.readline()).decode()):
        assert line, "".join(lines)
        lines.append(line)


async def test_worker_that_cannot_start_ends_it_with_the_workers_exit_code(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        async with asyncio.timeout(LIMIT):
            file = str(tmp_path / "sandbox.env")
            process = await up("--worker", "--http-port", port, "--no-page", "--env-file", file, *ANY_PORTS)
            out, err = await process.communicate()
    assert process.returncode == 2
    assert b"Page" not in out
    assert b"in use" in err


async def test_page_is_where_it_was_asked_for_and_a_request_is_sent_from_a_shell(tmp_path: Path) -> None:
    file = tmp_path / "sandbox.env"
    async with asyncio.timeout(LIMIT):
        process = await up(*ANY_PORTS, "--page-port", "0", "--env-file", str(file))
        assert process.stdout is not None
        lines = []
        while "Ctrl-C" not in (line := (await process.stdout.readline()).decode()):
            assert line, "it ended"
            lines.append(line)
        (address,) = [line.split()[1] for line in lines if line.startswith("Page")]
        send = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sandbox", "send", "-", "--message-id", "mine", "--env-file", str(file)),
            stdin=PIPE,
            stdout=PIPE,
        )
        out, _ = await send.communicate(b'{"a": 1}')
        assert (send.returncode, out.decode()) == (0, "Sent to maintenance-requests: 8 bytes\n")
        async with httpx.AsyncClient(base_url=address.partition("#")[0], timeout=LIMIT) as page:
            listed = (await page.get("/messages", params={"entity": "maintenance-requests"})).json()
            schema = (await page.get("/documents/maintenance-request")).json()
        assert [each["id"] for each in listed["messages"]] == ["mine"]
        assert "vmScaleSetName" in schema["properties"]
        process.send_signal(signal.SIGTERM)
        await process.communicate()


async def test_send_without_a_sandbox_says_how_to_start_one(tmp_path: Path) -> None:
    send = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sandbox", "send", "-", "--env-file", str(tmp_path / "none")),
        stdin=PIPE,
        stderr=PIPE,
        env={},
    )
    _, err = await send.communicate(b"{}")
    assert send.returncode == 2
    assert b"sandbox up" in err


async def test_local_settings_of_core_tools_are_written_but_never_over_others(tmp_path: Path) -> None:
    ours, others = tmp_path / "ours.json", tmp_path / "others.json"
    others.write_text('{"Values": {"ServiceBusConnection__fullyQualifiedNamespace": "ours.servicebus.windows.net"}}')
    async with asyncio.timeout(LIMIT):
        process = await up("--json", *ANY_PORTS, "--local-settings", str(ours))
        assert process.stdout is not None
        environment = json.loads(await process.stdout.readline())["environment"]
        process.send_signal(signal.SIGINT)
        await process.communicate()
        process = await up("--json", *ANY_PORTS, "--local-settings", str(others))
        _, err = await process.communicate()
    values = json.loads(ours.read_text())["Values"]
    assert values["FUNCTIONS_WORKER_RUNTIME"] == "python"
    assert environment.items() <= values.items()
    assert process.returncode == 2
    assert err.decode() == f"{others} holds settings that are not the sandbox's; move it away first\n"


@pytest.mark.parametrize("option", ["--servicebus-port", "--arm-port"])
async def test_a_port_that_is_taken_is_named(option: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        async with asyncio.timeout(LIMIT):
            process = await up("--json", *ANY_PORTS, option, port)
            out, err = await process.communicate()
    assert (process.returncode, out) == (2, b"")
    assert f"port {port} is in use" in err.decode()
    assert option in err.decode()


async def test_a_topology_of_ones_own(tmp_path: Path) -> None:
    entities = {"Queues": [{"Name": "mine", "Properties": {"LockDuration": "PT2S"}}], "Topics": []}
    file = tmp_path / "topology.json"
    file.write_text(json.dumps({"UserConfig": {"Namespaces": [{"Name": "ns", **entities}]}}))
    async with asyncio.timeout(LIMIT):
        process = await up("--json", *ANY_PORTS, "--topology", str(file))
        assert process.stdout is not None
        printed = json.loads(await process.stdout.readline())
        async with (
            ServiceBusClient.from_connection_string(printed["serviceBus"]) as client,
            client.get_queue_sender("mine") as sender,
        ):
            await sender.send_messages(ServiceBusMessage("x"))
        process.send_signal(signal.SIGINT)
        await process.communicate()


async def test_a_topology_that_can_not_be_used(tmp_path: Path) -> None:
    async with asyncio.timeout(LIMIT):
        process = await up(*ANY_PORTS, "--topology", str(tmp_path / "none.json"), "--env-file", str(tmp_path / "x"))
        out, err = await process.communicate()
    assert (process.returncode, out) == (2, b"")
    assert "none.json" in err.decode()
    assert "Traceback" not in err.decode()
