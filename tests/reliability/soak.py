"""`make soak`: two thousand requests, calls that fail at random, a worker killed every 30 s; then an evaluation.

Windows, gates, pauses and limits bound what is started. Exits with 1 if a request did not end exactly once, an instance
was maintained too often or not at all, anything was started where a policy forbids it, or a message is left.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from azure.servicebus import ServiceBusClient, ServiceBusMessage, ServiceBusSender
from azure.servicebus.exceptions import ServiceBusError

from sandbox.cli.environment import worker_environment
from sandbox.managed_identity import ManagedIdentity
from sandbox.resource_manager import ResourceManager
from sandbox.servicebus import ServiceBus, Topology
from tests.reliability.soak_plan import Plan, PlannedRequest, arm_faults, make_plan
from tests.reliability.soak_policies import POLICIES, Holds, proceed
from tests.reliability.soak_results import Tally, evaluate
from tests.reliability.soak_workers import Workers
from tests.support.entities import REQUESTS, TOPOLOGY

ARM_FAILURES = 0.05
BUS_FAILURES = 0.01
# Requests are sent in the first part of the time, so that the last ones can end within it.
SENDING = 0.9
GRACE = 600.0
# As many as one worker that is killed all the time ends as fast as they come, on two slow processors.
REQUESTS_A_MINUTE = 200
# Messages locked by a killed worker are redelivered during the next run; not in step with the kills.
LOCK = "PT13S"
SETTINGS = {
    "POLL_SCHEDULE": "*/2 * * * * *",
    "MAINTENANCE_MIN_POLL_INTERVAL": "PT2S",
    "MAINTENANCE_DEFAULT_POLL_INTERVAL": "PT2S",
    "MAINTENANCE_MAX_POLL_INTERVAL": "PT20S",
    # Of a POST whose response is lost; longer than any response takes here.
    "MAINTENANCE_SETTLE_TIME": "PT20S",
    # The product's own are minutes: two for the views, which do not lag here, and ten for leases that show late.
    "MAINTENANCE_VIEW_LAG": "PT2S",
    "MAINTENANCE_LEASE_WAIT": "PT2S",
    "DEAD_LETTER_SCHEDULE": "*/10 * * * * *",
    "MAINTENANCE_RECEIVE_WAIT": "PT0.5S",
}


def main() -> int:
    """Run the soak and return the exit code."""
    options = _options()
    plan = make_plan(
        requests=options.requests,
        scale_sets=options.scale_sets,
        subscriptions=options.subscriptions,
        seed=options.seed,
    )
    log = options.log or Path(tempfile.mkdtemp(prefix="soak-")) / "workers.log"
    seconds = options.minutes * 60
    print(
        f"{len(plan.requests)} requests over {len(plan.scale_sets)} scale sets in {len(plan.subscriptions)} "
        f"subscriptions, {options.minutes:g} minutes; {ARM_FAILURES:.0%} of ARM calls and {BUS_FAILURES:.0%} of "
        f"Service Bus calls fail; the worker is killed every {options.kill_every:g} s; seed {options.seed}; "
        f"log of the workers: {log}",
        flush=True,
    )
    with (
        ManagedIdentity() as identity,
        ResourceManager(tokens=identity.accepts, keep_calls=1_000_000) as arm,
        ServiceBus(_topology()) as bus,
    ):
        for scale_set in plan.scale_sets:
            arm.seed(scale_set)
        for fault in arm_faults(ARM_FAILURES, options.seed):
            arm.faults.add(fault)
        tally = Tally(len(plan.requests))
        bus.observers.add(tally.note)
        environment = {
            **worker_environment(
                servicebus=bus.connection_string,
                arm_endpoint=arm.endpoint,
                identity=identity.environment,
                function_key="soak",
            ),
            **SETTINGS,
            **POLICIES,
            "MAINTENANCE_ALLOWED_SCOPES": " ".join(f"/subscriptions/{each}" for each in plan.subscriptions),
        }
        workers = Workers(environment, log)
        started = time.monotonic()
        holds = Holds(plan.subscriptions)
        with _sending(plan, bus, holds, over=seconds * SENDING):
            over = _run_and_kill(workers, bus, tally, options.seed, every=options.kill_every, until=started + seconds)
        print(f"\nAfter {time.monotonic() - started:.0f} s:")
        report, errors = evaluate(plan, tally, bus, arm, runs=workers.runs, holds=holds.sent, over=over)
    print("\n".join(report))
    print("\n".join(f"ERROR: {each}" for each in errors) if errors else "All checks passed.", flush=True)
    return 1 if errors else 0


def _run_and_kill(workers: Workers, bus: ServiceBus, tally: Tally, seed: int, *, every: float, until: float) -> bool:
    """Kill and restart the worker until everything is over (True), or until GRACE seconds after the time is (False)."""
    while not (over := tally.over(bus)) and time.monotonic() < until + GRACE:
        # In every other run a failed call has been carried out, and only its response is lost.
        bus.faults.fail_calls(BUS_FAILURES, seed=seed + len(workers.runs), after=len(workers.runs) % 2 == 1)
        workers.start()
        tally.wait(bus, every)
        workers.kill()
        print(f"  run {len(workers.runs)}: {workers.runs[-1].rss:.0f} MB; {tally}", flush=True)
    return over


@contextmanager
def _sending(plan: Plan, bus: ServiceBus, holds: Holds, *, over: float) -> Iterator[None]:
    """Send the requests evenly over the time, and pauses, while the block runs."""
    stop, requests_sent = threading.Event(), threading.Event()
    requests = (plan.requests, bus.connection_string, over, stop, requests_sent)
    threads = [
        threading.Thread(target=_send, args=requests, daemon=True),
        threading.Thread(target=_hold, args=(holds, bus.connection_string, requests_sent), daemon=True),
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        requests_sent.set()
        for thread in threads:
            thread.join(60)


def _hold(holds: Holds, connection_string: str, stop: threading.Event) -> None:
    with ServiceBusClient.from_connection_string(connection_string, retry_backoff_factor=0.05) as client:
        sender = client.get_queue_sender(REQUESTS)
        holds.run(lambda name, body: _send_with_retries(sender, ServiceBusMessage(body, message_id=name)), stop)


def _send(
    requests: list[PlannedRequest],
    connection_string: str,
    over: float,
    stop: threading.Event,
    all_sent: threading.Event,
) -> None:
    started = time.monotonic()
    with ServiceBusClient.from_connection_string(connection_string, retry_backoff_factor=0.05) as client:
        sender = client.get_queue_sender(REQUESTS)
        for number, request in enumerate(requests):
            if stop.wait(max(started + over * number / len(requests) - time.monotonic(), 0)):
                return
            _send_with_retries(sender, ServiceBusMessage(request.body, message_id=request.request_id))
            if request.gated:
                message_id, body = proceed(request)
                _send_with_retries(sender, ServiceBusMessage(body, message_id=message_id))
    all_sent.set()


def _send_with_retries(sender: ServiceBusSender, message: ServiceBusMessage) -> None:
    """Send a message although the sender's own calls fail too. A message that is sent twice has two ends."""
    while True:
        try:
            sender.send_messages(message)
        except (ServiceBusError, OSError, ValueError):
            continue
        return


def _topology() -> Topology:
    document = json.loads(TOPOLOGY.read_text())
    for queue in document["UserConfig"]["Namespaces"][0]["Queues"]:
        queue["Properties"]["LockDuration"] = LOCK
    return Topology.parse(document)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--requests", type=int, help=f"{REQUESTS_A_MINUTE} a minute by default")
    parser.add_argument("--scale-sets", type=int, default=200)
    parser.add_argument("--subscriptions", type=int, default=20)
    parser.add_argument("--kill-every", type=float, default=30, metavar="SECONDS")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--log", type=Path, help="log of the workers; a temporary file by default")
    options = parser.parse_args()
    if options.requests is None:
        options.requests = max(round(REQUESTS_A_MINUTE * options.minutes), 1)
    return options


if __name__ == "__main__":
    sys.exit(main())
