"""How this app proceeds, and its pauses, each in one value. Pure.

The settings are read before any client is imported, so the actions of the state machine stand elsewhere.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from maintenance.domain.resources import ScaleSet, Scope
from maintenance.policies.calendar import Calendar
from maintenance.policies.limits import Limits

# ARM lets 25 reads a second flow back into a subscription's bucket of 250, Compute 15 a minute into an operation's 45.
FEW_CALLS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Pauses between calls to Azure, and how long things may take. Polls: the ARM contract's 10 s to 10 min, 60 s where
    there is no Retry-After.

    `confirm`: how long the views may take to confirm what ARM called succeeded. `view_lag`: how old what a view shows
    may be. `settle`: how long after a POST record was begun its outcome can be judged by the views. Its default is
    2 x lock (5 min; a lock can be lost early without being counted) + stopwatch (2 min) + a call's time-out (45 s)
    + view lag (2 min) + clocks (5 min). `stopwatch`: how long after its successor was sent a POST may be made.
    `fresh`: how long after it was enqueued a POST record may act: a lock, and a minute. `state_age`: how old may be
    what was read before a POST. `slice`: the longest wait of any record but JUDGE. `lease_wait`: how long a lease
    must have been up before its run starts anything, where others are behind it: one of them may have posted without
    having seen it.
    Its default is `settle` and 5 minutes: by then that POST is judged, so no change of this run's is taken for its
    doing. `release_read`: when the coordination queue is read again after the end
    for a lease that came late. `foreign`: how long others' updates are waited for.
    """

    min_poll: timedelta = timedelta(seconds=10)
    max_poll: timedelta = timedelta(minutes=10)
    default_poll: timedelta = timedelta(seconds=60)
    confirm: timedelta = timedelta(minutes=5)
    view_lag: timedelta = timedelta(minutes=2)
    settle: timedelta = timedelta(minutes=20)
    stopwatch: timedelta = timedelta(minutes=2)
    fresh: timedelta = timedelta(minutes=6)
    state_age: timedelta = timedelta(minutes=1)
    slice: timedelta = timedelta(minutes=10)
    lease_wait: timedelta = timedelta(minutes=25)
    release_read: timedelta = timedelta(minutes=6)
    foreign: timedelta = timedelta(hours=1)

    def next_poll(self, now: datetime, retry_after: timedelta | None) -> datetime:
        """When to poll a running operation again."""
        pause = self.default_poll if retry_after is None else retry_after
        return now + min(max(pause, self.min_poll), self.max_poll)

    def next_read(self, now: datetime) -> datetime:
        """When to read the instance views again while they do not confirm yet."""
        return now + min(max(timedelta(seconds=15), self.min_poll), self.default_poll)

    def back_off(self, now: datetime, failures: int, seed: str, retry_after: timedelta | None) -> datetime:
        """When to try again after the `failures`-th failure in a row: exponential, with jitter of up to a quarter,
        never sooner than `retry_after`, which is honoured beyond `max_poll` too.

        The jitter comes from `seed`, so that a redelivered message arrives at the same time twice.
        """
        doubled: int = 1 << min(max(failures - 1, 0), 16)
        pause = min(self.min_poll * doubled, self.max_poll)
        base = max(pause, retry_after or timedelta(0))
        return now + base + pause * 0.25 * _fraction(f"{seed}:{failures}")

    def spread_out(self, due: datetime, now: datetime, remaining: int | None, seed: str) -> datetime:
        """Where to put a poll that is due at `due` when only `remaining` calls are left: later the fewer there are, up
        to `max_poll`, and each operation's at another time, by its `seed`."""
        if remaining is None or remaining >= FEW_CALLS:
            return due
        pause = due - now
        widest = min(pause * (FEW_CALLS / (remaining + 1)), self.max_poll)
        return due + max(widest - pause, timedelta(0)) * (0.5 + 0.5 * _fraction(f"{seed}:spread"))


@dataclass(frozen=True, slots=True)
class Rules:
    """How this app proceeds. `allowed_scopes` bounds what may be touched, whatever a record says: by default nothing.
    `views`: whether it may read instance views; without them ARM's status is all there is. `wait_for_lease`: whether a
    run waits for another's lease on its scale set, or is rejected. `calendar`: when waves may start at all; `paused`:
    none may. `limits`: how many instances and scale sets may be under way at once. `tags`: whether each scale set's
    tags are read before a wave starts."""

    allowed_scopes: tuple[Scope, ...] = ()
    timing: Timing = field(default_factory=Timing)
    views: bool = True
    wait_for_lease: bool = True
    calendar: Calendar = field(default_factory=Calendar)
    paused: bool = False
    limits: Limits = field(default_factory=Limits)
    tags: bool = False

    def allows(self, scale_set: ScaleSet) -> bool:
        return any(scope.contains(scale_set) for scope in self.allowed_scopes)


def _fraction(seed: str) -> float:
    """A number from 0 to 1, always the same one for the same seed."""
    return int.from_bytes(hashlib.sha256(seed.encode()).digest()[:4]) / (1 << 32)
