"""The services that benchmarks talk to, each in a process of its own.

Started as a module, one says in a line of JSON where it is, and then answers commands, each a line of its own.
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
    """One service, or whatever else takes orders by its standard input."""

    def __init__(self, module: str, *arguments: str, environment: dict[str, str] | None = None) -> None:
        # No pipe of ours is left to it: it ends when its own is closed, whatever becomes of this process.
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.told = self._answer()

    def order(self, command: str) -> Any:
        """Have it do something, and wait for that."""
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(30)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())


@dataclass(frozen=True, slots=True)
class Services:
    """Where they are. The identity's variables are in the environment of this process while they are up."""

    bus: str
    arm: str
    bus_process: Process
    arm_process: Process

    def clear(self) -> None:
        """Empty the Service Bus, the ids it has seen included."""
        self.bus_process.order("clear")

    def reset(self) -> None:
        """Scale sets as new, and calls forgotten."""
        self.arm_process.order("reset")

    def calls(self) -> int:
        """How many calls ARM received since the last reset."""
        return int(self.arm_process.order("calls"))


@contextlib.contextmanager
def services(
    *, scale_sets: int = 1, instances: int = 1, seconds: float = 0.0, retry_after: int = -1
) -> Iterator[Services]:
    """Service Bus, and Resource Manager with the identity; `scale_sets` of `instances` whose maintenance takes
    `seconds`, `retry_after` (seconds) told with each answer, or none."""
    numbers = {"scale-sets": scale_sets, "instances": instances, "seconds": seconds, "retry-after": retry_after}
    with contextlib.ExitStack() as stack:
        bus = Process(MODULE, "bus", environment=_without_identity())
        stack.callback(bus.close)
        options = (f"--{name}={number}" for name, number in numbers.items())
        arm = Process(MODULE, "arm", *options, environment=_without_identity())
        stack.callback(arm.close)
        before = dict(os.environ)
        os.environ.update(arm.told["identity"])
        stack.callback(_restore, before)
        yield Services(bus.told["bus"], arm.told["arm"], bus, arm)


def _restore(environment: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)


def _without_identity() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("IDENTITY_")}


def _serve_bus() -> None:
    from sandbox.servicebus import ServiceBus, Topology

    with ServiceBus(Topology.read(ROOT / "infra" / "topology.json")) as bus:
        _serve({"bus": bus.connection_string}, {"clear": bus.clear})


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
        ) as arm,
    ):

        def seed() -> None:
            arm.reset()
            for number in range(options.scale_sets):
                seeds = tuple(InstanceSeed(str(n)) for n in range(options.instances))
                arm.seed(ScaleSetSeed(SUBSCRIPTION, GROUP, f"set{number}", instances=seeds))

        seed()
        told = {"arm": arm.endpoint, "identity": dict(identity.environment)}
        _serve(told, {"reset": seed, "calls": lambda: arm.calls.total})


def _serve(told: dict[str, Any], commands: dict[str, Callable[[], Any]]) -> None:
    say(told)
    for line in sys.stdin:
        say(commands[line.strip()]())


def say(value: Any) -> None:
    """Answer whoever started this process."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("service", choices=("bus", "arm"))
    parser.add_argument("--scale-sets", type=int, default=1)
    parser.add_argument("--instances", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--retry-after", type=int, default=-1)
    options = parser.parse_args()
    if options.service == "bus":
        _serve_bus()
    else:
        _serve_arm(options)


if __name__ == "__main__":
    main()
