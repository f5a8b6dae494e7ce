"""X"""

from __future__ import annotations

import json
import re
from collections import Counter
from datetime import timedelta
from typing import Any, NoReturn

from maintenance.domain.errors import InvalidRequest, Problem

MAX_SHOWN = 120
RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def parse_duration(text: str) -> timedelta:
    """Read `text` as an ISO 8601 duration (`PT30S`, `P1DT12H`; no years or months, which have no fixed length).

    Raises ValueError that says what is wrong.
    """
    from pydantic import TypeAdapter, ValidationError  # noqa: PLC0415 - settings are read before the first request

    problem = 'must be an ISO 8601 duration, as "PT30M"'
    if not text.startswith("P"):
        raise ValueError(problem)
    try:
        duration = TypeAdapter(timedelta).validate_python(text)
    except ValidationError:
        raise ValueError(problem) from None
    if duration < timedelta(0):
        raise ValueError("must not be negative")
    return duration


def read_json(body: bytes, most: int) -> dict[str, Any]:
    """The JSON object that stands in `body`.

    Raises InvalidRequest: over `most` bytes, no UTF-8, no JSON, no object, or a name that stands twice.
    """
    if len(body) > most:
        refuse("body", f"must be at most {most:,} bytes", f"{len(body):,} bytes")
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        refuse("body", f"must be UTF-8; byte {error.start} is not", f"0x{body[error.start]:02x}")
    twice: list[str] = []

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        document = dict(pairs)
        if len(document) < len(pairs):
            counts = Counter(name for name, _ in pairs)
            twice.extend(sorted(name for name, count in counts.items() if count > 1))
        return document

    try:
        document = json.loads(text, object_pairs_hook=unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        told = str(error) if isinstance(error, ValueError) else "nested too deeply"
        refuse("body", f"must be JSON: {told}", None)
    if not isinstance(document, dict):
        refuse("body", "must be a JSON object", shown(document))
    if twice:
        raise InvalidRequest(tuple(Problem(name[:MAX_SHOWN], "stands more than once") for name in twice))
    return document


def shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "…"


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


def refuse(where: str, message: str, value: str | None) -> NoReturn:
    raise InvalidRequest((Problem(where, message, value),))
