"""Deadlines of messages (expiry, schedules), most of which are never reached."""

import heapq
from collections.abc import Callable


class Deadlines:
    """A heap of (time, number) that forgets what is no longer ``alive`` as it goes.

    Messages are completed long before they expire, so entries are not looked up and removed one by one; when the
    dead could outnumber the living, the heap is rebuilt. Memory stays in proportion to the messages queued.
    """

    __slots__ = ("_alive", "_heap")

    def __init__(self, alive: Callable[[int, int], bool]) -> None:
        self._alive = alive  # called with time and number
        self._heap: list[tuple[int, int]] = []

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, at: int, number: int) -> None:
        """Something falls due."""
        heapq.heappush(self._heap, (at, number))

    def clear(self) -> None:
        """Nothing falls due any more."""
        self._heap.clear()

    def sweep(self, living: int) -> None:
        """To be called as things come and go, with how many there are: costs little, rebuilds seldom."""
        if len(self._heap) > 2 * living + 64:
            self._heap = list({entry for entry in self._heap if self._alive(*entry)})
            heapq.heapify(self._heap)

    def first(self) -> int | None:
        """The next time at which something falls due."""
        while self._heap:
            at, number = self._heap[0]
            if self._alive(at, number):
                return at
            heapq.heappop(self._heap)
        return None

    def take(self, now: int) -> int | None:
        """The number of something due, which is then forgotten."""
        first = self.first()
        if first is None or first > now:
            return None
        return heapq.heappop(self._heap)[1]
