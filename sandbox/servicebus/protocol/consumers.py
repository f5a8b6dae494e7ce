"""Distributes the messages of queues among competing receivers, in turn."""

from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Callable
from typing import Final

from sandbox.servicebus.broker.queues import Queue
from sandbox.servicebus.protocol.links import DeliveryLink

BURST: Final = 200  # messages at a time, before the loop serves other connections


class Consumers:
    """Round-robin delivery; a :class:`LinkConsumers` to links. Runs at most once per turn of the loop."""

    def __init__(self, loop: AbstractEventLoop, now: Callable[[], int], changed: Callable[[], None]) -> None:
        self._loop = loop
        self._now = now
        self._changed = changed
        self._links: dict[str, deque[DeliveryLink]] = {}
        self._asked: set[str] = set()

    def join(self, link: DeliveryLink) -> None:
        """A link receives from its queue from now on."""
        self._links.setdefault(link.queue.name, deque()).append(link)

    def leave(self, link: DeliveryLink) -> None:
        """A link is closed."""
        waiting = self._links.get(link.queue.name)
        if waiting is not None and link in waiting:
            waiting.remove(link)
            if not waiting:
                del self._links[link.queue.name]

    def feed(self, queue: Queue) -> None:
        """Deliver on the next turn of the loop: there may be a message and a receiver for it."""
        if queue.name in self._links and queue.name not in self._asked:
            self._asked.add(queue.name)
            self._loop.call_soon(self._feed, queue)

    def feed_now(self, queue: Queue) -> None:
        """Deliver at once: before a drained link's credit is used up."""
        self._feed(queue)

    def _feed(self, queue: Queue) -> None:
        self._asked.discard(queue.name)
        links = self._links.get(queue.name, deque())
        for _ in range(BURST):
            link = next((link for link in links if link.ready), None)
            if link is None:
                break
            queued = queue.take(self._now(), locking=link.locking)
            if queued is None:
                break
            link.deliver(queued)
            links.remove(link)
            links.append(link)
        else:
            self.feed(queue)
        self._changed()
