"""`python -m sandbox up`: the sandbox's services, up until Ctrl-C, and a worker beside them where it is asked for."""

from __future__ import annotations

import argparse
import json
import secrets
import shlex
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from rich.console import Console

from sandbox.cli.demo.scale_sets import seed_alerted
from sandbox.cli.environment import FUNCTION_KEY, worker_environment
from sandbox.cli.environment_file import FileInTheWayError, write_environment, write_local_settings
from sandbox.cli.page import open_page
from sandbox.cli.worker_process import WorkerProcess
from sandbox.latency import NONE
from sandbox.managed_identity import ManagedIdentity
from sandbox.resource_manager import ResourceManager, ScaleSetSeed, seed_example
from sandbox.servicebus import ServiceBus, Topology, TopologyError

if TYPE_CHECKING:
    from sandbox.otlp import OtlpReceiver


@dataclass(frozen=True, slots=True)
class _Services:
    """What was started; `environment` is what a worker needs to use it."""

    servicebus: str
    arm: str
    otlp: str | None
    environment: dict[str, str]
    scale_sets: list[ScaleSetSeed]
    page: str | None


class _StartError(Exception):
    """A service could not be started; the text says what to do."""


def main(arguments: argparse.Namespace) -> int:
    """Start, say where everything is, wait for SIGINT or SIGTERM, stop. Returns the exit code."""
    stopped = threading.Event()
    ended_as: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        stopped.set()

    def worker_ended(code: int) -> None:
        ended_as.append(code)
        stopped.set()

    # Before anything is started: a signal that comes while it starts must end it in order too.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    with ExitStack() as stack:
        try:
            worker = WorkerProcess(http_port=arguments.http_port, ended=worker_ended) if arguments.worker else None
            services = _start(arguments, stack, worker)
            if not arguments.json:
                write_environment(arguments.env_file, services.environment)
                stack.callback(arguments.env_file.unlink, missing_ok=True)
            if arguments.local_settings:
                write_local_settings(arguments.local_settings, services.environment)
        except (_StartError, TopologyError, FileInTheWayError) as error:
            print(error, file=sys.stderr)
            return 2
        except OSError as error:
            print(f"{error.filename or arguments.env_file} could not be written: {error.strerror}", file=sys.stderr)
            return 2
        print(_as_json(services) if arguments.json else _as_text(services, arguments), flush=True)
        if worker is not None and not stopped.is_set():
            worker.start(services.environment)
            stack.callback(worker.close)
        stopped.wait()
    return ended_as[0] if ended_as else 0


def _start(arguments: argparse.Namespace, stack: ExitStack, worker: WorkerProcess | None) -> _Services:
    topology = Topology.read(arguments.topology)
    latencies = arguments.latency
    bus = ServiceBus(topology, port=arguments.servicebus_port, latency=latencies.get("servicebus", NONE))
    try:
        bus.start()
    except OSError as error:
        raise _StartError(_taken(arguments.servicebus_port, "--servicebus-port", error)) from error
    stack.callback(bus.close)
    identity = stack.enter_context(ManagedIdentity())
    duration = timedelta(seconds=arguments.duration)
    arm = ResourceManager(
        port=arguments.arm_port,
        tokens=identity.accepts,
        duration=duration,
        latency=latencies.get("arm", NONE),
    )
    seed_example(arm, duration=duration)
    seed_alerted(arm, duration=duration)
    try:
        stack.enter_context(arm)
    except OSError as error:
        raise _StartError(_taken(arguments.arm_port, "--arm-port", error)) from error
    otlp = _start_otlp(arguments.otlp, stack) if arguments.otlp is not None else None
    environment = worker_environment(
        servicebus=bus.connection_string,
        arm_endpoint=arm.endpoint,
        identity=identity.environment,
        function_key=secrets.token_urlsafe(32),
    )
    if otlp is not None:
        environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = otlp.endpoint
    page = None
    # Programs that start many sandboxes ask for it; people always have it.
    if not arguments.no_page and not (arguments.json and arguments.page_port is None):
        endpoint = worker.endpoint if worker is not None else f"http://127.0.0.1:{arguments.http_port}"
        try:
            opened = open_page(
                bus,
                arm,
                port=arguments.page_port,
                worker_endpoint=lambda: endpoint,
                function_key=lambda: environment[FUNCTION_KEY],
                worker=worker,
                command=None
                if arguments.json
                else f"{_short(Path(sys.executable))} -m sandbox {{}}{_options(arguments)}",
                traces=otlp.telemetry.trace if otlp is not None else None,
            )
        except OSError as error:
            raise _StartError(_taken(arguments.page_port, "--page-port", error)) from error
        stack.callback(opened.close)
        page = opened.address
    endpoint_of_otlp = otlp.endpoint if otlp is not None else None
    return _Services(bus.connection_string, arm.endpoint, endpoint_of_otlp, environment, arm.scale_sets, page)


