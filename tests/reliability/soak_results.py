"""Evaluation of the soak: a report of the counts, and every error found."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from sandbox.resource_manager import Call, InstanceReport, ResourceManager
from sandbox.servicebus import (
    BusEvent,
    DuplicateDropped,
    LockLost,
    MessageDeadLettered,
    MessageReceived,
    MessageSent,
    ServiceBus,
)
from tests.reliability.soak_plan import GROUP, Plan, Target
from tests.reliability.soak_policies import CONTROL, Hold, limit_errors, pause_errors, posts, window_errors
from tests.reliability.soak_workers import WorkerRun
from tests.support.entities import OPERATIONS, REQUESTS, SUBSCRIPTION, TOPIC, remains

SUBSCRIPTION_PATH = f"{TOPIC}/Subscriptions/{SUBSCRIPTION}"
SHOWN = 10


class Tally:
    """Counts the events of the Service Bus."""

    def __init__(self, requests: int) -> None:
        self._changed = threading.Event()
        self.counts: Counter[str] = Counter()
        self.ends = 0
        self.most_deliveries = 0
        self._requests = requests

    def note(self, event: BusEvent) -> None:
        """Count an event; called on the server's thread."""
        match event:
            case MessageSent(entity=entity, message_id=message_id):
                if entity == SUBSCRIPTION_PATH:
                    self.counts["events"] += 1
                    self.ends += message_id.endswith(":ended")
                elif entity == OPERATIONS:
                    self.counts["records"] += 1
                elif entity == REQUESTS:
                    self.counts["controls" if message_id.startswith(CONTROL) else "messages"] += 1
            case DuplicateDropped():
                self.counts["duplicates"] += 1
            case LockLost():
                self.counts["locks"] += 1
            case MessageDeadLettered():
                self.counts["dead letters"] += 1
            case MessageReceived(delivery_count=failed):
                self.counts["redeliveries"] += failed > 0
                self.most_deliveries = max(self.most_deliveries, failed + 1)
        self._changed.set()

    def wait(self, bus: ServiceBus, within: float) -> bool:
        """Wait until everything is over (True), or until the time is (False)."""
        give_up = time.monotonic() + within
        while not self.over(bus):
            if not self._changed.wait(max(give_up - time.monotonic(), 0)):
                return False
            self._changed.clear()
        return True

    def over(self, bus: ServiceBus) -> bool:
        """Whether every message has ended and none is left, nor a lease."""
        return self.ends >= max(self._requests, self.counts["messages"]) and not remains(bus)

    def __str__(self) -> str:
        messages, locks = self.counts["messages"], self.counts["locks"]
        return f"{self.ends} ends of {messages} messages for {self._requests} requests, {locks} locks lost"


def evaluate(
    plan: Plan,
    tally: Tally,
    bus: ServiceBus,
    arm: ResourceManager,
    *,
    runs: Sequence[WorkerRun],
    holds: Sequence[Hold],
    over: bool,
) -> tuple[list[str], list[str]]:
    """Return the lines of the report, and the errors. `over`: as the last worker was killed. A REST record may have
    fallen due since, and nobody is there to take it."""
    published = [(message.enqueued_at, json.loads(message.body)) for message in bus.peek(SUBSCRIPTION_PATH, 100_000)]
    events = [event for _, event in published]
    ends: dict[str, list[dict[str, Any]]] = {}
    for event in events:
        of_control = str(event["data"]["requestId"]).startswith(CONTROL)
        if not of_control and _kind_of(event) in ("completed", "rejected", "duplicate"):
            ends.setdefault(str(event["data"]["requestId"]), []).append(event["data"])
    instances = {
        (each.name, report.instance_id): report
        for each in plan.scale_sets
        for report in arm.instances(each.subscription_id, GROUP, each.name)
    }
    errors = [*_end_errors(plan, ends, instances), *_instance_errors(plan, instances), *_run_errors(tally, ends)]
    if not over:
        errors += [f"left over: {each}" for each in remains(bus)]
    posted = list(posts(list(arm.calls)))
    accepted = {str(each["data"]["requestId"]): at for at, each in published if _kind_of(each) == "accepted"}
    rejected = {str(each["data"]["requestId"]) for each in events if _kind_of(each) == "rejected"}
    limits, most_at_once = limit_errors(arm.operations())
    errors += [
        *_cut(window_errors(plan, posted)),
        *_cut(pause_errors(holds, accepted, rejected, posted)),
        *_cut(limits),
    ]
    too_late = sum(each.message_id in rejected for each in holds)
    kinds = Counter(map(_kind_of, events))
    waited = Counter(str(each["data"]["waitsFor"]) for each in events if _kind_of(each) == "deferred")
    statuses = Counter(data["status"] for datas in ends.values() for data in datas)
    begun = Counter(instances[target].maintenance_count for target in plan.named)
    report = [
        f"requests: {len(plan.requests)} sent, {len(ends)} ended: {_listed(statuses)}",
        f"events: {len(events)}, of which {sum(map(len, ends.values()))} ends; "
        f"{tally.counts['duplicates']} messages dropped as duplicates in all",
        f"messages: {tally.counts['messages']} of requests; {tally.counts['records']} records; "
        f"{tally.counts['redeliveries']} redeliveries, {tally.counts['locks']} of them after a lost lock, "
        f"one message {tally.most_deliveries} times at the most; {tally.counts['dead letters']} dead letters",
        f"policies: {len(posted)} POSTs; {kinds['awaiting']} gates; {len(holds)} pauses, {too_late} of them too late; "
        f"at most {most_at_once} scale sets under way; {kinds['deferred']} waits published: {_listed(waited)}",
        f"instances: {len(plan.named)} named; maintained {_times(begun)}",
        *_arm_report(list(arm.calls), arm),
        *_memory_report(runs),
    ]
    return report, errors


