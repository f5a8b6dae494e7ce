"""`python -m sandbox demo`: the main job, live, on the embedded sandbox."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver
from rich.console import Console

from sandbox.cli.commands import INTERRUPTED
from sandbox.cli.demo import alert_act, waits_act
from sandbox.cli.demo.console import DemoConsole
from sandbox.cli.demo.scale_sets import seed_alerted, seed_rollouts, seed_waiting
from sandbox.cli.environment import worker_environment
from sandbox.cli.environment_file import PROJECT
from sandbox.cli.page import open_page
from sandbox.cli.shutdown import close_app
from sandbox.functions_host import FunctionsHost, load_app, read_host_json
from sandbox.managed_identity import ManagedIdentity
from sandbox.message_schemas import MessageSchemas
from sandbox.otlp import OtlpReceiver
from sandbox.otlp.waterfall import draw
from sandbox.resource_manager import (
    EXAMPLE_RESOURCE_GROUP,
    EXAMPLE_SUBSCRIPTION_ID,
    ResourceManager,
    seed_example,
)
from sandbox.servicebus import BusEvent, MessageSent, ServiceBus, Topology

PATIENCE = 60.0
# The request whose trace is drawn at the end, and the trace that its sender began.
TRACED = "rolling"
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE_ID}-00f067aa0ba902b7-01"
SHOWN = ("web", "api", "fleet", "fragile", "checkout", "search", "inbound", "outbound", "archive")
NEXT = """\
Next: docs/getting-started.md  send a request of your own
      docs/is-this-for-me.md   what it does, what it does not do, what it costs
      make test                every check and test"""
# Maintenance takes minutes to hours in Azure and seconds here; the worker's pauses shrink with it.
PACE = {
    "POLL_SCHEDULE": "* * * * * *",
    "MAINTENANCE_MIN_POLL_INTERVAL": "PT1S",
    "MAINTENANCE_DEFAULT_POLL_INTERVAL": "PT1S",
    "MAINTENANCE_RECEIVE_WAIT": "PT0.3S",
}


@dataclass(frozen=True, slots=True)
class Act:
    """Requests sent together, and how each must end: the kind and status of its last event."""

    title: str
    requests: Mapping[str, bytes]
    expected: Mapping[str, tuple[str, str]]


def request(scale_set: str, **fields: Any) -> bytes:
    """A request for a scale set of the example environment."""
    names = {"subscriptionId": EXAMPLE_SUBSCRIPTION_ID, "resourceGroupName": EXAMPLE_RESOURCE_GROUP}
    return json.dumps({**names, "vmScaleSetName": scale_set, **fields}).encode()


ACTS = (
    Act(
        "Two instances, a whole scale set, and a misspelt field",
        {
            "two-instances": request("web", instanceIds=["0", "3"], reason="planned host maintenance"),
            "whole-scale-set": request("api"),
            "misspelt": request("web", instanceIDs=["1"]),
        },
        {
            "two-instances": ("completed", "Succeeded"),
            "whole-scale-set": ("completed", "Succeeded"),
            "misspelt": ("rejected", "Rejected"),
        },
    ),
    Act(
        "Twelve instances, one update domain at a time; and twelve of which one fails",
        {
            "rolling": request("fleet", rollout={"byUpdateDomain": True}),
            "rolling-to-a-failure": request("fragile", rollout={"byUpdateDomain": True}),
        },
        {
            "rolling": ("completed", "Succeeded"),
            "rolling-to-a-failure": ("completed", "PartiallySucceeded"),
        },
    ),
)


def main(arguments: argparse.Namespace) -> int:
    """Run the demo; 0 only if every expected event arrived."""
    logging.disable(logging.WARNING)
    return asyncio.run(_run(Console(), arguments))


async def _run(terminal: Console, arguments: argparse.Namespace) -> int:
    with ExitStack() as stack:
        identity = stack.enter_context(ManagedIdentity())
        duration = timedelta(seconds=3)
        arm = stack.enter_context(ResourceManager(tokens=identity.accepts, duration=duration))
        seed_example(arm, duration=duration)
        seed_rollouts(arm)
        seed_waiting(arm)
        seed_alerted(arm, duration=timedelta(seconds=0.8))
        otlp = stack.enter_context(OtlpReceiver())
        bus = stack.enter_context(ServiceBus(Topology.read(PROJECT / "infra" / "topology.json")))
        environment = worker_environment(
            servicebus=bus.connection_string,
            arm_endpoint=arm.endpoint,
            identity=identity.environment,
            function_key="demo",
        )
        host: FunctionsHost
        try:
            page = open_page(
                bus,
                arm,
                port=arguments.page_port,
                worker_endpoint=lambda: host.http_endpoint or "",
                function_key=lambda: host.function_key,
                traces=otlp.telemetry.trace,
            )
        except OSError as error:
            print(
                f"no page on port {arguments.page_port}: {error.strerror}; choose another --page-port", file=sys.stderr
            )
            return 2
        stack.callback(page.close)
        # The functions read their settings as in Azure: from the environment of their process.
        os.environ.update(environment | PACE | {"OTEL_EXPORTER_OTLP_ENDPOINT": otlp.endpoint})
        console = DemoConsole(terminal, [each for each in arm.scale_sets if each.name in SHOWN])
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, _interrupt, console)
        arm.observers.append(console.on_event)
        results: dict[str, tuple[str, str]] = {}
        published: list[bytes] = []
        bus.observers.add(lambda event: _note_published(event, published))
        client = ServiceBusClient.from_connection_string(bus.connection_string)
        host = FunctionsHost(load_app(PROJECT), environment=os.environ, host_json=read_host_json(PROJECT))
        async with client, client.get_subscription_receiver("maintenance-events", "all-events") as receiver, host:
            with console:
                for act in ACTS:
                    console.act(act.title)
                    if act is ACTS[0]:
                        terminal.print(f"See it move: {page.address}", highlight=False, soft_wrap=True)
                    await _send(client, act, console)
                    await _listen(receiver, act, results, console)
                rows = await waits_act.play(client, receiver, console)
                rows += await alert_act.play(host.http_endpoint or "", host.function_key, arm, receiver, console)
            rows = [*_rows_of_acts(results), *rows, *_rows_of_schemas(published, results)]
            if arguments.stay:
                console.summary(rows)
                _draw_trace(terminal, otlp)
                await _stay(terminal, page.address)
        await close_app()
    if not arguments.stay:
        console.summary(rows)
        _draw_trace(terminal, otlp)
        terminal.print(NEXT, highlight=False)
    return 0 if all(right for *_, right in rows) else 1


def _draw_trace(terminal: Console, otlp: OtlpReceiver) -> None:
    terminal.print(f"\nThe request {TRACED}, as the worker's telemetry shows it:")
    draw(terminal, otlp.telemetry.trace(TRACE_ID))


async def _stay(terminal: Console, address: str) -> None:
    """Until Ctrl-C, which ends all in order now."""
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    terminal.print(f"Everything stays up. Page: {address}\nCtrl-C ends it.", highlight=False, soft_wrap=True)
    await stopped.wait()


def _interrupt(console: DemoConsole) -> None:
    """End at once. All services are threads of this process, so nobody is left that would wait for its end."""
    console.interrupted()
    os._exit(INTERRUPTED)


async def _send(client: ServiceBusClient, act: Act, console: DemoConsole) -> None:
    async with client.get_queue_sender("maintenance-requests") as sender:
        for request_id, body in act.requests.items():
            message = ServiceBusMessage(body, message_id=request_id)
            if request_id == TRACED:
                message.application_properties = {"traceparent": TRACEPARENT}
            await sender.send_messages(message)
            console.sent(request_id, body)


async def _listen(
    receiver: ServiceBusReceiver, act: Act, results: dict[str, tuple[str, str]], console: DemoConsole
) -> None:
    """Receive events until every request of the act has ended, or the time is up."""
    loop = asyncio.get_running_loop()
    give_up = loop.time() + PATIENCE
    while loop.time() < give_up and not all(request_id in results for request_id in act.expected):
        for message in await receiver.receive_messages(max_message_count=20, max_wait_time=2):
            document = json.loads(b"".join(message.body))
            console.event(document)
            kind = document["type"].split(".")[-2]
            if kind in ("completed", "rejected"):
                results[document["data"]["requestId"]] = (kind, document["data"]["status"])
            await receiver.complete_message(message)


def _rows_of_acts(results: Mapping[str, tuple[str, str]]) -> list[tuple[str, str, str, bool]]:
    return [_row(request_id, expected, results) for act in ACTS for request_id, expected in act.expected.items()]


def _row(
    request_id: str, expected: tuple[str, str], results: Mapping[str, tuple[str, str]]
) -> tuple[str, str, str, bool]:
    came: Sequence[str] = results.get(request_id, ("nothing",))
    return request_id, ": ".join(expected), ": ".join(came), tuple(came) == expected


def _note_published(event: BusEvent, published: list[bytes]) -> None:
    if isinstance(event, MessageSent) and event.entity.startswith("maintenance-events/"):
        published.append(event.body)


def _rows_of_schemas(
    published: Sequence[bytes], results: Mapping[str, tuple[str, str]]
) -> list[tuple[str, str, str, bool]]:
    """Whether a stranger, who has the JSON Schemas alone, judges events and requests as the worker does."""
    schemas = MessageSchemas(PROJECT / "contracts" / "schemas")
    problems = [problem for body in published if (problem := schemas.problem_of_event(body)) is not None]
    requests = {request_id: body for act in ACTS for request_id, body in act.requests.items()}
    judged_otherwise = [
        request_id
        for request_id, body in requests.items()
        if schemas.takes_request(body) == (results.get(request_id, ("nothing",))[0] == "rejected")
    ]
    whole = f"all {len(published)} valid"
    same = f"all {len(requests)} as the worker"
    came = whole if not problems else f"{len(problems)} invalid: {problems[0]}"
    return [
        ("events, by their dataschema", whole, came, bool(published) and not problems),
        ("requests, by their schema", same, ", ".join(judged_otherwise) or same, not judged_otherwise),
    ]