def _start_otlp(port: int, stack: ExitStack) -> OtlpReceiver:
    """A receiver that draws each trace of a run once that has ended."""
    # Imported where it is asked for: protobuf takes as long as all else.
    from sandbox.otlp import OtlpReceiver, Span  # noqa: PLC0415
    from sandbox.otlp.waterfall import draw  # noqa: PLC0415

    receiver, console = OtlpReceiver(port=port), Console(stderr=True)

    def draw_ended(spans: Sequence[Span]) -> None:
        for trace_id in dict.fromkeys(span.trace_id for span in spans if span.name.startswith("maintenance ")):
            draw(console, receiver.telemetry.trace(trace_id))

    receiver.observers.append(draw_ended)
    try:
        stack.enter_context(receiver)
    except OSError as error:
        raise _StartError(_taken(port, "--otlp", error)) from error
    return receiver


def _taken(port: int, option: str, error: OSError) -> str:
    return f"port {port} is in use ({error.strerror or error}); choose another with {option}, 0 for any free one"


def _as_json(services: _Services) -> str:
    document = {"serviceBus": services.servicebus, "arm": services.arm, "environment": services.environment}
    more = {"page": services.page, "otlp": services.otlp}
    return json.dumps({**document, **{name: address for name, address in more.items() if address is not None}})


def _as_text(services: _Services, arguments: argparse.Namespace) -> str:
    python, file = _short(Path(sys.executable)), _short(arguments.env_file)
    options = _options(arguments)
    lines = [
        f"Service Bus       {services.servicebus}",
        f"Resource Manager  {services.arm}",
        *([f"OTLP over HTTP    {services.otlp}, traces at /v1/traces"] if services.otlp is not None else []),
        *([] if services.page is None else [f"Page              {services.page}"]),
        "",
        f"Scale sets of subscription {services.scale_sets[0].subscription_id}:",
        *(_described(each) for each in services.scale_sets),
        "",
        "For shells and scripts, in another terminal:",
        f"  set -a; . {file}; set +a",
        "",
    ]
    if not arguments.worker:
        lines += ["For the worker, in another terminal:", f"  {python} -m sandbox worker{options} --http-port 7071", ""]
    return "\n".join([*lines, "Ctrl-C ends it.", ""])


def _options(arguments: argparse.Namespace) -> str:
    """What other commands need to find the file of variables."""
    default = arguments.env_file == arguments.env_file_default
    return "" if default else f" --env-file {_short(arguments.env_file)}"


def _described(seed: ScaleSetSeed) -> str:
    due = sum(instance.state == "eligible" for instance in seed.instances)
    kind = "" if seed.orchestration_mode == "Uniform" else f", {seed.orchestration_mode}"
    name = f"{seed.resource_group_name}/{seed.name}"
    return f"  {name:<16} {seed.location}{kind}: {due} of {len(seed.instances)} instances can be maintained"


def _short(path: Path) -> str:
    """A path as a shell takes it, without the folder that the user is in."""
    here = Path.cwd()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))
