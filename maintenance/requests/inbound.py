"""X"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from maintenance.domain.messages import Envelope, trace_of
from maintenance.domain.observations import ErrorDetail
from maintenance.domain.redaction import redact
from maintenance.requests.schema import request_id_of

REQUEST_ID = "maintenance-request-id"
ATTEMPT = "maintenance-attempt"
SUSPECT = "maintenance-suspect"
REQUESTED_AT = "maintenance-requested-at"
TROUBLE = "maintenance-trouble"


@dataclass(frozen=True, slots=True)
class Delivery:
    """`attempt` counts the clones before this one. `suspect`: an earlier run may have started what it asks for.
    `requested_at` is when the first of them was enqueued."""

    envelope: Envelope
    request_id: str
    attempt: int
    suspect: bool
    requested_at: datetime
    trouble: str | None

    @property
    def fresh(self) -> bool:
        """Nobody has tried to handle it before."""
        return self.attempt == 0 and self.envelope.delivery_count <= 1

    @property
    def last_trouble(self) -> ErrorDetail | None:
        """Why the attempt before failed, as that one wrote it down."""
        code, colon, message = (self.trouble or "").partition(": ")
        return ErrorDetail(code, message) if colon else None

    @property
    def clone_id(self) -> str:
        """The message id of this delivery's successor, the same for every run that sends one."""
        return f"{self.request_id}:r{self.attempt + 1}"

    def clone_properties(self, *, suspect: bool, trouble: ErrorDetail | None) -> dict[str, str | int | bool]:
        """What the successor remembers."""
        properties: dict[str, str | int | bool] = {
            **trace_of(self.envelope.properties),
            REQUEST_ID: self.request_id,
            ATTEMPT: self.attempt + 1,
            REQUESTED_AT: self.requested_at.isoformat(),
        }
        if suspect:
            properties[SUSPECT] = True
        if trouble is not None:
            properties[TROUBLE] = redact(f"{trouble.code}: {trouble.message}")[:500]
        return properties


def read_delivery(envelope: Envelope, document: object, now: datetime) -> Delivery:
    """A message as it was delivered; properties that make no sense are passed over."""
    properties = envelope.properties
    told = str(properties.get(REQUEST_ID) or "")
    attempt = str(properties.get(ATTEMPT) or "0")
    return Delivery(
        envelope=envelope,
        request_id=told[:100] or request_id_of(envelope, document),
        attempt=int(attempt) if attempt.isascii() and attempt.isdigit() and len(attempt) < 7 else 0,
        suspect=str(properties.get(SUSPECT, "")).lower() == "true",
        requested_at=_moment(properties.get(REQUESTED_AT)) or envelope.enqueued_at or now,
        trouble=str(properties[TROUBLE])[:500] if properties.get(TROUBLE) else None,
    )


def _moment(value: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None
