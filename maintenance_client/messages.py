"""What both clients do between calls to Service Bus: which messages they send, and where they look for an end."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar

from azure.servicebus import ServiceBusMessage, ServiceBusReceivedMessage

from maintenance_client.events import EndOf, MaintenanceEvent, read_event
from maintenance_client.requests import (
    MaintenanceRequest,
    ScaleSet,
    cancellation_message,
    proceed_message,
    request_message,
)

REQUESTS, EVENTS = "maintenance-requests", "maintenance-events"
# Between this machine's clock and the worker's, so that the end of a request is not taken for that of an earlier one.
CLOCKS = timedelta(minutes=5)
PAGE = 100
C = TypeVar("C")


class Messages(Generic[C]):
    """Sends to the requests queue, and reads a subscription of the events topic. Takes a `ServiceBusClient` and leaves
    closing it to whoever made it, unless it was made here."""

    def __init__(
        self,
        client: C,
        *,
        requests_queue: str = REQUESTS,
        events_topic: str = EVENTS,
        owned: bool = False,
    ) -> None:
        self._client = client
        self._queue = requests_queue
        self._topic = events_topic
        self._owned = owned
        self._sent: dict[str, datetime] = {}

    def _request(self, request: MaintenanceRequest) -> ServiceBusMessage:
        """The message of a request that is sent now."""
        self._sent[request.request_id] = datetime.now(UTC) - CLOCKS
        return request_message(request)

    def _cancellation(self, request_id: str, scale_set: ScaleSet, reason: str | None) -> tuple[str, ServiceBusMessage]:
        """A cancellation's own id, and its message."""
        own_id = str(uuid.uuid4())
        return own_id, cancellation_message(request_id, scale_set, reason, own_id)

    def _proceed(self, event: MaintenanceEvent, reason: str | None) -> tuple[str, ServiceBusMessage]:
        """A proceed's own id, and its message, for the wave of an `awaiting` event. Its id follows from the event's, so
        that a wave is let go once by whoever reads the event twice."""
        names = (event.data[name] for name in ("subscriptionId", "resourceGroupName", "vmScaleSetName"))
        own_id = f"proceed-{event.event_id}"
        message = proceed_message(event.request_id, ScaleSet(*names), int(event.data["wave"]), reason, own_id)
        return own_id, message

    def _pages(self, request_id: str, since: datetime | None) -> Pages:
        return Pages(EndOf(request_id, since or self._sent.get(request_id)))


class Pages:
    """Looks for the end of a request in pages of peeked messages. `number`: where the next page begins."""

    def __init__(self, end: EndOf) -> None:
        self._end = end
        self.number = 1

    def take(self, page: Iterable[ServiceBusReceivedMessage]) -> MaintenanceEvent | None:
        """The end of the request, once it is known. Messages that are no events are passed over."""
        for message in page:
            self.number = int(message.sequence_number or 0) + 1
            try:
                found = self._end.take(read_event(message))
            except ValueError:
                continue
            if found is not None:
                return found
        return None
