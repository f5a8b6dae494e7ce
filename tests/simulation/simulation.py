"""One simulation of the app: processes, queues, scale sets and what happens to them, from a plan, under one loop."""

from __future__ import annotations

import logging
import random
from collections import Counter
from contextvars import Context
from dataclasses import replace
from datetime import timedelta
from typing import Any

from maintenance.domain import message_ids
from maintenance.domain.instances import Instance
from maintenance.domain.messages import MaintenanceEvent, Record
from maintenance.domain.resources import ScaleSet
from tests.simulation.clock import EPOCH, moment_of, seconds_of
from tests.simulation.faults import Fault, Faults
from tests.simulation.incidents import Errors, Shown, cause
from tests.simulation.loop import Loop
from tests.simulation.plans import DAY, MessagePlan, Plan
from tests.simulation.process import Process
from tests.simulation.promises import Promises
from tests.simulation.resource_manager import SimulatedScaleSet
from tests.simulation.service_bus import Message, Queue
from tests.simulation.triggers import Triggers
from tests.simulation.worker import SimulatedWorker, body_of

# After the last deadline all is to be over within this time.
SOON = 2 * DAY
# An ordinary one takes some thousands; a dozen runs that wait for hours, with a page for each entry, over 100,000.
MOST_STEPS = 300_000
DOWN = {"send": "operations", "publish": "topic", "peek": "coordination"}


