"""The promises S1 to S8 of docs/reliability.md, checked as each effect happens, and once more when all is over; and
that each event is what its JSON Schema says.

What is true is known here from the models: what ARM took, what was maintained for which run, what was published.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from maintenance.domain.messages import MaintenanceEvent
from maintenance.domain.observations import Failed, Refused, Submission, Throttled
from maintenance.domain.operation import Operation
from tests.simulation.clock import seconds_of
from tests.simulation.gates import answer
from tests.simulation.machine import Machine
from tests.simulation.plans import MessagePlan
from tests.simulation.policies import Policies, forbidden, most_of
from tests.simulation.process import Process
from tests.simulation.resource_manager import SimulatedScaleSet
from tests.simulation.runs import Broken, Run, cancels, limit_of, same
from tests.simulation.truth import Truth
from tests.support.contract import schema_problem

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

# S4: the greatest age of a look; what is sent is sent at once after it. A second for rounding.
LOOK = 61.0
# S4: how soon a run that waits meets a cancellation, and what ticks and calls take until its end is published.
MEETS = 15 * 60.0 + 150.0
# Whose call was sent so lately may have to be judged first; what went wrong so lately may hold things up.
IN_DOUBT = 30 * 60.0
IN_PEACE = 60 * 60.0
# A cancellation may overtake its request by so much (`coordination.MARKER_REACHES`).
REACHES = 121.0


class Promises:
    """Those of one simulation. `broken`: what did not hold; the simulation stops at the first."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self.broken: list[Broken] = []
        self.runs: dict[str, Run] = {}
        self.truth = Truth(simulation, self.runs)
        self._events: dict[str, bytes] = {}
        # Runs whose calls ARM works on, by scale set: their limits are in force.
        self._at_work: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def break_(self, promise: str, how: str) -> None:
        self.broken.append(Broken(promise, how))
        self._simulation.tell("BROKEN {}: {}", promise, how)
        self._simulation.loop.stop()

    def enqueued(self, run_id: str, message: MessagePlan, at: float) -> None:
        self.runs[run_id] = Run(message, at)

    def run(self, run_id: str) -> Run:
        if run_id not in self.runs:
            self.break_("S2", f"run {run_id[:6]} belongs to no message")
            self.runs[run_id] = Run(None, 0.0)
        return self.runs[run_id]

    # ------------------------------------------------------------------ as it happens

    def posting(self, operation: Operation, names: Sequence[str], process: Process) -> None:
        """A call is about to be sent."""
        simulation, run = self._simulation, self.run(operation.run_id)
        now = simulation.loop.time()
        simulation.note("POST sent")
        simulation.tell(
            "{} posts {} for run {} ({})", process, ",".join(names), operation.run_id[:6], operation.message_id[-4:]
        )
        for name in names:
            if run.taken[name.lower()]:
                self.break_("S1", f"{name} is posted again for run {operation.run_id[:6]}, and ARM had taken it")
            run.asked[name.lower()] += 1
        run.asked_at = now
        # It looked before it could see its cancellation, and no longer waits.
        run.ends_by = None
        if run.ended_at is not None:
            self.break_("S3", f"run {operation.run_id[:6]} posts after its end was published")
        if run.message is not None and run.message.kind == "dry":
            self.break_("S8", f"run {operation.run_id[:6]} is a dry run, and posts")
        for other in self.runs.values():
            if other.answered_at is not None and now > other.answered_at + LOOK and self._cancels(other, operation):
                since = now - other.answered_at
                self.break_("S4", f"run {operation.run_id[:6]} posts {since:.0f} s after its cancellation was accepted")
        for promise, how in forbidden(simulation, self.runs, operation, process):
            self.break_(promise, how)
        oldest = process.entries_asked_at
        if simulation.plan.knobs.views:
            oldest = min(oldest, process.views_asked_at.get(operation.scale_set.key, -1e9))
        if now - oldest > LOOK:
            self.break_("S7", f"run {operation.run_id[:6]} posts, and state_read {now - oldest:.0f} s ago")

    def _check_limits(self, key: str, down: int, total: int) -> None:
        """That no more is under way than the app's limits allow; `down` instances of this set are because of us."""
        policies = self._simulation.plan.knobs.policies or Policies()
        limits = policies.limits
        most = most_of(limits.instances_per_scale_set, total)
        if most is not None and down > most:
            self.break_("S5", f"{down} are down because of us, the app allows {most}")
        # What is not over at its deadline no longer counts; by a clock that is ahead that comes sooner.
        counts_until = self._simulation.loop.time() + max(0.0, *self._simulation.plan.knobs.clocks)
        under_way = {
            each
            for each, runs in self._at_work.items()
            if any(left > 0 and self._counts(run_id, counts_until) for run_id, left in runs.items())
        } | {key}
        if limits.scale_sets is not None and len(under_way) > limits.scale_sets:
            self.break_("S5", f"{len(under_way)} scale sets are under way, the app allows {limits.scale_sets}")

    def _counts(self, run_id: str, until: float) -> bool:
        run = self.run(run_id)
        return run.ended_at is None and run.deadline > until

    def taken(self, operation: Operation, simulated: SimulatedScaleSet, machines: Sequence[Machine]) -> None:
        """ARM took a call; all of its machines count as down from now on."""
        simulation, run = self._simulation, self.run(operation.run_id)
        key = operation.scale_set.key
        run.deadline = seconds_of(operation.deadline)
        simulation.note("POST taken")
        for machine in machines:
            name = machine.plan.name.lower()
            if run.taken[name]:
                self.break_("S1", f"ARM took {name} twice for run {operation.run_id[:6]}")
            run.taken[name] += 1
            self._at_work[key][operation.run_id] += 1
        simulation.tell("ARM takes {} for run {}", ",".join(m.plan.name for m in machines), operation.run_id[:6])
        if run.ended_at is not None:
            self.break_("S3", f"ARM took a call of run {operation.run_id[:6]} after its end was published")
        if run.limit is None:
            run.limit = limit_of(operation)
        down = simulated.down_by_us()
        for run_id, left in self._at_work[key].items():
            limit = self.run(run_id).limit
            if left and limit is not None and len(down) > limit:
                shown = ", ".join(f"{name} ({machine.ours or ''})"[:12] for name, machine in down.items())
                self.break_("S5", f"{len(down)} are down because of us ({shown}), run {run_id[:6]} allows {limit:.0f}")
        self._check_limits(key, len(down), len(simulated.machines))
        if operation.rollout.by_update_domain:
            mixed = {
                machine.plan.domain for machine in down.values() if machine.ours == operation.run_id and machine.by
            }
            mixed |= {machine.plan.domain for machine in machines}
            if len(mixed) > 1 or (None in mixed and len(machines) > 1):
                self.break_("S5", f"run {operation.run_id[:6]} has instances of several update domains at work")

    def not_taken(self, operation: Operation, names: Sequence[str], answer: Submission) -> None:
        refused = isinstance(answer, Refused | Throttled)
        self.run(operation.run_id).failed_at_once |= isinstance(answer, Failed)
        status = answer.status if isinstance(answer, Refused) else type(answer).__name__
        self._simulation.note(f"POST not taken: {status}")
        self._simulation.tell(
            "ARM does not take {} for run {}{}",
            ",".join(names),
            operation.run_id[:6],
            f" ({status})" if refused else "",
        )

    def maintained(self, run_id: str, name: str, ending: str, key: str) -> None:
        run = self.run(run_id)
        run.endings[name.lower()] = ending
        self._at_work[key][run_id] -= 1

    def published(self, event: MaintenanceEvent) -> None:
        """An event reached the topic, perhaps not for the first time."""
        simulation, body = self._simulation, event.to_json()
        run_id, _, kind = event.event_id.partition(":")
        simulation.note(f"event {event.properties['type'].split('.')[2]} {event.properties['status']}")
        if event.event_id not in self._events and (problem := schema_problem(body)) is not None:
            self.break_("schema", f"event {kind} of run {run_id[:6]} is not as its schema says: {problem}")
        before = self._events.setdefault(event.event_id, body)
        if before != body:
            simulation.tell("first {}", before.decode())
            simulation.tell("then {}", body.decode())
            self.break_("S2", f"event {kind} of run {run_id[:6]} has two contents")
        run = self.run(run_id)
        simulation.tell("event {} {} of run {}", kind, event.properties["status"], run_id[:6])
        answers = kind == "accepted" and any(
            event.data.get(name) for name in ("cancels", "pauses", "resumes", "proceeds")
        )
        if event.data["status"] == "Deferred":
            simulation.note(f"deferred for {event.data['waitsFor']}")
        if (event.data.get("error") or {}).get("code") == "GateTimedOut":
            simulation.note("stopped at a gate")
        if event.data["status"] == "Awaiting" and event.data["wave"] not in run.awaited:
            self._awaiting(run, event)
        if answers and run.answered_at is None:
            run.answered_at = simulation.loop.time()
            self._answered(run)
        if kind == "ended" or answers:
            run.ends[event.event_id] = body
            if len(run.ends) > 1:
                self.break_("S2", f"run {run_id[:6]} has two ends")
            if run.ended_at is None:
                run.ended_at = simulation.loop.time()
                run.end_data = dict(event.data)
                self._check_end(run_id, run)
                if (
                    run.ends_by is not None
                    and run.ended_at > run.ends_by
                    and simulation.trouble_until < run.ends_by - IN_PEACE
                ):
                    self.break_("S4", f"run {run_id[:6]} was canceled while it waited, and met it too late")

    def _awaiting(self, run: Run, event: MaintenanceEvent) -> None:
        run.awaited[event.data["wave"]] = seconds_of(datetime.fromisoformat(event.data["until"]))
        if (self._simulation.plan.knobs.policies or Policies()).answers:
            answer(self._simulation, event)

    def _answered(self, cancellation: Run) -> None:
        """A cancellation is answered: whom does it find in which phase?"""
        simulation = self._simulation
        now = simulation.loop.time()
        for run_id, run in self.runs.items():
            document = run.message.document if run.message else b""
            if isinstance(document, bytes) or not cancels(cancellation, document, run.enqueued_at):
                continue
            if run.ended_at is not None:
                simulation.note("canceled after its end")
            elif any(left[run_id] for left in self._at_work.values()):
                simulation.note("canceled at work")
            else:
                simulation.note("canceled between waves" if run.taken else "canceled while waiting")
                if run.asked_at is None or now > run.asked_at + IN_DOUBT:
                    run.ends_by = now + MEETS

    # ------------------------------------------------------------------ what an end says

    def _check_end(self, run_id: str, run: Run) -> None:
        data, message = run.end_data, run.message
        for each in data.get("instances", ()):
            name, outcome = each["instanceId"].lower(), each["outcome"]
            if wrong := self.truth.contradicts(run_id, name, outcome):
                self.break_("S6", f"{name} of run {run_id[:6]} {wrong}")
        if message is None:
            return
        status = data["status"]
        document = message.document if isinstance(message.document, dict) else {}
        others = [each for each in self.runs.values() if each is not run]
        if status == "Duplicate" and not any(same(each.message, message) for each in others):
            self.break_("S8", f"run {run_id[:6]} ends as a duplicate, and nobody asked the same")
        if status == "Canceled":
            by_arm = (data.get("error") or {}).get("code") != "Canceled"
            reach = run.enqueued_at - REACHES
            if not by_arm and not any(cancels(each, document, reach) for each in others):
                self.break_("S8", f"run {run_id[:6]} ends as canceled, and nobody canceled it")
        knobs = self._simulation.plan.knobs
        good = (
            message.kind not in ("bad", "cancel", "pause", "resume", "proceed")
            and document.get("ineligible") != "reject"
        )
        # An app that reads no views refuses all that needs them; one that waits for no lease refuses what would wait.
        good = good and knobs.views and knobs.wait_for_lease
        # One whose window was missed, as nobody was there, has no other before its deadline.
        good = good and not knobs.policies and "windows" not in document
        if status == "Rejected" and good and not run.buried and "deadline" not in document:
            self.break_("S8", f"run {run_id[:6]} is rejected: {data.get('problems')}")

    def _cancels(self, cancellation: Run, operation: Operation) -> bool:
        return cancels(
            cancellation,
            {
                "requestId": operation.request_id,
                "vmScaleSetName": operation.scale_set.name,
                "subscriptionId": operation.scale_set.subscription_id,
            },
            self.run(operation.run_id).enqueued_at,
        )

    # ------------------------------------------------------------------ when all is over

    def finish(self) -> None:
        """Every message has its end, and nothing is left behind."""
        simulation = self._simulation
        for run_id, run in self.runs.items():
            if not run.ends:
                kind = run.message.kind if run.message else "?"
                self.break_("S2", f"run {run_id[:6]} ({kind}) has no end")
        for queue in (simulation.requests, simulation.operations, simulation.dead_requests, simulation.dead_operations):
            if len(queue):
                self.break_("S2", f"{len(queue)} messages are left in {queue.name}")
        leases = [each for each in simulation.coordination.scheduled.values() if b'"kind": "lease"' in each.body]
        if leases:
            self.break_("S2", f"{len(leases)} leases are left behind: {leases[0].body.decode()}")
        for text in simulation.loop.unexpected:
            self.break_("unexpected", text)
