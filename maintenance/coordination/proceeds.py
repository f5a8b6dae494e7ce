"""Proceeds, as entries of the coordination queue: somebody said that a wave of a request may start. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from maintenance.domain import message_ids


@dataclass(frozen=True, slots=True, kw_only=True)
class Proceed:
    """This wave of the requests of this id for this scale set may start, as far as its gate is concerned. It holds for
    those that were enqueued before `enqueued_at`, both by Service Bus's times. `wave` counts from 1."""

    run_id: str
    request_id: str
    scale_set: str
    wave: int
    enqueued_at: datetime
    until: datetime
    number: int = 0
    reason: str | None = None

    @property
    def message_id(self) -> str:
        return message_ids.proceed(self.run_id)


def proceed_for(
    entries: Iterable[object], scale_set: str, request_id: str, wave: int, enqueued_at: datetime
) -> Proceed | None:
    """What lets a wave of a request start that was enqueued then; `wave` counts from 1. A proceed that came before was
    meant for an earlier request: what is not known for sure counts against starting."""
    for each in entries:
        if (
            isinstance(each, Proceed)
            and (each.scale_set, each.request_id, each.wave) == (scale_set, request_id, wave)
            and each.enqueued_at >= enqueued_at
        ):
            return each
    return None
