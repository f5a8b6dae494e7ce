"""X"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from maintenance.domain import message_ids
from maintenance.domain.messages import Envelope, trace_of
from maintenance.domain.observations import ErrorDetail
from maintenance.domain.redaction import redact

REQUEST_ID = "maintenance-request-id"
ATTEMPT = "maintenance-attempt"
MAY_HAVE_STARTED = "maintenance-may-have-started"
REQUESTED_AT = "maintenance-requested-at"
TROUBLE = "maintenance-last-error"


@dataclass(frozen=True, slots=True)
class InboundMessage:
    """`attempt` counts the clones before this one. `suspect`: an earlier run may have started what it asks for.
    `requested_at` is when the first of them was enqueued."""

    envelope: Envelope
    request_id: str
    attempt: int
    may_have_started: bool
    requested_at: datetime
    transient_error: str | None

    @property
    def first_delivery(self) -> bool:
        """Nobody has tried to handle it before."""
        return self.attempt == 0 and self.envelope.delivery_count <= 1

    @property
    def last_error(self) -> ErrorDetail | None:
        """Why the attempt before failed, as that one wrote it down."""
        code, colon, message = (self.transient_error or "").partition(": ")
        return ErrorDetail(code, message) if colon else None

    @property
    def retry_id(self) -> str:
        """The message id of this delivery's successor, the same for every run that sends one."""
        return message_ids.retry(self.request_id, self.attempt + 1)

    def retry_properties(
        self, *, may_have_started: bool, transient_error: ErrorDetail | None
    ) -> dict[str, str | int | bool]:
        """What the successor remembers."""
        properties: dict[str, str | int | bool] = {
            **trace_of(self.envelope.properties),
            REQUEST_ID: self.request_id,
            ATTEMPT: self.attempt + 1,
            REQUESTED_AT: self.requested_at.isoformat(),
        }
        if may_have_started:
            properties[MAY_HAVE_STARTED] = True
        if transient_error is not None:
            properties[TROUBLE] = redact(f"{transient_error.code}: {transient_error.message}")[:500]
        return properties


def read_inbound(envelope: Envelope, document: object, now: datetime) -> InboundMessage:
    """A message as it was delivered; properties that make no sense are passed over."""
    properties = envelope.properties
    own = document.get("requestId") if isinstance(document, dict) else None
    told = str(properties.get(REQUEST_ID) or "")
    attempt = str(properties.get(ATTEMPT) or "0")
    return InboundMessage(
        envelope=envelope,
        request_id=told[:100] or message_ids.request(own, envelope.message_id, envelope.sequence_number),
        attempt=int(attempt) if attempt.isascii() and attempt.isdigit() and len(attempt) < 7 else 0,
        may_have_started=str(properties.get(MAY_HAVE_STARTED, "")).lower() == "true",
        requested_at=_moment(properties.get(REQUESTED_AT)) or envelope.enqueued_at or now,
        transient_error=str(properties[TROUBLE])[:500] if properties.get(TROUBLE) else None,
    )


def _moment(value: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None
