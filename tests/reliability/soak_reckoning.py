"""What came of the soak: what was counted, and everything that does not hold."""

from __future__ import annotations

import json
import re
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
from tests.reliability.soak_workers import Life
from tests.support.environment import COORDINATION, OPERATIONS, REQUESTS, SUBSCRIPTION, TOPIC

HEARD = f"{TOPIC}/Subscriptions/{SUBSCRIPTION}"
SHOWN = 10


class Tally:
    """Counts what happens on the bus."""

    def __init__(self, requests: int) -> None:
        self._changed = threading.Event()
        self.counts: Counter[str] = Counter()
        self.ends = 0
        self.most_deliveries = 0
        self._requests = requests

    def note(self, event: BusEvent) -> None:
        """On the server's thread."""
        match event:
            case MessageSent(entity=entity, message_id=message_id):
                if entity == HEARD:
                    self.counts["events"] += 1
                    self.ends += message_id.endswith(":ended")
                elif entity == OPERATIONS:
                    self.counts["records"] += 1
                elif entity == REQUESTS and re.search(r":r\d+$", message_id):
                    self.counts["clones"] += 1
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
        """Wait until everything is over, or the time is: False then."""
        give_up = time.monotonic() + within
        while not self.over(bus):
            if not self._changed.wait(max(give_up - time.monotonic(), 0)):
                return False
            self._changed.clear()
        return True

    def over(self, bus: ServiceBus) -> bool:
        """Whether every request has ended and no message is left."""
        return self.ends >= self._requests and not left_over(bus)

    def __str__(self) -> str:
        return (
            f"{self.ends} of {self._requests} ended, {self.counts['clones']} clones, {self.counts['locks']} locks lost"
        )


def left_over(bus: ServiceBus) -> list[str]:
    """The queues that are not empty, with what is in them."""
    counts = {queue: bus.counts(queue) for queue in (REQUESTS, OPERATIONS, COORDINATION)}
    return [f"{queue}: {count}" for queue, count in counts.items() if not count.empty]


def reckon(
    plan: Plan, tally: Tally, bus: ServiceBus, arm: ResourceManager, lives: Sequence[Life]
) -> tuple[list[str], list[str]]:
    """The lines of the report, and what is wrong."""
    events = [json.loads(message.body) for message in bus.peek(HEARD, 100_000)]
    ends: dict[str, list[dict[str, Any]]] = {}
    for event in events:
        if str(event["type"]).split(".")[-2] in ("completed", "rejected"):
            ends.setdefault(str(event["data"]["requestId"]), []).append(event["data"])
    instances = {
        (each.name, report.instance_id): report
        for each in plan.scale_sets
        for report in arm.instances(each.subscription_id, GROUP, each.name)
    }
    wrong = [*_wrong_ends(plan, ends, instances), *_wrong_instances(plan, instances)]
    wrong += [f"left over in {each}" for each in left_over(bus)]
    statuses = Counter(data["status"] for datas in ends.values() for data in datas)
    begun = Counter(instances[target].maintenance_count for target in plan.named)
    report = [
        f"requests: {len(plan.requests)} sent, {len(ends)} ended: {_listed(statuses)}",
        f"events: {len(events)}, of which {sum(map(len, ends.values()))} ends; "
        f"{tally.counts['duplicates']} messages dropped as duplicates in all",
        f"retries: {tally.counts['clones']} clones of requests; {tally.counts['records']} records of operations; "
        f"{tally.counts['redeliveries']} redeliveries, {tally.counts['locks']} of them after a lost lock, "
        f"one message {tally.most_deliveries} times at the most; {tally.counts['dead letters']} dead letters",
        f"instances: {len(plan.named)} named; maintained {_times(begun)}",
        *_arm_report(list(arm.calls), arm),
        *_memory_report(lives),
    ]
    return report, wrong


