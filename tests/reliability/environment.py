"""Azure on loopback for one story: a request, a worker that is killed, another one, and what came of it."""

from __future__ import annotations

import json
import multiprocessing
import threading
import time
from collections.abc import Iterator, Mapping
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
    Fault,
    InstanceReport,
    InstanceSeed,
    ResourceManager,
    ScaleSetSeed,
)
from sandbox.resource_manager.seeds import OrchestrationMode
from sandbox.servicebus import ServiceBus, Topology
from tests.reliability.killable_worker import Death, Life, live, send
from tests.support.environment import COORDINATION, OPERATIONS, QUICK, REQUESTS, SUBSCRIPTION, TOPIC, TOPOLOGY

GROUP = "shop"
SCALE_SET = "web"
PATIENCE = 60.0

# Forked from a process that has imported everything, a worker is up in a fraction of a second.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.reliability.killable_worker", "maintenance.worker", "function_app"])


@dataclass(frozen=True, kw_only=True)
class Story:
    """What is asked for, of which instances, and what must come of it.

    `requests` by message id; `not_before` and `deadline` are put into them, from the time of asking. `ends`: the
    status that each request ends with. `tells`: the kinds of all events, in any order. `may_tell`: kinds that depend on
    how far a wave had come when the worker died. `maintained`: the instances
    that have their maintenance, once each.
    """

    instances: tuple[InstanceSeed, ...]
    requests: Mapping[str, dict[str, Any] | bytes]
    ends: Mapping[str, str]
    tells: tuple[str, ...]
    may_tell: frozenset[str] = frozenset()
    maintained: frozenset[str] = frozenset()
    orchestration: OrchestrationMode = "Uniform"
    faults: tuple[Fault, ...] = ()
    not_before: timedelta | None = None
    deadline: timedelta | None = None
    settings: Mapping[str, str] = field(default_factory=dict)

    def bodies(self, now: datetime) -> dict[str, bytes]:
        times = {"notBefore": self.not_before, "deadline": self.deadline}
        told = {name: (now + span).isoformat() for name, span in times.items() if span is not None}
        return {
            name: body if isinstance(body, bytes) else json.dumps({**body, **told}).encode()
            for name, body in self.requests.items()
        }


