"""The pauses of the lifecycle, in one value. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

# ARM lets 25 reads a second flow back into a subscription's bucket of 250, Compute 15 a minute into an operation's 45.
FEW_CALLS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Pauses between looks at Azure. The defaults are those of the ARM contract: polls 10 s to 10 min apart, 60 s
    where no Retry-After was given.

    `settle`: how long after a POST of unknown outcome the instance views can be trusted to show it.
    `confirm`: how long the views may take to confirm what ARM called succeeded.
    """

    min_poll: timedelta = timedelta(seconds=10)
    max_poll: timedelta = timedelta(minutes=10)
    default_poll: timedelta = timedelta(seconds=60)
    settle: timedelta = timedelta(seconds=30)
    confirm: timedelta = timedelta(minutes=5)

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


def _fraction(seed: str) -> float:
    """A number from 0 to 1, always the same one for the same seed."""
    return int.from_bytes(hashlib.sha256(seed.encode()).digest()[:4]) / (1 << 32)