def _end_errors(
    plan: Plan, ends: dict[str, list[dict[str, Any]]], instances: dict[Target, InstanceReport]
) -> list[str]:
    errors = []
    for request in plan.requests:
        # A sender that had no response sent the message again: a duplicate, or a run that found everything done.
        finals = [data for data in ends.get(request.request_id, []) if data["status"] != "Duplicate"]
        if not finals:
            errors.append(f"{request.request_id} has no end of its own")
            continue
        final, *again = finals
        if repeated := [data["status"] for data in again if data["status"] not in ("NothingToDo", "Rejected")]:
            errors.append(f"{request.request_id} ended again as {repeated}")
        status = final["status"]
        outcomes = {(_scale_set(final), each["instanceId"]): each["outcome"] for each in final.get("instances", ())}
        completed = [target for target, outcome in outcomes.items() if outcome in ("Completed", "AlreadyCompleted")]
        untrue = [target for target in completed if instances[target].state != "completed"]
        alone = all(plan.named[target] == 1 for target in request.targets)
        all_succeed = all(plan.outcomes[target] == "Succeeded" for target in request.targets)
        if request.invalid != (status == "Rejected"):
            errors.append(f"{request.request_id} is {'invalid' if request.invalid else 'valid'}, and ended as {status}")
        elif untrue:
            errors.append(f"{request.request_id} reports {untrue} as completed, and they are not")
        elif not request.invalid and set(outcomes) != set(request.targets):
            errors.append(f"{request.request_id} reports {sorted(outcomes)}, not the instances it named")
        elif not request.invalid and alone and all_succeed and status != "Succeeded":
            errors.append(f"{request.request_id} ended as {status}, but its instances succeeded: {final.get('error')}")
    return _cut(errors)


def _run_errors(tally: Tally, ends: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Each message has a run of its own, and each run one end."""
    runs = Counter(str(data["runId"]) for datas in ends.values() for data in datas)
    errors = [f"run {run_id} ended {times} times" for run_id, times in runs.items() if times > 1]
    if len(runs) != tally.counts["messages"]:
        errors.append(f"{tally.counts['messages']} messages came to {len(runs)} ends")
    return _cut(errors)


def _instance_errors(plan: Plan, instances: dict[Target, InstanceReport]) -> list[str]:
    errors = []
    for target, report in instances.items():
        named = plan.named[target]
        # Only an instance that ended as RetryLater can be maintained again, for another request.
        most = named if plan.outcomes[target] == "RetryLater" else min(named, 1)
        if report.maintenance_count > most:
            errors.append(f"{'/'.join(target)} was maintained {report.maintenance_count} times for {named} requests")
        elif report.state == "in-progress":
            errors.append(f"{'/'.join(target)} is still under maintenance")
    return _cut(errors)


def _kind_of(event: dict[str, Any]) -> str:
    return str(event["type"]).split(".")[-2]


def _arm_report(calls: Sequence[Call], arm: ResourceManager) -> list[str]:
    operations = len(arm.operations())
    kinds = Counter(_kind(call) for call in calls)
    statuses = Counter(str(call.status or "cut") for call in calls)
    struck = sum(report.hits for report in arm.faults.reports())
    return [
        f"ARM: {len(calls)} calls ({_listed(kinds)}) for {operations} operations: "
        f"{len(calls) / max(operations, 1):.1f} calls an operation; {struck} made to fail; "
        f"statuses {_listed(statuses)}",
    ]


def _kind(call: Call) -> str:
    if call.method == "POST":
        return "POST"
    if "/operations/" in call.path:
        return "polls"
    return "listings" if call.path.endswith("/virtualMachines") else "scale sets"


def _memory_report(runs: Sequence[WorkerRun]) -> list[str]:
    if len(runs) < 2:
        return []
    full = max(run.duration for run in runs)
    comparable = [run for run in runs if run.duration > 0.9 * full]
    first, last = comparable[0], comparable[-1]
    least, most = min(run.rss for run in comparable), max(run.peak for run in comparable)
    return [
        f"worker: {len(runs)} runs; memory at the end of the first of {first.duration:.0f} s: {first.rss:.0f} MB, "
        f"of the last of {last.duration:.0f} s: {last.rss:.0f} MB; from {least:.0f} to {most:.0f} MB over all runs"
    ]


def _scale_set(data: dict[str, Any]) -> str:
    return str(data.get("vmScaleSetName"))


def _times(counts: Counter[int]) -> str:
    names = {0: "never", 1: "once", 2: "twice"}
    return ", ".join(f"{names.get(times, f'{times} times')}: {counts[times]}" for times in sorted(counts))


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.most_common())


def _cut(errors: list[str]) -> list[str]:
    return errors if len(errors) <= SHOWN else [*errors[:SHOWN], f"… and {len(errors) - SHOWN} more of this kind"]
