"""The REST API with the scale sets behind it, as of now: under a lock and a clock, with its observers."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sandbox.clock import Clock
from sandbox.resource_manager.events import ArmEvent, Observer
from sandbox.resource_manager.rest.rest_api import RestApi

_LOG = logging.getLogger(__name__)


class LiveApi:
    """Keeps the state up to the clock, and notifies observers of events. Safe for threads."""

    def __init__(self, make: Callable[[], RestApi], clock: Clock) -> None:
        """`make` returns a new API, without any scale sets."""
        self._make = make
        self._api = make()
        self._lock = threading.RLock()
        self.clock = clock
        self.observers: list[Observer] = []
        """Functions called with each event, in order, in the thread it occurs in: they must not block."""

    @contextmanager
    def current(self) -> Iterator[RestApi]:
        """The API with all done that is due by now; nobody else uses it meanwhile."""
        with self._lock:
            self._mature()
            yield self._api
            # What has no duration is done at once, and its events are due at once.
            self._notify()

    def mature(self) -> None:
        """Do everything that is due by the clock, and notify the observers."""
        with self._lock:
            self._mature()

    def publish(self, event: ArmEvent) -> None:
        """Notify the observers of an event, after those that occurred before it."""
        with self._lock:
            self._notify()
            self._publish(event)

    def reset(self) -> None:
        """Begin anew. Observers stay."""
        with self._lock:
            self._api = self._make()

    def _mature(self) -> None:
        compute = self._api.compute
        compute.events.observed = bool(self.observers)
        compute.mature(self.clock())
        self._notify()

    def _notify(self) -> None:
        events = self._api.compute.events
        if events.pending:
            for event in events.take():
                self._publish(event)

    def _publish(self, event: ArmEvent) -> None:
        for observer in self.observers:
            try:
                observer(event)
            except Exception:
                # The event has taken place: the call must get its response, and time must go on.
                _LOG.exception("An observer of the sandbox's Resource Manager failed")
