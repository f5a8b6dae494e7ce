"""What bounds the soak: windows, gates, pauses and limits; and what shows that they were kept to."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sandbox.resource_manager import Call
from tests.reliability.soak_plan import GROUP, Plan, PlannedRequest, Target

# Message ids of what is no request begin so.
CONTROL = "control-"
# The app's window opens with each minute, and closes before its end; that of some requests opens every other minute.
OPEN = timedelta(seconds=50)
SCALE_SETS, INSTANCES = 120, 2
POLICIES = {
    "MAINTENANCE_WINDOWS": json.dumps([{"schedule": "* * * * *", "duration": "PT50S"}]),
    "MAINTENANCE_LIMITS": json.dumps({"scaleSets": SCALE_SETS, "instancesPerScaleSet": INSTANCES}),
}
# Between deciding to post and ARM's noting the call, on a busy machine.
ON_ITS_WAY = timedelta(seconds=2)
# What had looked before a pause was accepted may still post: a minute, and one call's time-out.
LOOKED_BEFORE = timedelta(seconds=105)
PAUSE_AFTER, PAUSE_LASTS = 30.0, 150.0

Send = Callable[[str, bytes], None]


@dataclass(frozen=True, slots=True)
class Hold:
    """A pause that was sent. `resumed_at`: just before its resume was sent."""

    message_id: str
    subscription_id: str
    resumed_at: datetime


@dataclass
class Holds:
    """Pauses one subscription after another, each for a while; made for one thread."""

    subscriptions: Sequence[str]
    sent: list[Hold] = field(default_factory=list)

    def run(self, send: Send, stop: threading.Event) -> None:
        """Until stopped, with a resume of the last. What it keeps waiting goes on when the pause itself is over."""
        for number, subscription_id in enumerate(self.subscriptions):
            if stop.wait(PAUSE_AFTER):
                return
            scope, message_id = f"/subscriptions/{subscription_id}", f"{CONTROL}hold-{number}"
            until = (datetime.now(UTC) + timedelta(seconds=PAUSE_LASTS + 10)).isoformat()
            send(message_id, json.dumps({"pause": {"scope": scope, "until": until}}).encode())
            stopped = stop.wait(PAUSE_LASTS)
            self.sent.append(Hold(message_id, subscription_id, datetime.now(UTC)))
            send(f"{CONTROL}on-{number}", json.dumps({"resume": {"scope": scope}}).encode())
            if stopped:
                return


def proceed(request: PlannedRequest) -> tuple[str, bytes]:
    """Lets the first wave of a gated request go: its message id and body."""
    names = {"subscriptionId": request.subscription_id, "resourceGroupName": GROUP}
    body = {**names, "vmScaleSetName": request.targets[0][0], "proceed": request.request_id, "wave": 1}
    return f"{CONTROL}go-{request.request_id}", json.dumps(body).encode()


@dataclass(frozen=True, slots=True)
class Post:
    """A call of performMaintenance that ARM received."""

    at: datetime
    subscription_id: str
    targets: tuple[Target, ...]


def posts(calls: Sequence[Call]) -> Iterator[Post]:
    for call in calls:
        if call.method == "POST" and call.path.endswith("/performMaintenance"):
            parts = call.path.split("/")
            ids = json.loads(call.body or b"{}").get("instanceIds", [])
            yield Post(call.time, parts[2], tuple((parts[-2], each) for each in ids))


def window_errors(plan: Plan, posted: Sequence[Post]) -> list[str]:
    """POSTs while a window that they need was closed."""
    windowed = Counter(target for each in plan.requests if each.windowed for target in each.targets)
    # Those that requests without windows name, too, may be posted by these.
    windowed_alone = {target for target, times in windowed.items() if plan.named[target] == times}
    closed = [each for each in posted if all(moment.second >= OPEN.seconds for moment in _around(each.at))]
    of_windowed = [each for each in posted if windowed_alone.intersection(each.targets)]
    odd = [each for each in of_windowed if all(moment.minute % 2 for moment in _around(each.at))]
    errors = [f"{each.targets} were posted at {each.at:%H:%M:%S}, while no window was open" for each in closed]
    return errors + [f"{each.targets} were posted at {each.at:%H:%M:%S}, outside their window" for each in odd]


def _around(at: datetime) -> tuple[datetime, datetime]:
    """When a call may have been begun that ARM noted then."""
    return at - ON_ITS_WAY, at


def pause_errors(
    holds: Sequence[Hold], accepted: Mapping[str, datetime], rejected: Collection[str], posted: Sequence[Post]
) -> list[str]:
    """POSTs in a subscription that was paused. `accepted`: when the event that accepts a pause was published. One whose
    time was over when the worker came to it, behind all requests before it, is `rejected`."""
    errors = []
    for hold in holds:
        if hold.message_id in rejected:
            continue
        if hold.message_id not in accepted:
            errors.append(f"{hold.message_id} was neither accepted nor rejected")
            continue
        since = accepted[hold.message_id] + LOOKED_BEFORE
        errors += [
            f"{each.targets} were posted at {each.at:%H:%M:%S} in the pause {hold.message_id}"
            for each in posted
            if each.subscription_id == hold.subscription_id and since < each.at < hold.resumed_at
        ]
    return errors


def limit_errors(operations: Sequence[Mapping[str, Any]]) -> tuple[list[str], int]:
    """More at once than the limits allow, by what ARM did; and the most scale sets at once."""
    steps: list[tuple[datetime, int, tuple[str, ...]]] = []
    for each in operations:
        names = tuple(each["vmNames"])
        steps.append((datetime.fromisoformat(each["started"]), 1, names))
        if each["ended"]:
            steps.append((datetime.fromisoformat(each["ended"]), 0, names))
    down: Counter[str] = Counter()
    errors: list[str] = []
    most = 0
    # What ends in the same moment ends first.
    for at, begins, names in sorted(steps):
        scale_set = names[0].rpartition("_")[0]
        down[scale_set] += len(names) if begins else -len(names)
        most = max(most, sum(count > 0 for count in down.values()))
        if down[scale_set] > INSTANCES:
            errors.append(f"{down[scale_set]} instances of {scale_set} were down at {at:%H:%M:%S}")
    if most > SCALE_SETS:
        errors.append(f"{most} scale sets were under way at once")
    return errors, most