@dataclass
class Environment:
    """The services, and the workers that live on them."""

    story: Story
    bus: ServiceBus
    arm: ResourceManager
    identity: ManagedIdentity
    folder: Path
    changed: threading.Event = field(default_factory=threading.Event)
    lives: int = 0
    asked_at: datetime | None = None

    @property
    def log(self) -> Path:
        return self.folder / "workers.log"

    def ask(self) -> None:
        """Send the requests."""
        self.asked_at = datetime.now(UTC)
        arguments = (self.bus.connection_string, REQUESTS, self.story.bodies(self.asked_at))
        process = PROCESSES.Process(target=send, args=arguments, daemon=True)
        process.start()
        process.join(PATIENCE)
        assert process.exitcode == 0, f"the requests could not be sent: {process.exitcode}"

    @contextmanager
    def worker(
        self, *, death: Death | None = None, timers: int = 1, twice: bool = False
    ) -> Iterator[ForkServerProcess]:
        """A worker, dead at the end of the block at the latest."""
        self.lives += 1
        life = Life(
            environment=self._environment(),
            steps=self.steps_of(self.lives),
            log=self.log,
            death=death,
            timers=timers,
            twice=twice,
        )
        process = PROCESSES.Process(target=live, args=(life,), daemon=True)
        process.start()
        # Whoever waits for a change hears of a death, too.
        herald = threading.Thread(target=self._tell_of_death, args=(process,), daemon=True)
        herald.start()
        try:
            yield process
        finally:
            process.kill()
            herald.join(PATIENCE)

    def steps_of(self, life: int) -> Path:
        return self.folder / f"steps-{life}"

    def steps(self, life: int = 1) -> list[str]:
        """The steps that a worker took, the first life being 1."""
        path = self.steps_of(life)
        return path.read_text().splitlines() if path.exists() else []

    def asked_of_arm(self, method: str, path: str) -> None:
        """Wait until ARM has been asked for something; it need not have answered."""
        give_up = time.monotonic() + PATIENCE
        while not self.arm.calls.matching(method, path):
            assert time.monotonic() < give_up, self.account()
            # Nobody tells of a call that is not answered yet.
            self.changed.wait(0.02)
            self.changed.clear()

    def rest(self) -> None:
        """Wait until no instance is under maintenance."""
        give_up = time.monotonic() + PATIENCE
        while any(report.state == "in-progress" for report in self._instances()):
            assert self.changed.wait(max(give_up - time.monotonic(), 0)), self.account()
            self.changed.clear()

    def bury(self) -> None:
        """Let time pass after a death: its connections are noticed to be gone, and all locks run out."""
        self.bus.faults.drop_connections()
        for queue in (REQUESTS, OPERATIONS):
            self.bus.faults.lose_locks(queue)

    def finish(self, *workers: ForkServerProcess, within: float = PATIENCE) -> bool:
        """Wait until every request has ended and nothing is left to do: True; or until a worker died: False."""
        give_up = time.monotonic() + within
        while not self._done():
            if any(worker.exitcode is not None for worker in workers):
                return False
            if not self.changed.wait(max(give_up - time.monotonic(), 0)):
                raise AssertionError(f"not finished within {within} s:\n{self.account()}")
            self.changed.clear()
        return True

    def events(self) -> list[dict[str, Any]]:
        """The CloudEvents as a subscriber of the topic has them."""
        return [json.loads(message.body) for message in self.bus.peek(f"{TOPIC}/Subscriptions/{SUBSCRIPTION}", 1000)]

    def check(self) -> None:
        """Everything was told once, and done once."""
        events = self.events()
        told = [event["data"]["status"] for event in events if _kind(event) in ("completed", "rejected")]
        ended = {
            event["data"]["requestId"]: event["data"]["status"]
            for event in events
            if _kind(event) in ("completed", "rejected")
        }
        counts = {report.instance_id: report.maintenance_count for report in self._instances()}
        expected = {each.instance_id: int(each.instance_id in self.story.maintained) for each in self.story.instances}
        assert len(told) == len(ended), f"a request ended more than once: {self.account()}"
        assert ended == self.story.ends, self.account()
        kinds = [kind for kind in map(_kind, events) if kind not in self.story.may_tell]
        assert sorted(kinds) == sorted(self.story.tells), self.account()
        assert counts == expected, f"maintained {counts}: {self.account()}"
        assert not self._left(), self.account()
        if self.story.not_before is not None and self.asked_at is not None:
            early = [call for call in self.arm.calls if call.time < self.asked_at + self.story.not_before]
            assert not early, f"called before its time: {self.account()}"

    def account(self) -> str:
        """All that was seen, for the person who looks into a failure."""
        told = [f"  {event['id']} {event['data']['status']} {event['data'].get('error')}" for event in self.events()]
        steps = [f"  life {life}: {step}" for life in range(1, self.lives + 1) for step in self.steps(life)]
        lines = ["told:", *told, "left:", f"  {self._left()}", "steps:", *steps, "log:"]
        return "\n".join([*lines, self.log.read_text()[-6000:] if self.log.exists() else ""])

    def _tell_of_death(self, process: ForkServerProcess) -> None:
        process.join()
        self.changed.set()

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
        # The timers are fired by hand, over and over.
        return {**names, **QUICK, "POLL_SCHEDULE": "0 0 0 1 1 *", **self.story.settings}

    def _left(self) -> dict[str, str]:
        counts = {queue: self.bus.counts(queue) for queue in (REQUESTS, OPERATIONS, COORDINATION)}
        return {queue: str(count) for queue, count in counts.items() if not count.empty}

    def _done(self) -> bool:
        ended = [event for event in self.events() if _kind(event) in ("completed", "rejected")]
        return len(ended) >= len(self.story.ends) and not self._left()


def _kind(event: Mapping[str, Any]) -> str:
    return str(event["type"]).split(".")[-2]


@contextmanager
def environment(story: Story, folder: Path) -> Iterator[Environment]:
    """Services of their own for a story, its scale set in place."""
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
            )
        )
        for fault in story.faults:
            arm.faults.add(fault)
        place = Environment(story, bus, arm, identity, folder)
        bus.observers.add(lambda _: place.changed.set())
        arm.observers.append(lambda _: place.changed.set())
        yield place
