"""ISO 8601 durations, as requests and settings write them."""

from __future__ import annotations

from datetime import timedelta


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
