"""Which links receive from which queue, and whose turn it is."""

from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Callable
from typing import Final

from sandbox.servicebus.broker.queues import Queue
from sandbox.servicebus.protocol.links import DeliveryLink

BURST: Final = 200  # messages in one go, before the loop sees to other connections


class Consumers:
    """Competing receivers take turns. Feeding happens on the loop's next turn, once for all that asked for it."""

    def __init__(self, loop: AbstractEventLoop, now: Callable[[], int], changed: Callable[[], None]) -> None:
        self._loop = loop
        self._now = now
        self._changed = changed
        self._links: dict[str, deque[DeliveryLink]] = {}
        self._asked: set[str] = set()

    def join(self, link: DeliveryLink) -> None:
        """A link wants messages of its queue."""
        self._links.setdefault(link.queue.name, deque()).append(link)

    def leave(self, link: DeliveryLink) -> None:
        """A link is gone."""
        waiting = self._links.get(link.queue.name)
        if waiting is not None and link in waiting:
            waiting.remove(link)
            if not waiting:
                del self._links[link.queue.name]

    def feed(self, queue: Queue) -> None:
        """There may be a message and a receiver for it."""
        if queue.name in self._links and queue.name not in self._asked:
            self._asked.add(queue.name)
            self._loop.call_soon(self._feed, queue)

    def feed_now(self, queue: Queue) -> None:
        """The same at once: before a drained link's credit goes."""
        self._feed(queue)

    def _feed(self, queue: Queue) -> None:
        self._asked.discard(queue.name)
        links = self._links.get(queue.name, deque())
        for _ in range(BURST):
            link = next((link for link in links if link.hungry), None)
            if link is None:
                break
            held = queue.take(self._now(), locking=link.locking)
            if held is None:
                break
            link.deliver(held)
            links.remove(link)
            links.append(link)
        else:
            self.feed(queue)
        self._changed()
