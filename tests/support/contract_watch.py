"""Watches what passes the requests queue and the events topic of the sandboxes of the whole suite, whoever sends it:
each event and each request must be what the committed schemas say."""

from __future__ import annotations

import threading

from sandbox.servicebus import BusEvent, MessageSent, ServiceBus
from tests.support.contract import check_sent, schema_problem
from tests.support.entities import REQUESTS, TOPIC


class ContractWatch:
    """Collects on the threads of the sandboxes, and checks on the test's: observers must not take long."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._collected: list[tuple[str, bytes]] = []

    def watch(self, bus: ServiceBus) -> None:
        """Watch a namespace from now on."""
        bus.observers.add(self._note)

    def _note(self, event: BusEvent) -> None:
        if isinstance(event, MessageSent) and (event.entity == REQUESTS or event.entity.startswith(f"{TOPIC}/")):
            with self._lock:
                self._collected.append((event.entity, event.body))

    def forget(self) -> None:
        """Leave out what was collected so far: for a test that itself sends other things there."""
        with self._lock:
            self._collected.clear()

    def problems(self) -> list[str]:
        """What was sent since the last call, and is not as the schemas say."""
        with self._lock:
            collected, self._collected = self._collected, []
        found = [(body, _problem(entity, body)) for entity, body in collected]
        return [f"{problem}: {body[:500]!r}" for body, problem in found if problem is not None]


def _problem(entity: str, body: bytes) -> str | None:
    if entity != REQUESTS:
        return schema_problem(body)
    try:
        check_sent(body)
    except AssertionError as error:
        return f"worker and schema do not agree: {error}"
    return None


CONTRACT_WATCH = ContractWatch()
