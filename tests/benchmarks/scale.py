"""`python -m tests.benchmarks.scale`: how long very many scale sets take, and what bounds that, second by second.

A calculation from what was measured (docs/performance.md) and from Azure's documented limits, not a measurement: no
worker runs. Every scale set has one request and one wave, all at once: an alert for all.
"""

from __future__ import annotations

import argparse
import heapq
import sys
from collections import Counter, deque
from dataclasses import dataclass, field, replace

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one thing costs. Seconds of one processor: of a request until it is posted and its first record sent, of a
    poll, of an end, and of one entry in a reading of the coordination queue. `readings`: of each request; so many share
    one as are `together` in a batch of a tick. Of Azure: calls a second and at once, as token buckets, for each
    subscription; operations a second of a Service Bus namespace, and how many entries a page of it has."""

    request: float = 0.007
    poll: float = 0.00044
    end: float = 0.0015
    entry: float = 0.000013
    together: int = 100
    readings: int = 3
    reads: tuple[float, int] = (25.0, 250)
    posts: tuple[float, int] = (500 / 60, 200)
    polled_every: int = 60
    # Messages of Service Bus: of a request until it is posted, of a poll, and of an end with its event.
    request_messages: int = 16
    poll_messages: int = 3
    end_messages: int = 8
    # The Standard tier's.
    operations: float = 1_000
    page: int = 250


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is asked for. `lasts`: seconds that Azure takes for one scale set. `processes` that work on it at once."""

    scale_sets: int
    subscriptions: int
    processes: int
    lasts: int = 600


@dataclass(slots=True)
class Bucket:
    """Calls that a subscription allows: `rate` a second flow in, up to `size`."""

    rate: float
    size: int
    left: float = field(default=0.0)
    at: int = 0

    def take(self, now: int, calls: int) -> bool:
        self.left = min(self.left + (now - self.at) * self.rate, self.size)
        self.at = now
        if self.left < calls:
            return False
        self.left -= calls
        return True


@dataclass(slots=True)
class Outcome:
    """What came of it, in seconds since the alert. `bound_by`: for how many seconds each was what held things up."""

    posted_half: int = 0
    posted_all: int = 0
    ended_all: int = 0
    most_leases: int = 0
    slowest_reading: float = 0.0
    calls: int = 0
    messages: float = 0.0
    busy: float = 0.0
    bound_by: Counter[str] = field(default_factory=Counter)


