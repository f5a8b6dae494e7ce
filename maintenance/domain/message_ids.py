"""The id of every message this app sends. Deterministic: whoever sends a message again sends the same id. Pure.

Service Bus drops a message whose id it saw within the queue's duplicate-detection window, and takes at most 128
characters. `R` below is a request's id.

| message | id |
|---|---|
| retry of a request | `R:r{attempt}` |
| record of an operation | `R:w{wave}:p{revision}`; the first is always `R:w0:p0` |
| events | `R:accepted`, `R:progressed:w{wave}`, `R:ended` |
| request from an alert | `alert-{origin}-{hash}`, and `-dry` in a dry run |
| discovery, and each batch of one | `discover-{origin}-{hash}`, and `-dry` in a dry run |
"""

from __future__ import annotations

import hashlib
import re

REQUEST_ID = re.compile(r"[!-~]{1,100}")


def request(own: object, message_id: str | None, sequence_number: int | None) -> str:
    """A request's id: its own `requestId`, else its message's id, else one made of the sequence number."""
    for candidate in (own, message_id):
        if isinstance(candidate, str) and REQUEST_ID.fullmatch(candidate):
            return candidate
    if message_id:
        # Ids are made of this one and must stay within what a message id may hold.
        return f"message-{short_hash(message_id, length=32)}"
    return f"sequence-{sequence_number}"


def retry(request_id: str, attempt: int) -> str:
    """The `attempt`-th scheduled retry of a request, from 1."""
    return f"{request_id}:r{attempt}"


def record(request_id: str, wave: int, revision: int) -> str:
    """The `revision`-th record of a wave, both from 0."""
    return f"{request_id}:w{wave}:p{revision}"


def first_record(request_id: str) -> str:
    """The first record of a request, whatever it says: of those that several runs of one message leave, duplicate
    detection keeps the first."""
    return record(request_id, 0, 0)


def accepted(request_id: str) -> str:
    return f"{request_id}:accepted"


def progressed(request_id: str, wave: int) -> str:
    return f"{request_id}:progressed:w{wave}"


def ended(request_id: str) -> str:
    """One id for `completed` and `rejected` alike: duplicate detection then lets only one end of a request through,
    even if a second run came to another one."""
    return f"{request_id}:ended"


def alert_request(origin: str, scale_set_key: str, *, dry_run: bool) -> str:
    """The request for one scale set that an alert leads to. A dry run must not keep the real one off the queue, once
    it is allowed."""
    return f"alert-{origin}-{short_hash(scale_set_key, length=16)}{_dry(dry_run)}"


def discovery(origin: str, *parts: str, dry_run: bool) -> str:
    """A discovery, or a batch of one. `parts` tell it from the others of the same origin."""
    return f"discover-{origin}-{short_hash(*parts, length=16)}{_dry(dry_run)}"


def short_hash(*parts: str, length: int = 20) -> str:
    """Parts of ids come from outside, so they are hashed to stay within what an id may hold."""
    return hashlib.sha256("\n".join(parts).encode(errors="replace")).hexdigest()[:length]


def _dry(dry_run: bool) -> str:
    return "-dry" if dry_run else ""
