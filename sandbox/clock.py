"""The sandbox's clocks: functions that return the present time, so that a test can pass in its own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

Clock = Callable[[], datetime]
"""Returns the present as an aware datetime in UTC. It must never go backwards."""


def system_clock() -> datetime:
    """The present time by the system's clock, in UTC."""
    return datetime.now(UTC)


class HandMovedClock:
    """Stands still until it is moved; then everything that fell due has been done when ``advance`` returns.

    With an SDK, start it at the present: clients compare ``locked-until`` with the machine's time.
    """

    def __init__(self, start: datetime = datetime(2025, 1, 1, tzinfo=UTC)) -> None:
        self._now = start
        self._followers: list[Callable[[], None]] = []

    def __call__(self) -> datetime:
        return self._now

    def advance(self, by: timedelta) -> None:
        """Move the time forward. Raises :class:`ValueError` for a step back: locks would outlive their order."""
        if by < timedelta():
            raise ValueError(f"a clock cannot be moved by {by}")
        self._now += by
        for follower in tuple(self._followers):
            follower()

    def follow(self, follower: Callable[[], None]) -> None:
        """Have ``follower`` called after each move."""
        self._followers.append(follower)

    def unfollow(self, follower: Callable[[], None]) -> None:
        """The opposite of :meth:`follow`."""
        self._followers.remove(follower)


def milliseconds(moment: datetime) -> int:
    """Milliseconds since the Unix epoch: the form that AMQP timestamps and the broker use."""
    return round(moment.timestamp() * 1000)


def moment(at: int) -> datetime:
    """The aware UTC time of a number of milliseconds since the Unix epoch."""
    return datetime.fromtimestamp(at / 1000, UTC)
