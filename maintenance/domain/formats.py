"""Text formats: ISO 8601 durations, RFC 3339 times, and strict JSON objects."""

from __future__ import annotations

import json
import re
from collections import Counter
from datetime import timedelta
from typing import Any, NoReturn

from maintenance.domain.errors import InvalidRequest, Problem

MAX_SHOWN = 120
# Of lists and objects in each other. No request, alert or response of ARM has a fifth of it; deeper documents make
# whatever walks through them raise RecursionError, at a depth that nobody knows.
MAX_DEPTH = 64
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)', re.DOTALL)
_NOT_BRACKETS = bytes(code for code in range(256) if chr(code) not in "[]{}")
# How far ahead the times of a request may be, and how long no run lasts: a day more, for clocks and defaults.
FURTHEST_AHEAD = timedelta(days=35)
LONGEST_RUN = FURTHEST_AHEAD + timedelta(days=1)
_LIST = "must be a JSON object, not a list: send each in a message of its own"
_EVENT_GRID = (
    "is a list of events as Event Grid posts it to webhooks, which this app does not have: let the event subscription "
    "deliver to the requests queue"
)
RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def parse_duration(text: str) -> timedelta:
    """Parse an ISO 8601 duration (`PT30S`, `P1DT12H`; no years or months, which have no fixed length).

    Raises ValueError with the reason.
    """
    from pydantic import TypeAdapter, ValidationError  # noqa: PLC0415 - settings are read before the first request

    problem = 'must be an ISO 8601 duration, for example "PT30M"'
    if not text.startswith("P"):
        raise ValueError(problem)
    try:
        duration = TypeAdapter(timedelta).validate_python(text)
    except ValidationError:
        raise ValueError(problem) from None
    if duration < timedelta(0):
        raise ValueError("must not be negative")
    return duration


def parse_json(text: str, **options: Any) -> Any:
    """`json.loads` with a bound of `MAX_DEPTH`, for whatever comes from outside. Raises ValueError."""
    check_depth(text.encode(errors="surrogatepass"))
    return json.loads(text, **options)


def check_depth(data: bytes) -> None:
    """Raises ValueError where lists and objects are nested more than `MAX_DEPTH` levels deep in JSON."""
    if _depth(data) > MAX_DEPTH:
        raise ValueError(f"nested too deeply (at most {MAX_DEPTH} levels)")


def _depth(data: bytes) -> int:
    """How deep lists and objects are nested in JSON, in linear time and without recursion."""
    if data.count(b"[") + data.count(b"{") <= MAX_DEPTH:
        return 0
    depth = deepest = 0
    for bracket in _STRING.sub(b"", data).translate(None, _NOT_BRACKETS):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


def read_json(body: bytes, most: int) -> dict[str, Any]:
    """Parse the JSON object in `body`.

    Raises InvalidRequest if it has more than `most` bytes, is not UTF-8, JSON or an object, repeats a name, or is
    nested more than `MAX_DEPTH` levels deep.
    """
    if len(body) > most:
        refuse("body", f"must be at most {most:,} bytes", f"{len(body):,} bytes")
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        refuse("body", f"must be UTF-8; byte {error.start} is not", f"0x{body[error.start]:02x}")
    repeated: list[str] = []

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        document = dict(pairs)
        if len(document) < len(pairs):
            counts = Counter(name for name, _ in pairs)
            repeated.extend(sorted(name for name, count in counts.items() if count > 1))
        return document

    try:
        document = parse_json(text, object_pairs_hook=unique, parse_constant=_no_constant)
    except ValueError as error:
        refuse("body", f"must be JSON: {error}", None)
    if isinstance(document, list):
        refuse("body", _EVENT_GRID if _from_event_grid(document) else _LIST, shown(document))
    if isinstance(document, str) and document.lstrip().startswith("{"):
        refuse("body", "must be a JSON object, not text that holds one: it was encoded twice", shown(document))
    if not isinstance(document, dict):
        refuse("body", "must be a JSON object", shown(document))
    if repeated:
        raise InvalidRequest(tuple(Problem(name[:MAX_SHOWN], "appears more than once") for name in repeated))
    return document


def _from_event_grid(document: list[Any]) -> bool:
    return any(isinstance(each, dict) and "eventType" in each for each in document[:1])


def shown(value: object) -> str:
    """`value` as JSON for an error text, shortened."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "…"


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


def refuse(where: str, message: str, value: str | None) -> NoReturn:
    """Raise InvalidRequest for one problem."""
    raise InvalidRequest((Problem(where, message, value),))
