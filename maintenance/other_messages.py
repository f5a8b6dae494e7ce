"""What comes on the requests queue besides requests, and how the handler sees to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from maintenance.contracts import Envelope
from maintenance.observations import ErrorDetail


@dataclass(frozen=True, slots=True)
class Again:
    """The message could not be dealt with yet: `body` is to be delivered at `due`."""

    body: bytes
    due: datetime
    trouble: ErrorDetail


class QueueBus(Protocol):
    """What use cases use of `bus.Bus` to put a message on the requests queue."""

    async def enqueue(
        self,
        body: bytes,
        *,
        message_id: str,
        due: datetime | None,
        correlation_id: str | None,
        properties: Mapping[str, str | int | bool],
    ) -> None: ...


class Taker(Protocol):
    """A kind of message. Whatever it leads to has ids that stay the same when the message is delivered again."""

    def takes(self, document: dict[str, Any]) -> bool:
        """Whether the document is of this kind, be it right or wrong."""
        ...

    async def take(self, envelope: Envelope, document: dict[str, Any], *, attempt: int) -> Again | None:
        """Deal with it. `attempt` counts from 0. Raises ProblemsError where it is to be rejected, and BusUnavailable
        where it is to be tried again."""
        ...
