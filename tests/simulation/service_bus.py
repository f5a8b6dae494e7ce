"""Service Bus in memory: queues with locks, delivery counts, duplicate detection that forgets, and dead letters.

Pure and synchronous; who calls it, and what goes wrong on the way, is the affair of `gateways`. Times are seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

LOCK = 300.0
WINDOW = 86_400.0


@dataclass(slots=True, eq=False)
class Message:
    """`number` and `enqueued_at` are Service Bus's own: a scheduled message gets new ones when it is due."""

    number: int
    message_id: str | None
    body: bytes
    enqueued_at: float
    subject: str = ""
    correlation_id: str | None = None
    properties: Mapping[str, str] = field(default_factory=dict)
    due: float | None = None
    visible_at: float = 0.0
    deliveries: int = 0
    token: int = 0
    locked_until: float = -1.0
    dead_reason: str | None = None


class Queue:
    """`window`: of duplicate detection, None for none. `changed` is called whenever something may have become available
    at another time, `buried` with what goes into the dead-letter queue."""

    def __init__(
        self,
        name: str,
        clock: Callable[[], float],
        *,
        window: float | None = WINDOW,
        max_deliveries: int = 30,
        dead: Queue | None = None,
    ) -> None:
        self.name = name
        self._clock = clock
        self._window = window
        self._max_deliveries = max_deliveries
        self.dead = dead
        self._seen: dict[str, float] = {}
        self._number = 0
        self._token = 0
        self.active: dict[int, Message] = {}
        self.scheduled: dict[int, Message] = {}
        self._earliest = float("inf")
        self.changed: Callable[[], None] = lambda: None
        self.buried: Callable[[Message], None] = lambda message: None

    def __len__(self) -> int:
        return len(self.active) + len(self.scheduled)

    def send(
        self,
        body: bytes,
        message_id: str | None,
        *,
        due: float | None = None,
        subject: str = "",
        correlation_id: str | None = None,
        properties: Mapping[str, str] | None = None,
        visible_at: float = 0.0,
    ) -> tuple[int, Message | None]:
        """A number is returned even for a message that duplicate detection drops (None)."""
        now = self._clock()
        self._number += 1
        if self._window is not None and message_id is not None:
            seen = self._seen.get(message_id)
            if seen is not None and now - seen < self._window:
                return self._number, None
            self._seen[message_id] = now
        message = Message(
            self._number, message_id, body, now, subject, correlation_id, properties or {}, due, visible_at
        )
        if due is not None and due > now:
            self.scheduled[message.number] = message
            self._earliest = min(self._earliest, due)
        elif due is not None:
            # Scheduled for a time that is over: it is enqueued at once, and that gives it another number, too.
            self._number += 1
            message.number = self._number
            self.active[message.number] = message
        else:
            self.active[message.number] = message
        self.changed()
        return message.number, message

    def cancel(self, number: int) -> bool:
        self._mature()
        return self.scheduled.pop(number, None) is not None

    def take(self, most: int) -> list[Message]:
        """Lock what is available, in the order of its numbers."""
        now = self._clock()
        self._expire()
        taken: list[Message] = []
        if not self.active:
            return taken
        for message in sorted(self.active.values(), key=lambda each: each.number):
            if len(taken) == most:
                break
            if message.locked_until <= now:
                self._token += 1
                message.token = self._token
                message.locked_until = now + LOCK
                message.deliveries += 1
                taken.append(message)
        return taken

    def holds(self, message: Message, token: int) -> bool:
        return (
            self.active.get(message.number) is message
            and message.token == token
            and message.locked_until > self._clock()
        )

    def complete(self, message: Message, token: int) -> bool:
        """True for one delivery alone: the one that holds the lock."""
        if not self.holds(message, token):
            return False
        del self.active[message.number]
        return True

    def renew(self, message: Message, token: int) -> bool:
        if not self.holds(message, token):
            return False
        message.locked_until = self._clock() + LOCK
        return True

    def abandon(self, message: Message, token: int) -> None:
        if self.holds(message, token):
            self.lose(message)

    def lose(self, message: Message, *, counted: bool = True) -> None:
        """The lock ends before its time; what is not `counted` is delivered again as if it had not been."""
        if self.active.get(message.number) is not message:
            return
        if not counted:
            message.deliveries -= 1
        message.locked_until = self._clock()
        message.token = 0
        self._expire()
        self.changed()

    def bury(self, message: Message, reason: str) -> None:
        """Into the dead-letter queue, where it keeps its number and its time."""
        if self.dead is None or self.active.pop(message.number, None) is None:
            return
        message.locked_until, message.token, message.deliveries = -1.0, 0, 0
        message.dead_reason = reason
        self.dead.active[message.number] = message
        self.buried(message)
        self.dead.changed()

    def next_available(self) -> float | None:
        """When something can be taken next: perhaps in the past."""
        self._mature()
        earliest = self._earliest
        for message in self.active.values():
            earliest = min(earliest, message.locked_until)
        return earliest if earliest != float("inf") else None

    def peek(self, start: int, most: int) -> list[Message]:
        """Scheduled and active messages from a number on, in the order of their numbers."""
        self._mature()
        now = self._clock()
        both = [*self.active.values(), *self.scheduled.values()]
        shown = (each for each in both if each.number >= start and each.visible_at <= now)
        return sorted(shown, key=lambda each: each.number)[:most]

    def forget_active(self, older_than: float) -> None:
        """Time to live: what has been active for so long is gone."""
        self._mature()
        now = self._clock()
        self.active = {n: each for n, each in self.active.items() if each.enqueued_at > now - older_than}

    def _mature(self) -> None:
        now = self._clock()
        if now < self._earliest:
            return
        ready = [each for each in self.scheduled.values() if (each.due or 0.0) <= now]
        for message in sorted(ready, key=lambda each: (each.due or 0.0, each.number)):
            del self.scheduled[message.number]
            self._number += 1
            message.number = self._number
            message.enqueued_at = message.due or now
            self.active[message.number] = message
        self._earliest = min((each.due or 0.0 for each in self.scheduled.values()), default=float("inf"))

    def _expire(self) -> None:
        self._mature()
        if self.dead is None:
            return
        now = self._clock()
        worn = [
            each
            for each in self.active.values()
            if each.deliveries >= self._max_deliveries and each.locked_until <= now
        ]
        for message in worn:
            self.bury(message, "MaxDeliveryCountExceeded")
