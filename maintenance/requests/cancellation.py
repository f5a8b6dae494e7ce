"""X"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Protocol

from maintenance.domain.coordination import CANCELLATION_LASTS, Notice, NoticeKind
from maintenance.domain.errors import PolicyViolation, not_allowed
from maintenance.domain.messages import Envelope, MaintenanceEvent, trace_of
from maintenance.lifecycle.events import cancellation_accepted
from maintenance.requests.inbound import read_delivery
from maintenance.requests.schema import read_cancellation
from maintenance.settings import Settings


class CancelingBus(Protocol):
    """What is used of `bus.Bus`."""

    async def publish(self, events: Sequence[MaintenanceEvent]) -> None: ...


class CancelingBoard(Protocol):
    """What is used of `notice_board.NoticeBoard`."""

    async def put_up(self, notice: Notice) -> None: ...


class Canceler:
    """Another kind of message (`other_messages.Taker`): a document with the field `cancel`."""

    def __init__(
        self, board: CancelingBoard, bus: CancelingBus, settings: Settings, *, now: Callable[[], datetime]
    ) -> None:
        self._board = board
        self._bus = bus
        self._settings = settings
        self._now = now

    def takes(self, document: dict[str, Any]) -> bool:
        return "cancel" in document

    async def take(self, envelope: Envelope, document: dict[str, Any], *, attempt: int) -> None:
        """Whether the request still runs is not looked for: where it does, it will meet the notice."""
        cancellation = read_cancellation(document)
        if not self._settings.allows(cancellation.scale_set):
            raise PolicyViolation((not_allowed(cancellation.scale_set.resource_id),))
        now = self._now()
        notice = Notice(
            NoticeKind.CANCELLATION,
            cancellation.request_id,
            cancellation.scale_set.key,
            now + CANCELLATION_LASTS,
            reason=cancellation.reason,
        )
        await self._board.put_up(notice)
        event = cancellation_accepted(
            request_id=read_delivery(envelope, document, now).request_id,
            cancels=cancellation.request_id,
            scale_set=cancellation.scale_set,
            now=now,
            reason=cancellation.reason,
            correlation_id=envelope.correlation_id,
            trace=trace_of(envelope.properties),
        )
        await self._bus.publish([event])
