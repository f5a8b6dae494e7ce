"""What is due, and when."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from datetime import datetime

Action = Callable[[datetime], None]
"""Called with the time at which it was due, however late that is."""


class Timeline:
    """Actions in the order in which they are due; those of one moment in the order in which they were planned."""

    def __init__(self) -> None:
        self._due: list[tuple[datetime, int, Action]] = []
        self._order = itertools.count()

    def __len__(self) -> int:
        """How many are planned."""
        return len(self._due)

    def at(self, when: datetime, action: Action) -> None:
        """Plan an action."""
        heapq.heappush(self._due, (when, next(self._order), action))

    def mature(self, now: datetime) -> None:
        """Do everything that is due by now, each at its own time."""
        while self._due and self._due[0][0] <= now:
            when, _, action = heapq.heappop(self._due)
            action(when)
