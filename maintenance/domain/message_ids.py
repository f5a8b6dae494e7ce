"""The id of every message this app sends. Deterministic: whoever sends a message again sends the same id. Pure.

Service Bus drops a message whose id it saw within the entity's duplicate-detection window, and takes at most 128
characters. All that belongs to a run has an id made of its *run id*, never of what a sender chose.

| message | id |
|---|---|
| record of a run | `{run}:s{number}` |
| events of a run | `{run}:accepted`, `{run}:progressed:w{wave}`, `{run}:deferred:w{wave}:{reason}`,
  `{run}:awaiting:w{wave}`, `{run}:ended` |
| lease of a run | `lease:{run}` |
| cancellation marker | `cancel:{run}` |
| pause, resume, proceed | `pause:{run}`, `resume:{run}`, `proceed:{run}` |
| note that views may be stale after a run | `stale:{run}` |
| request from an alert | `alert-{origin}-{hash}`, and `-dry` in a dry run |
| discovery, and each batch of one | `discover-{origin}-{hash}`, and `-dry` in a dry run |
| scan of a subscription, and each part of one | `scan-{day}-{hash}` |
| event of a scan for a scale set | `{hash}:due` |
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime

REQUEST_ID = re.compile(r"[!-~]{1,100}")
RUN_ID = re.compile(r"[0-9a-f]{32}")


def run(sequence_number: int | None, enqueued_at: datetime | None, *, of_alert: bool = False) -> str:
    """The run of the message that Service Bus numbered so and enqueued then: the same at each delivery, also from the
    dead-letter queue; another for every other message, whatever its sender wrote into it.

    The time counts to the millisecond: that is what AMQP carries. `of_alert`: the message came from the operations
    queue. Each queue has numbers of its own, so two messages can have the same number and time.
    """
    moment = "" if enqueued_at is None else f"{int(enqueued_at.astimezone(UTC).timestamp() * 1000)}"
    return short_hash(str(sequence_number), moment, *(["alert"] if of_alert else []), length=32)


def request(own: object, message_id: str | None, sequence_number: int | None) -> str:
    """What people see: a request's own `requestId`, else its message's id, else one made of the sequence number."""
    for candidate in (own, message_id):
        if isinstance(candidate, str) and REQUEST_ID.fullmatch(candidate):
            return candidate
    if message_id:
        return f"message-{short_hash(message_id, length=32)}"
    return f"sequence-{sequence_number}"


def record(run_id: str, number: int) -> str:
    """The `number`-th record of a run, from 0."""
    return f"{run_id}:s{number}"


def accepted(run_id: str) -> str:
    return f"{run_id}:accepted"


def progressed(run_id: str, wave: int) -> str:
    return f"{run_id}:progressed:w{wave}"


def deferred(run_id: str, wave: int, waits_for: str) -> str:
    """One for each thing that a wave waits for, however often it does."""
    return f"{run_id}:deferred:w{wave}:{waits_for.lower()}"


def awaiting(run_id: str, wave: int) -> str:
    return f"{run_id}:awaiting:w{wave}"


def ended(run_id: str) -> str:
    """One id for every kind of end."""
    return f"{run_id}:ended"


def lease(run_id: str) -> str:
    return f"lease:{run_id}"


def marker(run_id: str) -> str:
    return f"cancel:{run_id}"


def pause(run_id: str) -> str:
    return f"pause:{run_id}"


def resume(run_id: str) -> str:
    return f"resume:{run_id}"


def proceed(run_id: str) -> str:
    return f"proceed:{run_id}"


def stale_views(run_id: str) -> str:
    return f"stale:{run_id}"


def alert_request(origin: str, scale_set_key: str, *, dry_run: bool) -> str:
    """The request for one scale set that an alert leads to. A dry run must not keep the real one off the queue."""
    return f"alert-{origin}-{short_hash(scale_set_key, length=16)}{_dry(dry_run)}"


def first_discovery(origin: str, first_id: str, *, dry_run: bool) -> str:
    """A discovery as an alert leads to it. The response to the alert names it so, and so does the event of its end."""
    return f"discover-{origin}-{first_id}{_dry(dry_run)}"


def discovery(origin: str, body: bytes, *, dry_run: bool) -> str:
    """What follows a discovery, or a batch of one: another for everything else it says."""
    return f"discover-{origin}-{hashlib.sha256(body).hexdigest()[:32]}{_dry(dry_run)}"


def scan(day: str, *said: str) -> str:
    """A scan of that day, or a part of one: sent again on the same day it is dropped."""
    return f"scan-{day}-{short_hash(*said, length=32)}"


def scan_run(day: str, *keys: str) -> str:
    """What stands for a run in events of a scan: no run has it."""
    return short_hash("scan", day, *keys, length=32)


def scan_request(day: str, scale_set_key: str) -> str:
    """What stands for a requestId in the event of a scan for a scale set."""
    return f"scan-{day}-{short_hash(scale_set_key, length=16)}"


def due(run_id: str) -> str:
    return f"{run_id}:due"


def short_hash(*parts: str, length: int = 20) -> str:
    """Parts of ids come from outside, so they are hashed to stay within what an id may hold."""
    return hashlib.sha256("\n".join(parts).encode(errors="replace")).hexdigest()[:length]


def _dry(dry_run: bool) -> str:
    return "-dry" if dry_run else ""
