"""Services for the benchmarks, each in a process of its own.

Run as a module, a service writes its address in a line of JSON, then reads commands, one per line, and writes results.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

MODULE = "tests.benchmarks.services"
ROOT = Path(__file__).parent.parent.parent
SUBSCRIPTION = "11111111-1111-4111-8111-111111111111"
GROUP = "bench"


class Process:
    """Child process that writes a first line of JSON, then carries out commands from its standard input.

    `first`: what it wrote at its start.
    """

    def __init__(self, module: str, *arguments: str, environment: dict[str, str] | None = None) -> None:
        # It inherits no other pipe, so it ends when its standard input is closed, however this process ends.
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.first = self._read()

    def order(self, command: str) -> Any:
        """Have the process carry out a command; return the result."""
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return self._read()

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(30)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _read(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())


@dataclass(frozen=True, slots=True)
class Services:
    """Addresses of the services. The identity's variables are set in this process while the services run."""

    bus: str
    arm: str
    bus_process: Process
    arm_process: Process

    def clear(self) -> None:
        """Empty the Service Bus, including the ids for duplicate detection."""
        self.bus_process.order("clear")

    def reset(self) -> None:
        """Reset the scale sets and the list of calls."""
        self.arm_process.order("reset")

    def calls(self) -> int:
        """The number of calls that ARM has received since the last reset."""
        return int(self.arm_process.order("calls"))


@contextlib.contextmanager
def services(
    *, scale_sets: int = 1, instances: int = 1, seconds: float = 0.0, retry_after: int = -1, latency: str = ""
) -> Iterator[Services]:
    """Service Bus, and Resource Manager with the identity.

    `scale_sets` of `instances`, whose maintenance takes `seconds`. `retry_after`: the header's seconds in each
    response; negative: no header. `latency`: as of `python -m sandbox up`.
    """
    numbers = {"scale-sets": scale_sets, "instances": instances, "seconds": seconds, "retry-after": retry_after}
    with contextlib.ExitStack() as stack:
        late = f"--latency={latency}"
        bus = Process(MODULE, "bus", late, environment=_without_identity())
        stack.callback(bus.close)
        options = (f"--{name}={number}" for name, number in numbers.items())
        arm = Process(MODULE, "arm", late, *options, environment=_without_identity())
        stack.callback(arm.close)
        before = dict(os.environ)
        os.environ.update(arm.first["identity"])
        stack.callback(_restore, before)
        yield Services(bus.first["bus"], arm.first["arm"], bus, arm)


def _restore(environment: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)


def _without_identity() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("IDENTITY_")}


def _serve_bus(options: argparse.Namespace) -> None:
    from sandbox.servicebus import ServiceBus, Topology

    topology = Topology.read(ROOT / "infra" / "topology.json")
    # Full pages, as Azure mostly gives them: how unkind it can be is for tests.
    with ServiceBus(topology, latency=_latency(options, "servicebus"), peek_limit=250) as bus:
        _serve({"bus": bus.connection_string}, {"clear": bus.clear})


def _latency(options: argparse.Namespace, service: str) -> Any:
    from sandbox.latency import NONE, parse_latencies

    return parse_latencies(options.latency).get(service, NONE) if options.latency else NONE


def _serve_arm(options: argparse.Namespace) -> None:
    from sandbox.managed_identity import ManagedIdentity
    from sandbox.resource_manager import InstanceSeed, ResourceManager, ScaleSetSeed

    with (
        ManagedIdentity() as identity,
        ResourceManager(
            tokens=identity.accepts,
            throttling=False,
            keep_calls=10,
            duration=timedelta(seconds=options.seconds),
            retry_after=None if options.retry_after < 0 else options.retry_after,
            latency=_latency(options, "arm"),
        ) as arm,
    ):

        def seed() -> None:
            arm.reset()
            for number in range(options.scale_sets):
                seeds = tuple(InstanceSeed(str(n)) for n in range(options.instances))
                arm.seed(ScaleSetSeed(SUBSCRIPTION, GROUP, f"set{number}", instances=seeds))

        seed()
        first = {"arm": arm.endpoint, "identity": dict(identity.environment)}
        _serve(first, {"reset": seed, "calls": lambda: arm.calls.total})


def _serve(first: dict[str, Any], commands: dict[str, Callable[[], Any]]) -> None:
    write(first)
    for line in sys.stdin:
        write(commands[line.strip()]())


def write(value: Any) -> None:
    """Write a line of JSON for the parent process."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("service", choices=("bus", "arm"))
    parser.add_argument("--scale-sets", type=int, default=1)
    parser.add_argument("--instances", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--retry-after", type=int, default=-1)
    parser.add_argument("--latency", default="")
    options = parser.parse_args()
    if options.service == "bus":
        _serve_bus(options)
    else:
        _serve_arm(options)


if __name__ == "__main__":
    main()