class Simulation:
    """Built from a plan, run once. `occurred` counts what was met; `trace` is the story."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        knobs = plan.knobs
        self._draw = random.Random(plan.seed * 7 + 1)
        self.loop = Loop(random.Random(plan.seed * 7 + 2), shuffled=knobs.shuffled)
        self.faults = Faults(plan.faults)
        self.occurred: Counter[str] = Counter()
        self.trace: list[tuple[float, str, tuple[object, ...]]] = []
        clock = self.loop.time
        self.dead_requests = Queue("dead requests", clock, window=None)
        self.dead_operations = Queue("dead operations", clock, window=None)
        most = knobs.max_deliveries
        self.requests = Queue("requests", clock, window=None, max_deliveries=most, dead=self.dead_requests)
        self.operations = Queue("operations", clock, max_deliveries=most, dead=self.dead_operations)
        self.coordination = Queue("coordination", clock)
        self.promises = Promises(self)
        self.requests.buried = self.operations.buried = self._buried
        # When the last thing went wrong, or is over.
        self.trouble_until = 0.0
        self._simulated = {
            each.scale_set.key: SimulatedScaleSet(
                each, self.loop, random.Random(plan.seed * 7 + 3), _Watch(self, each.scale_set.key)
            )
            for each in plan.sets
        }
        self._down: dict[str, float] = {}
        self.processes: list[SimulatedWorker] = []
        self._born = 0
        self._context = Context()
        self.triggers = Triggers(self)

    def run(self) -> Promises:
        """Run to the end, or to the first broken promise."""
        for ahead in self.plan.knobs.clocks:
            self.start(ahead)
        last = 0.0
        for message in self.plan.messages:
            self.later(message.at, self.enqueue, message)
            last = max(last, message.at, *_times(message))
        for incident in self.plan.incidents:
            self.later(incident.at, cause, self, incident)
        errors = Errors(self)
        logger = logging.getLogger("maintenance")
        logger.addHandler(errors)
        try:
            if not self.loop.run(last + SOON, MOST_STEPS):
                hours = (self.loop.time() - last) / 3600
                self.promises.break_(
                    "S2", f"not over {hours:.1f} h after the last message or deadline, {self.loop.steps} steps"
                )
            elif not self.promises.broken:
                self.promises.finish()
        finally:
            logger.removeHandler(errors)
            self.occurred["calls"] = self.loop.steps
            self.loop.unwind()
        return self.promises

    # ------------------------------------------------------------------ for the story and the table

    def note(self, what: str) -> None:
        self.occurred[what] += 1

    def tell(self, text: str, *parts: object) -> None:
        self.trace.append((self.loop.time(), text, parts))

    def met(self, fault: Fault, process: Process) -> None:
        self.note(f"fault {fault.point}: {fault.effect}")
        self.tell("FAULT {}, in {}", fault, process)
        self.troubled(fault.seconds)

    def troubled(self, seconds: float) -> None:
        """Something goes wrong, for so long."""
        self.trouble_until = max(self.trouble_until, self.loop.time() + seconds)

    # ------------------------------------------------------------------ chance

    def latency(self) -> float:
        return self._draw.random() * self.plan.knobs.latency

    def page(self) -> int:
        return self.plan.knobs.page

    def batch(self) -> int:
        return 1 if self._draw.random() < 0.1 else 100

    def commit_time(self) -> float:
        commit = self.plan.knobs.commit
        return self._draw.uniform(0, commit) if commit and self._draw.random() < 0.5 else 0.0

    def views(self, simulated: SimulatedScaleSet) -> list[Instance]:
        lag, mode = self.plan.knobs.lag, self._draw.random()
        if not lag or mode < 0.3:
            shown = simulated.views(0.0, each=False)
            self.tell("  views: {}", Shown(shown))
            return shown
        self.note("lagging views")
        shown = simulated.views(lag if mode < 0.5 else lag * self._draw.random(), each=mode > 0.7)
        if self.plan.knobs.letter_case and simulated.plan.flexible:
            shown = [replace(each, instance_id=each.instance_id.upper()) for each in shown]
        self.tell("  views that lag: {}", Shown(shown))
        return shown

    def without_some_views(self, shown: list[Instance]) -> list[Instance]:
        return [Instance(each.instance_id, reported=False) if self._draw.random() < 0.5 else each for each in shown]

    # ------------------------------------------------------------------ what gateways ask for

    def simulated(self, scale_set: ScaleSet) -> SimulatedScaleSet:
        return self._simulated[scale_set.key]

    def is_gone(self, run_id: str, name: str) -> bool:
        return any(name in each.machines and each.machines[name].gone for each in self._simulated.values())

    def put_record(self, record: Record) -> int:
        due = seconds_of(record.due) if record.due is not None else None
        number, message = self.operations.send(
            record.body,
            record.message_id,
            due=due,
            subject=record.subject,
            correlation_id=record.correlation_id,
            properties={name: str(value) for name, value in record.properties.items()},
        )
        if message is None:
            self.note("dropped duplicate: record")
        else:
            self.note(f"record {record.subject}")
        return number

    def publish(self, event: MaintenanceEvent) -> None:
        self.promises.published(event)

    def is_out(self, entity: str) -> bool:
        return self._down.get(entity, -1.0) > self.loop.time()

    def take_down(self, point: str, seconds: float) -> None:
        entity = DOWN.get(point, point)
        self.troubled(seconds)
        self._down[entity] = max(self._down.get(entity, 0.0), self.loop.time() + seconds)

    def mishap(self, queue: Queue, taken: list[Message], fault: Fault | None, process: Process) -> None:
        """What a fault does to one of the messages that were just received."""
        if fault is None or not taken or fault.effect not in ("lose", "lose uncounted", "overtaken", "dead-letter"):
            return
        message = self._draw.choice(taken)
        self.note(f"fault {fault.point}: {fault.effect}")
        self.tell("FAULT {}: {}", fault, message.message_id)
        self.troubled(fault.seconds)
        if fault.effect == "overtaken":
            # Somebody else gets it as if for the first time, while this process stands still before it acts.
            queue.lose(message, counted=False)
            process.stands_still = fault.seconds
        elif fault.effect == "dead-letter":
            self.later(fault.seconds, self._bury, queue, message, message.token)
        else:
            counted = fault.effect == "lose"
            self.later(fault.seconds, self._lose, queue, message, message.token, counted)

    @staticmethod
    def _bury(queue: Queue, message: Message, token: int) -> None:
        if queue.holds(message, token):
            queue.bury(message, "simulated")

    @staticmethod
    def _lose(queue: Queue, message: Message, token: int, counted: bool) -> None:
        if queue.holds(message, token):
            queue.lose(message, counted=counted)

    # ------------------------------------------------------------------ processes

    def start(self, ahead: float) -> None:
        self._born += 1
        process = Process(self, f"process {self._born}", ahead)
        self.processes.append(process.context.run(SimulatedWorker, process))

    def kill(self, process: Process, pause: float | None = None) -> None:
        """Another is started after a while."""
        process.life.dead = True
        self.note("killed")
        self.processes = [each for each in self.processes if each.process is not process]
        self.later(self._draw.uniform(1, 400) if pause is None else pause, self.start, process.ahead)

    def kill_all(self, pause: float) -> None:
        for worker in list(self.processes):
            self.kill(worker.process, pause)

    def someone(self) -> SimulatedWorker:
        """A worker whose process lives."""
        return self._draw.choice(self.processes)

    def some(self) -> list[SimulatedWorker]:
        """Those in which a timer rings: one, or more."""
        count = min(len(self.processes), 1 if self._draw.random() < 0.6 else self.plan.knobs.ticks)
        return self._draw.sample(self.processes, count)

    def context(self) -> Context:
        """Of what belongs to no process."""
        return self._context.copy()

    def later(self, seconds: float, what: Any, *parts: object) -> None:
        self.loop.call_later(seconds, what, *parts, context=self.context())

    # ------------------------------------------------------------------ what the plan holds

    def enqueue(self, plan: MessagePlan) -> None:
        body = body_of(_with_times(plan.document))
        if plan.alert:
            _, message = self.operations.send(body, plan.message_id, subject="request")
        else:
            _, message = self.requests.send(body, plan.message_id)
        if message is None:
            self.note("dropped duplicate: alert")
            return
        run_id = RUN_ID(message.number, moment_of(message.enqueued_at), of_alert=plan.alert)
        self.note(f"message {plan.kind}")
        self.tell("{} {} is sent: run {}: {}", plan.kind, plan.message_id, run_id[:6], plan.document)
        self.promises.enqueued(run_id, plan, message.enqueued_at)

    def _buried(self, message: Message) -> None:
        self.note("dead letter")
        self.tell("dead letter: {}", message.message_id)
        self.troubled(0.0)
        number, enqueued_at = message.number, moment_of(message.enqueued_at)
        run = self.promises.runs.get(RUN_ID(number, enqueued_at, of_alert=message.subject == "request"))
        if run is not None:
            run.buried = True


class _Watch:
    """Tells the promises of what a scale set does."""

    def __init__(self, simulation: Simulation, key: str) -> None:
        self.note = simulation.note
        self.tell = simulation.tell
        self._simulation = simulation
        self._key = key
        self.others_maintained = simulation.promises.truth.others_maintained
        self.others_work = simulation.promises.truth.others_work
        self.withdrawn = simulation.promises.truth.withdrawn

    def maintained(self, run_id: str, instance_id: str, ending: str) -> None:
        self._simulation.promises.maintained(run_id, instance_id, ending, self._key)


# As it stands before any mutation.
RUN_ID = message_ids.run


def _with_times(document: Any) -> Any:
    """Times are planned as seconds."""
    if isinstance(document, bytes):
        return document
    times = {name: (EPOCH + timedelta(seconds=document[name])).isoformat() for name in TIMES if name in document}
    return {**document, **times, **({"pause": _with_times(document["pause"])} if "pause" in document else {})}


TIMES = ("notBefore", "deadline", "until")


def _times(message: MessagePlan) -> list[float]:
    if isinstance(message.document, bytes):
        return []
    return [float(message.document[name]) for name in TIMES if name in message.document]
