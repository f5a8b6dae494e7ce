"""A cancellation arrives: schedule a marker that the request it names will find before its next wave."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Protocol

from maintenance.domain.coordination import MARKER_LASTS, CancellationMarker, Entry
from maintenance.domain.messages import Envelope, MaintenanceEvent, trace_of
from maintenance.lifecycle.events import cancellation_accepted
from maintenance.requests.inbound import read_inbound
from maintenance.requests.policy import Policy, check_cancellation
from maintenance.requests.schema import read_cancellation


class EventPublisher(Protocol):
    """What is used of `servicebus.bus.Bus`."""

    async def publish(self, events: Sequence[MaintenanceEvent]) -> None: ...


class EntryWriter(Protocol):
    """What is used of `servicebus.coordination_queue.CoordinationQueue`."""

    async def put(self, entry: Entry) -> None: ...


class CancellationHandler:
    """The use case behind a message with the field `cancel`."""

    def __init__(
        self, coordination: EntryWriter, bus: EventPublisher, policy: Policy, *, now: Callable[[], datetime]
    ) -> None:
        self._coordination = coordination
        self._bus = bus
        self._policy = policy
        self._now = now

    def recognizes(self, document: dict[str, Any]) -> bool:
        return "cancel" in document

    async def handle(self, envelope: Envelope, document: dict[str, Any], *, attempt: int) -> None:
        """Whether the request still runs is not read: where it does, it will find the marker. Raises ProblemsError,
        BusUnavailable."""
        cancellation = read_cancellation(document)
        check_cancellation(cancellation, self._policy)
        now = self._now()
        marker = CancellationMarker(
            cancellation.request_id, cancellation.scale_set.key, now + MARKER_LASTS, reason=cancellation.reason
        )
        await self._coordination.put(marker)
        event = cancellation_accepted(
            request_id=read_inbound(envelope, document, now).request_id,
            cancels=cancellation.request_id,
            scale_set=cancellation.scale_set,
            now=now,
            reason=cancellation.reason,
            correlation_id=envelope.correlation_id,
            trace=trace_of(envelope.properties),
        )
        await self._bus.publish([event])
