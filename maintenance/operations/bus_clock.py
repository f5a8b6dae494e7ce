"""The worker's clock, put right by Service Bus's where it is behind."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

logger = logging.getLogger(__name__)

NONE = timedelta(0)
# Differences below this are network and batching, not worth a line in the log.
WORTH_TELLING = timedelta(seconds=30)


class BusClock:
    """What time it is: the machine's clock, or a later time where Service Bus has shown one.

    Due times are judged by Service Bus's clock. By a clock behind it, what is to come in a minute is due at once, over
    and over. A message's enqueued time says how far behind the machine's clock is, at the least. Where that clock is
    put right meanwhile, which the monotonic clock shows, the difference shrinks by as much. `now` gives aware times,
    `monotonic` seconds.
    """

    def __init__(self, now: Callable[[], datetime], monotonic: Callable[[], float]) -> None:
        self._now = now
        self._monotonic = monotonic
        self._behind = NONE
        self._seen_at = (now(), monotonic())

    def __call__(self) -> datetime:
        now = self._now()
        return now + self._left(now) if self._behind else now

    def saw(self, enqueued_at: datetime | None) -> None:
        """A message that has just been received was enqueued then, by Service Bus's clock."""
        if enqueued_at is None:
            return
        now = self._now()
        behind = enqueued_at - now
        left = self._left(now)
        if behind <= max(left, NONE):
            return
        if behind > WORTH_TELLING and behind - left > WORTH_TELLING:
            logger.warning("Clock is behind Service Bus's by %s at least; its time is used", behind)
        self._behind = behind
        self._seen_at = (now, self._monotonic())

    def _left(self, now: datetime) -> timedelta:
        """The part of the difference that the machine's clock has not made up for by leaping."""
        seen_now, seen_monotonic = self._seen_at
        leapt = (now - seen_now) - timedelta(seconds=self._monotonic() - seen_monotonic)
        return max(self._behind - max(leapt, NONE), NONE)
