"""The messages of a queue, by number: which is next, which falls due, which expires. No I/O and no clock.

All times are milliseconds since the Unix epoch.
"""

import heapq
from dataclasses import dataclass
from enum import IntEnum
from uuid import UUID

from sandbox.servicebus.broker.deadlines import Deadlines
from sandbox.servicebus.broker.messages import Message


class State(IntEnum):
    """The values of the annotation ``x-opt-message-state``."""

    ACTIVE = 0
    DEFERRED = 1
    SCHEDULED = 2


@dataclass(slots=True)
class QueuedMessage:
    """A message in a queue. ``delivery_count`` counts failed deliveries."""

    sequence_number: int
    message: Message
    enqueued_at: int
    expires_at: int | None
    state: State = State.ACTIVE
    delivery_count: int = 0
    scheduled_for: int | None = None
    lock_token: UUID | None = None
    locked_until: int = 0


class MessageStorage:
    """Messages by number, with what is ready, scheduled and expiring among them."""

    def __init__(self) -> None:
        self.messages: dict[int, QueuedMessage] = {}
        self._ready: list[int] = []  # a heap: an unlocked message is redelivered in its old place
        self._schedule = Deadlines(self._still_scheduled)
        self._expiry = Deadlines(self._still_expiring)

    def add(self, queued: QueuedMessage) -> None:
        """Add a message that is ready."""
        self.messages[queued.sequence_number] = queued
        heapq.heappush(self._ready, queued.sequence_number)
        if queued.expires_at is not None:
            self._expiry.add(queued.expires_at, queued.sequence_number)

    def add_scheduled(self, queued: QueuedMessage, due: int) -> None:
        """Add a message that falls due later."""
        self.messages[queued.sequence_number] = queued
        self._schedule.add(due, queued.sequence_number)

    def remove(self, queued: QueuedMessage) -> None:
        """Remove a message."""
        del self.messages[queued.sequence_number]
        self._sweep()

    def clear(self) -> None:
        """Remove every message."""
        self.messages.clear()
        self._ready.clear()
        self._schedule.clear()
        self._expiry.clear()

    def make_ready(self, queued: QueuedMessage) -> None:
        """Hand a message out again, in its old place."""
        heapq.heappush(self._ready, queued.sequence_number)

    def expect_expiry(self, queued: QueuedMessage) -> None:
        """Note again when an unlocked message expires: the entry may have gone while it was locked."""
        if queued.expires_at is not None:
            self._expiry.add(queued.expires_at, queued.sequence_number)
            self._sweep()

    def next_ready(self) -> QueuedMessage | None:
        """Take the first message that is ready from those; it stays in the queue. ``None`` if none is."""
        while self._ready:
            queued = self.messages.get(heapq.heappop(self._ready))
            if queued is None or queued.lock_token is not None or queued.state is not State.ACTIVE:
                continue  # it expired or was deferred after it was unlocked
            return queued
        return None

    def next_due(self, now: int) -> QueuedMessage | None:
        """A scheduled message whose time has come, each once; ``None`` if there is none."""
        number = self._schedule.take(now)
        return None if number is None else self.messages[number]

    def next_expired(self, now: int) -> QueuedMessage | None:
        """An unlocked message whose time to live is over, each once; ``None`` if there is none."""
        number = self._expiry.take(now)
        return None if number is None else self.messages[number]

    def next_wakeup(self) -> int | None:
        """When something falls due or expires next."""
        return min((at for at in (self._schedule.first(), self._expiry.first()) if at is not None), default=None)

    def from_number(self, start: int, limit: int) -> list[QueuedMessage]:
        """Up to ``limit`` messages in any state from a sequence number on, in order."""
        return [self.messages[n] for n in heapq.nsmallest(limit, (n for n in self.messages if n >= start))]

    @property
    def bookkeeping(self) -> int:
        """How many entries there are besides the messages."""
        return len(self._ready) + len(self._schedule) + len(self._expiry)

    def _still_scheduled(self, at: int, number: int) -> bool:
        queued = self.messages.get(number)
        return queued is not None and queued.state is State.SCHEDULED

    def _still_expiring(self, at: int, number: int) -> bool:
        queued = self.messages.get(number)  # a lock defers expiry; expect_expiry notes it again
        return queued is not None and queued.expires_at == at and queued.lock_token is None

    def _sweep(self) -> None:
        """Keep the bookkeeping in proportion to the messages."""
        living = len(self.messages)
        if not living:
            self.messages.clear()  # a dict emptied item by item keeps its allocated size
        self._schedule.sweep(living)
        self._expiry.sweep(living)
        if len(self._ready) > 2 * living + 64:  # what expired while it was ready is still named here
            self._ready = [number for number in self._ready if number in self.messages]
            heapq.heapify(self._ready)