class Simulation:
    """Second by second. What is due is polled before more is started, as the worker's queue is in order of time."""

    def __init__(self, load: Load, figures: Figures) -> None:
        self._load, self._figures = load, figures
        self._reads = [Bucket(*figures.reads, left=figures.reads[1]) for _ in range(load.subscriptions)]
        self._posts = [Bucket(*figures.posts, left=figures.posts[1]) for _ in range(load.subscriptions)]
        # Requests that wait, by subscription in turn: one that allows no more keeps no other waiting.
        self._waiting = deque((number, load.scale_sets // load.subscriptions) for number in range(load.subscriptions))
        # When each is polled next, when it was posted, and its subscription.
        self._due: list[tuple[int, int, int]] = []
        self._now = self._posted = 0
        # What is left of a second: of all processes, and of the namespace.
        self._seconds = self._operations = 0.0
        self.outcome = Outcome()

    def run(self) -> Outcome:
        while self._waiting or self._due:
            # Each process has one processor, and shares no reading with another.
            self._seconds, self._operations = float(self._load.processes), self._figures.operations
            held_up = self._poll()
            held_up = self._post() or held_up
            self.outcome.messages += self._figures.operations - self._operations
            self.outcome.busy += self._load.processes - max(self._seconds, 0.0)
            self.outcome.most_leases = max(self.outcome.most_leases, len(self._due))
            self.outcome.slowest_reading = max(self.outcome.slowest_reading, self._reading)
            if self._waiting:
                self.outcome.bound_by[self._bound(held_up)] += 1
            self._now += 1
        return self.outcome

    @property
    def _can_go_on(self) -> bool:
        return self._seconds > 0 and self._operations > 0

    @property
    def _reading(self) -> float:
        """Of all entries: one for each that is at work."""
        return len(self._due) * self._figures.entry

    @property
    def _cost(self) -> float:
        return self._figures.request + self._figures.readings * self._reading / self._figures.together

    def _poll(self) -> bool:
        """What is due; whether Resource Manager held anything up."""
        figures, held_up = self._figures, False
        while self._due and self._due[0][0] <= self._now and self._can_go_on:
            _, posted_at, subscription = heapq.heappop(self._due)
            if not self._reads[subscription].take(self._now, 1):
                heapq.heappush(self._due, (self._now + 1, posted_at, subscription))
                held_up = True
                continue
            self._seconds -= figures.poll
            self.outcome.calls += 1
            if self._now < posted_at + self._load.lasts:
                self._operations -= figures.poll_messages
                heapq.heappush(self._due, (self._now + figures.polled_every, posted_at, subscription))
                continue
            # Its instances are listed once more.
            self._seconds -= figures.end
            self._operations -= figures.end_messages
            self.outcome.calls += 1
            self.outcome.ended_all = self._now
        return held_up

    def _post(self) -> bool:
        """As many as can be; whether Resource Manager held anything up."""
        figures, refused = self._figures, 0
        pages = figures.readings * (len(self._due) / figures.page + 1) / figures.together
        while self._waiting and self._can_go_on and refused < len(self._waiting):
            subscription, count = self._waiting.popleft()
            if not self._posts[subscription].take(self._now, 1):
                self._waiting.append((subscription, count))
                refused += 1
                continue
            refused = 0
            # Its instances are listed before.
            self._reads[subscription].take(self._now, 1)
            if count > 1:
                self._waiting.append((subscription, count - 1))
            self._seconds -= self._cost
            self._operations -= figures.request_messages + pages
            self.outcome.calls += 2
            self._posted += 1
            heapq.heappush(self._due, (self._now + figures.polled_every, self._now, subscription))
            if self._posted == self._load.scale_sets // 2:
                self.outcome.posted_half = self._now
            self.outcome.posted_all = self._now
        return refused > 0

    def _bound(self, held_up: bool) -> str:
        if self._operations <= 0:
            return "Service Bus"
        if self._seconds > 0 or held_up:
            return "Resource Manager"
        return "readings of the coordination queue" if self._cost > 2 * self._figures.request else "processors"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.scale", description=__doc__)
    parser.add_argument("--scale-sets", type=int, default=100_000)
    parser.add_argument("--subscriptions", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=10.0, help="that Azure takes for one scale set (default 10)")
    parser.add_argument("--processes", type=int, action="append", help="at work at once; may be repeated")
    parser.add_argument("--operations", type=float, default=Figures().operations, help="a second, of Service Bus")
    options = parser.parse_args()
    shown = Table(title=f"{options.scale_sets:,} scale sets in {options.subscriptions:,} subscriptions, all at once")
    for name in (
        "processes", "half posted", "all posted", "all ended", "most at work", "slowest reading", "ARM calls",
        "messages", "processor", "bound by",
    ):  # fmt: skip
        shown.add_column(name, justify="left" if name == "bound by" else "right")
    for processes in options.processes or (1, 4, 16, 40):
        load = Load(
            scale_sets=options.scale_sets,
            subscriptions=options.subscriptions,
            processes=processes,
            lasts=round(options.minutes * 60),
        )
        outcome = Simulation(load, replace(Figures(), operations=options.operations)).run()
        times = (outcome.posted_half, outcome.posted_all, outcome.ended_all)
        shown.add_row(
            str(processes),
            *(f"{seconds / 60:,.0f} min" for seconds in times),
            f"{outcome.most_leases:,}",
            f"{outcome.slowest_reading:.1f} s",
            f"{outcome.calls:,}",
            f"{outcome.messages:,.0f}",
            f"{outcome.busy / 60:,.0f} min",
            ", ".join(f"{what} ({seconds / 60:,.0f} min)" for what, seconds in outcome.bound_by.most_common()),
        )
    Console(width=200).print(shown)
    return 0


if __name__ == "__main__":
    sys.exit(main())
