"""What the client reads: the worker's events, and which of them ends a request."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from azure.servicebus import ServiceBusReceivedMessage

ENDS = ("completed", "rejected", "duplicate")


@dataclass(frozen=True, slots=True)
class InstanceOutcome:
    """What became of one instance. `wave` counts from 1."""

    instance_id: str
    outcome: str
    wave: int | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MaintenanceEvent:
    """One event. `kind` is `accepted`, `awaiting`, `progressed`, `completed`, `rejected`, `duplicate`, or one that
    came later.

    `event_id` is the same for the same event, however often it is delivered. `data` holds everything, as
    `docs/reference` describes it.
    """

    event_id: str
    type: str
    kind: str
    status: str
    request_id: str
    run_id: str
    time: datetime
    instances: tuple[InstanceOutcome, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ends(self) -> bool:
        """Whether nothing follows for this run."""
        return self.kind in ENDS


def read_event(message: ServiceBusReceivedMessage) -> MaintenanceEvent:
    """The event in a message. Raises ValueError where it is none of the worker's."""
    try:
        document = json.loads(b"".join(message.body))
        data = document["data"]
        return MaintenanceEvent(
            event_id=document["id"],
            type=document["type"],
            kind=document["type"].split(".")[-2],
            status=data["status"],
            request_id=data["requestId"],
            run_id=data["runId"],
            time=datetime.fromisoformat(document["time"]),
            instances=tuple(
                InstanceOutcome(each["instanceId"], each["outcome"], each.get("wave"), each.get("message"))
                for each in data.get("instances", ())
            ),
            data=data,
        )
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"message {message.message_id} is no event of the maintenance worker: {error!r}") from None


class EndOf:
    """Finds the end of a request among events, in whatever order the runs of the same id end.

    A run that ends as `duplicate` was not carried out: the end is that of the run it names. Events from before `since`
    belong to an earlier request of the same id.
    """

    def __init__(self, request_id: str, since: datetime | None) -> None:
        self._request_id = request_id
        self._since = since
        self._ends: dict[str, MaintenanceEvent] = {}
        self._wanted: list[str] = []

    def take(self, event: MaintenanceEvent) -> MaintenanceEvent | None:
        """The end of the request, once it is known."""
        if event.ends and event.kind != "duplicate":
            self._ends[event.run_id] = event
        if event.request_id == self._request_id and (self._since is None or event.time >= self._since):
            if event.kind == "duplicate":
                self._wanted.append(str(event.data.get("duplicateOf")))
            elif event.ends:
                self._wanted.append(event.run_id)
        return next((self._ends[run] for run in self._wanted if run in self._ends), None)
