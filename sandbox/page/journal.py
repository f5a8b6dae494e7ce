"""The last records, events and calls, as the services report them: what the page shows of the past.

It is all that happens while nobody looks, so it does next to nothing: half a microsecond of an event, and a bounded
number of bytes.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import Generic, Protocol, TypeVar

from sandbox.resource_manager import ArmEvent, Call, CallReceived, Observer
from sandbox.servicebus import BusEvent, MessageSent

Item = TypeVar("Item")
DEAD_LETTERS = "/$DeadLetterQueue"
_MOST_ITEMS, _MOST_BYTES = 5_000, 16_000_000


class Log(Generic[Item]):
    """The last items, numbered from 1. Safe for threads."""

    def __init__(self, most_items: int = _MOST_ITEMS, most_bytes: int = _MOST_BYTES) -> None:
        self._items: deque[tuple[int, int, Item]] = deque()
        self._most_items, self._most_bytes = most_items, most_bytes
        self._bytes = 0
        self._lock = threading.Lock()
        self.total = 0
        """The number of the last one."""

    def append(self, item: Item, size: int = 0) -> None:
        """Add one of so many bytes; the oldest go where there is no room."""
        with self._lock:
            self.total += 1
            self._items.append((self.total, size, item))
            self._bytes += size
            while len(self._items) > self._most_items or (self._bytes > self._most_bytes and len(self._items) > 1):
                self._bytes -= self._items.popleft()[1]

    def after(self, number: int, most: int = _MOST_ITEMS) -> list[tuple[int, Item]]:
        """The last items after a number, at most so many, oldest first."""
        with self._lock:
            wanted = min(self.total - number, most, len(self._items))
            items = self._items
            return [(items[at][0], items[at][2]) for at in range(len(items) - wanted, len(items))] if wanted > 0 else []

    def get(self, number: int) -> Item | None:
        """The one of a number, if it is still there."""
        with self._lock:
            at = number - 1 - (self.total - len(self._items))
            return self._items[at][2] if 0 <= at < len(self._items) else None


class BusObservers(Protocol):
    """Where observers of Service Bus are added."""

    def add(self, observer: Callable[[BusEvent], None]) -> None: ...

    def remove(self, observer: Callable[[BusEvent], None]) -> None: ...


class Journal:
    """Observes the services from `open` to `close`."""

    def __init__(self, bus: BusObservers, arm: list[Observer], *, operations_queue: str) -> None:
        """`operations_queue`: whose messages are the records of runs."""
        self._bus, self._arm = bus, arm
        self._operations = operations_queue.casefold()
        self._last: tuple[str, str, datetime] | None = None
        self._changed_entities: set[str] = set()
        self._changed_sets = False
        self.records: Log[MessageSent] = Log()
        self.events: Log[MessageSent] = Log()
        self.calls: Log[Call] = Log()

    def open(self) -> None:
        """Begin to observe."""
        self._bus.add(self.on_bus)
        self._arm.append(self._on_arm)

    def close(self) -> None:
        """End it."""
        self._bus.remove(self.on_bus)
        self._arm.remove(self._on_arm)

    def take_changed(self) -> tuple[frozenset[str], bool]:
        """The entities in which something has changed since the last time, and whether it has in scale sets."""
        entities, self._changed_entities = self._changed_entities, set()
        sets, self._changed_sets = self._changed_sets, False
        return frozenset(entities), sets

    def on_bus(self, event: BusEvent) -> None:
        """An observer of Service Bus."""
        self._changed_entities.add(event.entity.removesuffix(DEAD_LETTERS))
        if isinstance(event, MessageSent):
            if event.entity.casefold() == self._operations:
                self.records.append(event, len(event.body))
            elif "/" in event.entity and event.scheduled_for is None:
                self._on_event(event)

    def _on_event(self, event: MessageSent) -> None:
        """A topic copies an event to its subscriptions one after the other: it counts once, however many there are."""
        copy = (event.entity.partition("/")[0], event.message_id, event.at)
        if copy != self._last:
            self._last = copy
            self.events.append(event, len(event.body))

    def _on_arm(self, event: ArmEvent) -> None:
        if isinstance(event, CallReceived):
            self.calls.append(event.call, len(event.call.body))
        else:
            self._changed_sets = True
