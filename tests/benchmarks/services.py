"""The services that benchmarks talk to, in a process of their own: started as a module, it prints one line of JSON."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
SUBSCRIPTION = "11111111-1111-4111-8111-111111111111"
GROUP = "bench"


@dataclass(frozen=True, slots=True)
class Services:
    """Where they are, and the process they run in."""

    bus: str
    arm: str
    identity: dict[str, str]
    pid: int


@contextlib.contextmanager
def services(
    *, scale_sets: int = 1, instances: int = 1, seconds: float = 0.0, retry_after: int = -1
) -> Iterator[Services]:
    """Service Bus, Resource Manager and identity, with `scale_sets` of `instances` whose maintenance takes `seconds`."""
    command = [sys.executable, "-m", "tests.benchmarks.services"]
    command += ["--scale-sets", str(scale_sets), "--instances", str(instances), "--seconds", str(seconds)]
    command += ["--retry-after", str(retry_after)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        try:
            yield Services(told["bus"], told["arm"], told["identity"], process.pid)
        finally:
            process.terminate()
            process.wait(30)


def main() -> None:
    from sandbox.managed_identity import ManagedIdentity
    from sandbox.resource_manager import InstanceSeed, ResourceManager, ScaleSetSeed
    from sandbox.servicebus import ServiceBus, Topology

    parser = argparse.ArgumentParser()
    parser.add_argument("--scale-sets", type=int, required=True)
    parser.add_argument("--instances", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--retry-after", type=int, required=True)
    options = parser.parse_args()
    with (
        ManagedIdentity() as identity,
        ResourceManager(
            tokens=identity.accepts,
            throttling=False,
            keep_calls=10,
            duration=timedelta(seconds=options.seconds),
            retry_after=None if options.retry_after < 0 else options.retry_after,
        ) as arm,
        ServiceBus(Topology.read(ROOT / "infra" / "topology.json")) as bus,
    ):
        for number in range(options.scale_sets):
            seeds = tuple(InstanceSeed(str(n)) for n in range(options.instances))
            arm.seed(ScaleSetSeed(SUBSCRIPTION, GROUP, f"set{number}", instances=seeds))
        told = {"bus": bus.connection_string, "arm": arm.endpoint, "identity": identity.environment}
        print(json.dumps(told), flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    os.nice(0)
    main()
