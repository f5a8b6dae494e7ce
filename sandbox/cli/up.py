"""`python -m sandbox up`: the sandbox's services, up until Ctrl-C."""

import argparse
import json
import secrets
import shlex
import signal
import sys
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from types import FrameType

from sandbox.cli.demo_environment import seed_alerted
from sandbox.cli.environment import worker_environment
from sandbox.managed_identity import ManagedIdentity
from sandbox.resource_manager import ResourceManager, seed_example
from sandbox.servicebus import ServiceBus, Topology, TopologyError


@dataclass(frozen=True, slots=True)
class _Services:
    """What was started; `environment` is what a worker needs to use it."""

    servicebus: str
    arm: str
    environment: dict[str, str]


class _StartError(Exception):
    """A service could not be started; the text says what to do."""


def main(arguments: argparse.Namespace) -> int:
    """Start, say where everything is, wait for SIGINT or SIGTERM, stop. Returns the exit code."""
    stopped = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        stopped.set()

    # Before anything is started: a signal that comes while it starts must end it in order too.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    with ExitStack() as stack:
        try:
            services = _start(arguments, stack)
        except (_StartError, TopologyError) as error:
            print(error, file=sys.stderr)
            return 2
        print(_as_json(services) if arguments.json else _as_text(services), flush=True)
        stopped.wait()
    return 0


def _start(arguments: argparse.Namespace, stack: ExitStack) -> _Services:
    topology = Topology.read(arguments.topology)
    bus = ServiceBus(topology, port=arguments.servicebus_port)
    try:
        bus.start()
    except OSError as error:
        raise _StartError(_taken(arguments.servicebus_port, "--servicebus-port", error)) from error
    stack.callback(bus.close)
    identity = stack.enter_context(ManagedIdentity())
    duration = timedelta(seconds=arguments.duration)
    arm = ResourceManager(port=arguments.arm_port, tokens=identity.accepts, duration=duration)
    seed_example(arm, duration=duration)
    seed_alerted(arm, duration=duration)
    try:
        stack.enter_context(arm)
    except OSError as error:
        raise _StartError(_taken(arguments.arm_port, "--arm-port", error)) from error
    environment = worker_environment(
        servicebus=bus.connection_string,
        arm_endpoint=arm.endpoint,
        identity=identity.environment,
        function_key=secrets.token_urlsafe(32),
    )
    return _Services(bus.connection_string, arm.endpoint, environment)


def _taken(port: int, option: str, error: OSError) -> str:
    return f"port {port} can't be had ({error.strerror or error}); choose another with {option}, 0 for any free one"


def _as_json(services: _Services) -> str:
    return json.dumps({"serviceBus": services.servicebus, "arm": services.arm, "environment": services.environment})


def _as_text(services: _Services) -> str:
    exports = "\n".join(f"export {name}={shlex.quote(value)}" for name, value in services.environment.items())
    return f"""\
Service Bus       {services.servicebus}
Resource Manager  {services.arm}

For the worker, in another terminal:

{exports}
python -m sandbox worker

Ctrl-C ends the sandbox.
"""
