"""Test environment of one story on loopback: requests, a worker that is killed, its successor, and the results."""

from __future__ import annotations

import json
import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from sandbox.cli.environment import worker_environment
from sandbox.managed_identity import ManagedIdentity
from sandbox.resource_manager import (
    EXAMPLE_SUBSCRIPTION_ID,
    InstanceReport,
    ResourceManager,
    ScaleSetSeed,
)
from sandbox.servicebus import ServiceBus, Topology
from tests.reliability.killable_worker import BEGUN, FAILED, CrashPoint, WorkerRun, kinds_of, run_worker, send
from tests.reliability.story import Story
from tests.support.contract_watch import CONTRACT_WATCH
from tests.support.entities import OPERATIONS, REQUESTS, SUBSCRIPTION, TOPIC, TOPOLOGY, remains
from tests.support.environment import QUICK
from tests.support.limit import LIMIT

GROUP = "shop"
SCALE_SET = "web"

# A worker that is forked from a process with all imports done starts in a fraction of a second.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.reliability.killable_worker", "maintenance.worker", "function_app"])


@dataclass
class Environment:
    """Azure services for one story, and the workers that run on them."""

    story: Story
    bus: ServiceBus
    arm: ResourceManager
    identity: ManagedIdentity
    folder: Path
    changed: threading.Event = field(default_factory=threading.Event)
    runs: int = 0
    sent_at: datetime | None = None
    sent_after_first_post: bool = False
    up_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def log(self) -> Path:
        return self.folder / "workers.log"

    def send_requests(self) -> None:
        """Send the requests."""
        self.sent_at = datetime.now(UTC)
        self._send(self.story.bodies(self.sent_at))

    def _send(self, bodies: Mapping[str, bytes]) -> None:
        response, sent = PROCESSES.Pipe(duplex=False)
        arguments = (self.bus.connection_string, REQUESTS, bodies, self.story.properties, sent)
        with response:
            with sent:
                PROCESSES.Process(target=send, args=arguments, daemon=True).start()
            # Not by its exit code: another thread that starts a process may read that first, and here it is 255 then.
            assert response.poll(LIMIT), "the requests were not sent in time"
            # EOFError: the process ended without having sent them.
            response.recv()

    @contextmanager
    def worker(
        self, *, crash: CrashPoint | None = None, timers: int = 1, twice: bool = False
    ) -> Iterator[ForkServerProcess]:
        """Start a worker, and kill it at the end of the block if it is still running."""
        self.runs += 1
        run = WorkerRun(
            environment=self._environment(),
            steps=self._steps_file(self.runs),
            log=self.log,
            crash=crash,
            timers=timers,
            twice=twice,
        )
        process = PROCESSES.Process(target=run_worker, args=(run,), daemon=True)
        process.start()
        # The end of the process is a change, too.
        watcher = threading.Thread(target=self._watch, args=(process,), daemon=True)
        watcher.start()
        try:
            yield process
        finally:
            process.kill()
            watcher.join(LIMIT)

    def steps(self, run: int = 1) -> list[str]:
        """The steps of a run of the worker; the first run is 1."""
        return [line for line in self._lines(run) if line not in (BEGUN, FAILED)]

    def reaches(self, crash: CrashPoint, worker: ForkServerProcess) -> bool:
        """Whether the first worker reaches its crash point: waits until its calls have ended, or until it is killed."""
        self.wait_for_calls(worker)
        if sum(crash.kind in kinds_of(step) for step in self.steps()) < crash.time:
            return False
        worker.join(LIMIT)
        assert worker.exitcode is not None, self.report()
        return True

    def wait_for_calls(self, worker: ForkServerProcess) -> None:
        """Wait until every call that the first worker has begun has ended, or until it is killed."""

        def ended() -> bool:
            lines = self._lines(1)
            return worker.exitcode is not None or 2 * lines.count(BEGUN) == len(lines)

        self._wait(ended)

    def wait_for_call_to_arm(self, method: str, path: str, *, count: int = 1) -> None:
        """Wait until ARM has received calls; it need not have responded."""
        self._wait(lambda: len(self.arm.calls.matching(method, path)) >= count)

    def wait_for_maintenance(self) -> None:
        """Wait until no instance is under maintenance."""
        give_up = time.monotonic() + LIMIT
        while any(each.state == "in-progress" for each in self._instances()):
            assert self.changed.wait(max(give_up - time.monotonic(), 0)), self.report()
            self.changed.clear()

    def expire_locks(self) -> None:
        """Let time pass after a worker was killed: its connections are closed, and all locks expire."""
        self.bus.faults.drop_connections()
        for queue in (REQUESTS, OPERATIONS):
            self.bus.faults.lose_locks(queue)

    def finish(self, *workers: ForkServerProcess, within: float = LIMIT) -> bool:
        """Wait until every request has ended and no message is left (True), or until a worker was killed (False)."""
        give_up = time.monotonic() + within
        while not self._done():
            self._send_after_first_post()
            if any(worker.exitcode is not None for worker in workers):
                return False
            if not self.changed.wait(max(give_up - time.monotonic(), 0)):
                raise AssertionError(f"not finished within {within} s:\n{self.report()}")
            self.changed.clear()
        return True

    def _send_after_first_post(self) -> None:
        if not self.story.after_first_post or self.sent_after_first_post:
            return
        if self.arm.operations():
            self.sent_after_first_post = True
            self._send({name: json.dumps(body).encode() for name, body in self.story.after_first_post.items()})

    def events(self) -> list[dict[str, Any]]:
        """The CloudEvents as a subscriber of the topic receives them."""
        return [json.loads(message.body) for message in self.bus.peek(f"{TOPIC}/Subscriptions/{SUBSCRIPTION}", 1000)]

    def check(self) -> None:
        """Assert that the results are as expected: published once, and maintained once."""
        events = self.events()
        statuses = [event["data"]["status"] for event in events if _kind(event) in ("completed", "rejected")]
        ended = {
            event["data"]["requestId"]: event["data"]["status"]
            for event in events
            if _kind(event) in ("completed", "rejected")
        }
        counts = {each.instance_id: each.maintenance_count for each in self._instances()}
        expected = {each.instance_id: int(each.instance_id in self.story.maintained) for each in self.story.instances}
        assert len(statuses) == len(ended), f"a request ended more than once: {self.report()}"
        assert ended == self.story.ends, self.report()
        kinds = [kind for kind in map(_kind, events) if kind not in self.story.may_publish]
        assert sorted(kinds) == sorted(self.story.publishes), self.report()
        assert counts == expected, f"maintained {counts}: {self.report()}"
        assert not self._left(), self.report()
        if self.story.not_before is not None and self.sent_at is not None:
            early = [call for call in self.arm.calls if call.time < self.sent_at + self.story.not_before]
            assert not early, f"called before notBefore: {self.report()}"
        if self.story.blackout is not None:
            posts = self.arm.calls.matching("POST", "performMaintenance")
            early = [call for call in posts if call.time < self.up_at + self.story.blackout]
            assert not early, f"posted in a blackout: {self.report()}"

    def report(self) -> str:
        """Events, messages left, steps and log, for the message of a failed assertion."""
        data = [(event["id"], event["data"]) for event in self.events()]
        published = [f"  {event_id} {fields['status']} {fields.get('error')}" for event_id, fields in data]
        steps = [f"  run {run}: {step}" for run in range(1, self.runs + 1) for step in self.steps(run)]
        lines = ["published:", *published, "left:", f"  {self._left()}", "steps:", *steps, "log:"]
        return "\n".join([*lines, self.log.read_text()[-6000:] if self.log.exists() else ""])

    def _watch(self, process: ForkServerProcess) -> None:
        process.join()
        self.changed.set()

    def _wait(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition that no event reports."""
        give_up = time.monotonic() + LIMIT
        while not condition():
            assert time.monotonic() < give_up, self.report()
            time.sleep(0.02)

    def _steps_file(self, run: int) -> Path:
        return self.folder / f"steps-{run}"

    def _lines(self, run: int) -> list[str]:
        path = self._steps_file(run)
        return path.read_text().splitlines() if path.exists() else []

    def _instances(self) -> list[InstanceReport]:
        self.arm.mature()
        return self.arm.instances(EXAMPLE_SUBSCRIPTION_ID, GROUP, SCALE_SET)

    def _environment(self) -> dict[str, str]:
        names = worker_environment(
            servicebus=self.bus.connection_string,
            arm_endpoint=self.arm.endpoint,
            identity=self.identity.environment,
            function_key="test",
        )
        # The worker fires its timers itself, again and again.
        settings = dict(self.story.settings)
        if self.story.blackout is not None:
            span = {"start": self.up_at.isoformat(), "end": (self.up_at + self.story.blackout).isoformat()}
            settings["MAINTENANCE_BLACKOUTS"] = json.dumps([span])
        # And no scan at its time of the night.
        never = {"POLL_SCHEDULE": "0 0 0 1 1 *", "MAINTENANCE_SCAN": "off"}
        return {**names, **QUICK, **never, **settings}

    def _left(self) -> list[str]:
        return remains(self.bus, leases=not self.story.keeps_lease)

    def _done(self) -> bool:
        ended = [event for event in self.events() if _kind(event) in ("completed", "rejected")]
        return len(ended) >= len(self.story.ends) and not self._left()


def _kind(event: Mapping[str, Any]) -> str:
    return str(event["type"]).split(".")[-2]


@contextmanager
def environment(story: Story, folder: Path) -> Iterator[Environment]:
    """Azure services for a story, with its scale set."""
    folder.mkdir(parents=True, exist_ok=True)
    with (
        ManagedIdentity() as identity,
        ResourceManager(tokens=identity.accepts, duration=timedelta(seconds=0.2), throttling=False) as arm,
        ServiceBus(Topology.read(TOPOLOGY)) as bus,
    ):
        arm.seed(
            ScaleSetSeed(
                EXAMPLE_SUBSCRIPTION_ID,
                GROUP,
                SCALE_SET,
                orchestration_mode=story.orchestration,
                instances=story.instances,
                view_lag=story.view_lag,
            )
        )
        for fault in story.faults:
            arm.faults.add(fault)
        services = Environment(story, bus, arm, identity, folder)
        bus.observers.add(lambda _: services.changed.set())
        CONTRACT_WATCH.watch(bus)
        arm.observers.append(lambda _: services.changed.set())
        yield services
