"""Runs of requests as their records tell them: waves, pauses, waits for health, and why a run waits.

A record is a message of the operations queue, in the form that docs/architecture.md describes. Whoever may send there
may have written it, so what does not look like one is passed over.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

Kind = Literal["plan", "post", "work", "health", "pause", "retry", "end"]
"""What a run does from one record to the next: look what can be done; a POST that is to be proved; a wave at work; wait
for its health; pause before the next wave; wait to try again; nothing, since it ended."""

_MOST_SPANS = 400
_LONGEST = 300
_SCHEMA_VERSION = 2


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a run in which it did one thing; `wave` from 0. Not `ended`: it still does."""

    kind: Kind
    wave: int
    begun: datetime
    ended: datetime | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """A run by its records so far. `due`: when it goes on. `why`: what it waits for, empty where nothing keeps it."""

    run_id: str
    request_id: str
    scale_set: str
    requested_at: datetime
    deadline: datetime | None
    number: int
    waves: tuple[tuple[str, ...], ...]
    wave: int
    due: datetime | None
    why: str
    trace: str
    spans: tuple[Span, ...] = ()
    status: str = ""


def follow(run: Run | None, body: bytes, sent_at: datetime, due: datetime | None) -> Run | None:
    """The run after one more record of it (`run`: before; None: its first). None: the body is no record of a run.

    Args:
        run: the run of the record's id, by `run_id_of`.
        body: the record.
        sent_at: when it was sent.
        due: when it is delivered; None: at once.
    """
    document = _document(body)
    if document is None:
        return None
    number = document.get("number", 0)
    if not isinstance(number, int) or (run is not None and number < run.number):
        return run  # the JUDGE record of a POST that a later record has replaced
    kind, wave = _kind(document, sent_at), _number(document.get("wave"))
    requested_at = _moment(document.get("requested_at")) or sent_at
    # From its beginning on it waits: in the requests queue at first.
    spans = (Span("plan", 0, min(requested_at, sent_at)),) if run is None else run.spans
    status = _text(document.get("status")) if kind == "end" else ""
    return Run(
        run_id=_text(document["run_id"]),
        request_id=_text(document.get("request_id")),
        scale_set=_scale_set(document.get("scale_set")),
        requested_at=requested_at,
        deadline=_moment(document.get("deadline")),
        number=number,
        waves=_waves(document.get("waves")),
        wave=wave,
        due=due,
        why="" if kind == "end" else _why(document, kind),
        trace=_trace(document.get("trace")),
        spans=_with(spans, kind, wave, sent_at),
        status=status,
    )


def run_id_of(message_id: str) -> str | None:
    """The run whose record has this message id; None: it is no record's."""
    run_id, colon, number = message_id.rpartition(":s")
    return run_id if colon and number.isdecimal() and run_id else None


def _document(body: bytes) -> Mapping[str, Any] | None:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or document.get("schemaVersion") != _SCHEMA_VERSION:
        return None
    # A reply to a message that started no run has neither.
    return document if isinstance(document.get("run_id"), str) and "scale_set" in document else None


def _kind(document: Mapping[str, Any], sent_at: datetime) -> Kind:
    match document.get("phase", "plan"):
        case "end" | "rest":
            return "end"
        case "post" | "judge":
            return "post"
        case "track":
            return "health" if document.get("recovering_since") else "work"
    resume_at = _moment(document.get("resume_at"))
    if document.get("transient_error") or document.get("blocked_since") or document.get("refused"):
        return "retry"
    return "pause" if resume_at is not None and resume_at > sent_at else "plan"


def _why(document: Mapping[str, Any], kind: Kind) -> str:
    """What keeps a run from going on, in words."""
    error = document.get("transient_error")
    if isinstance(error, dict):
        return f"{_text(error.get('code'))}: {_text(error.get('message'))}".strip(": ")
    if kind == "retry":
        return "others update the instances, or ARM refused them: tried again"
    if kind == "plan" and _number(document.get("number")):
        return "waits for the lease of the scale set, or for its instances"
    words: dict[Kind, str] = {
        "post": "the POST was sent: its result is not known yet",
        "health": "instances are not healthy yet",
    }
    return words.get(kind, "")


def _with(spans: tuple[Span, ...], kind: Kind, wave: int, at: datetime) -> tuple[Span, ...]:
    if spans and (spans[-1].kind, spans[-1].wave) == (kind, wave):
        return spans
    ended = (*spans[:-1], replace(spans[-1], ended=at)) if spans and spans[-1].ended is None else spans
    if kind == "end":
        return ended
    return (*ended, Span(kind, wave, at))[-_MOST_SPANS:]


def _scale_set(value: object) -> str:
    if not isinstance(value, dict):
        return ""
    return "/".join(_text(value.get(name)) for name in ("subscription_id", "resource_group_name", "name"))


def _waves(value: object) -> tuple[tuple[str, ...], ...]:
    if not isinstance(value, list):
        return ()
    return tuple(tuple(map(_text, wave)) for wave in value if isinstance(wave, list))


def _trace(value: object) -> str:
    """The trace id of a W3C traceparent."""
    parent = value.get("traceparent") if isinstance(value, dict) else None
    return trace_id(parent) if isinstance(parent, str) else ""


def trace_id(traceparent: str) -> str:
    """The trace id in a W3C traceparent (`00-{trace}-{span}-{flags}`); empty where there is none."""
    parts = traceparent.split("-")
    return parts[1] if len(parts) >= 4 and len(parts[1]) == 32 else ""


def _moment(value: object) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment if moment.tzinfo else None


def _number(value: object) -> int:
    return value if isinstance(value, int) and 0 <= value < 100_000 else 0


def _text(value: object) -> str:
    return value[:_LONGEST] if isinstance(value, str) else ""