def _wrong_ends(
    plan: Plan, ends: dict[str, list[dict[str, Any]]], instances: dict[Target, InstanceReport]
) -> list[str]:
    wrong = []
    for asked in plan.requests:
        told = ends.get(asked.request_id, [])
        if len(told) != 1:
            wrong.append(f"{asked.request_id} ended {len(told)} times: {[data['status'] for data in told]}")
            continue
        status = told[0]["status"]
        outcomes = {(_scale_set(told[0]), each["instanceId"]): each["outcome"] for each in told[0].get("instances", ())}
        holds_lease = [target for target, outcome in outcomes.items() if outcome in ("Completed", "AlreadyCompleted")]
        untrue = [target for target in holds_lease if instances[target].state != "completed"]
        own = all(plan.named[target] == 1 for target in asked.targets)
        well = all(plan.outcomes[target] == "Succeeded" for target in asked.targets)
        if asked.bad != (status == "Rejected"):
            wrong.append(f"{asked.request_id} is {'no good' if asked.bad else 'good'}, and ended as {status}")
        elif untrue:
            wrong.append(f"{asked.request_id} tells that {untrue} are completed, and they are not")
        elif not asked.bad and set(outcomes) != set(asked.targets):
            wrong.append(f"{asked.request_id} tells of {sorted(outcomes)}, and not of what was asked for")
        elif not asked.bad and own and well and status != "Succeeded":
            wrong.append(f"{asked.request_id} ended as {status}, though its instances did well: {told[0].get('error')}")
    return _cut(wrong)


def _wrong_instances(plan: Plan, instances: dict[Target, InstanceReport]) -> list[str]:
    wrong = []
    for target, report in instances.items():
        named = plan.named[target]
        # Only what ended as RetryLater can be maintained again, and then for another request.
        most = named if plan.outcomes[target] == "RetryLater" else min(named, 1)
        if report.maintenance_count > most:
            wrong.append(f"{'/'.join(target)} was maintained {report.maintenance_count} times for {named} requests")
        elif report.state == "in-progress":
            wrong.append(f"{'/'.join(target)} is still under maintenance")
    return _cut(wrong)


def _arm_report(calls: Sequence[Call], arm: ResourceManager) -> list[str]:
    operations = len(arm.operations())
    kinds = Counter(_kind(call) for call in calls)
    statuses = Counter(str(call.status or "cut") for call in calls)
    struck = sum(report.hits for report in arm.faults.reports())
    return [
        f"ARM: {len(calls)} calls ({_listed(kinds)}) for {operations} operations: "
        f"{len(calls) / max(operations, 1):.1f} calls an operation; {struck} made to fail; answers {_listed(statuses)}",
    ]


def _kind(call: Call) -> str:
    if call.method == "POST":
        return "POST"
    if "/operations/" in call.path:
        return "polls"
    return "listings" if call.path.endswith("/virtualMachines") else "scale sets"


def _memory_report(lives: Sequence[Life]) -> list[str]:
    if len(lives) < 2:
        return []
    full = max(life.lasted for life in lives)
    comparable = [life for life in lives if life.lasted > 0.9 * full]
    first, last = comparable[0], comparable[-1]
    least, most = min(life.rss for life in comparable), max(life.peak for life in comparable)
    return [
        f"worker: {len(lives)} lives; memory at the end of the first of {first.lasted:.0f} s: {first.rss:.0f} MB, "
        f"of the last of {last.lasted:.0f} s: {last.rss:.0f} MB; from {least:.0f} to {most:.0f} MB over all lives"
    ]


def _scale_set(data: dict[str, Any]) -> str:
    return str(data.get("vmScaleSetName"))


def _times(counts: Counter[int]) -> str:
    names = {0: "never", 1: "once", 2: "twice"}
    return ", ".join(f"{names.get(times, f'{times} times')}: {counts[times]}" for times in sorted(counts))


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.most_common())


def _cut(wrong: list[str]) -> list[str]:
    return wrong if len(wrong) <= SHOWN else [*wrong[:SHOWN], f"… and {len(wrong) - SHOWN} more of this kind"]
