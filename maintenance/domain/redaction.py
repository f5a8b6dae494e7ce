"""Redaction of secrets before a text is logged or published: tokens, keys, signed query strings."""

from __future__ import annotations

import re
import traceback
from pathlib import Path

_SECRETS = (
    # Everything after the path of a URL: Azure signs operation URLs in their query.
    (re.compile(r"(https?://[^\s\"'<>?#]+)[?#][^\s\"'<>]*", re.IGNORECASE), r"\1?…"),
    # The same for a relative URL, which ARM may send.
    (re.compile(r"(/subscriptions/[^\s\"'<>?#]+)\?[^\s\"'<>]*", re.IGNORECASE), r"\1?…"),
    (re.compile(r"(\bBearer\s+)[\w\-.~+/]+=*", re.IGNORECASE), r"\1…"),
    (re.compile(r"\beyJ[\w\-]{8,}\.[\w\-]+\.?[\w\-]*"), "…"),
    (
        re.compile(
            r"((?:SharedAccessKey|SharedAccessSignature|AccountKey|\bsig|password|secret)[\"']?\s*[=:]\s*[\"']?)"
            r"[^;&,\s\"'}]+",
            re.IGNORECASE,
        ),
        r"\1…",
    ),
)


def redact(text: str) -> str:
    """Replace the secrets in `text` with `…`."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def place_of(error: BaseException) -> str:
    """What failed unexpectedly and where, without the values it failed on: they may hold anything."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    places = " < ".join(f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in reversed(frames))
    return f"{type(error).__name__} at {places}" if places else type(error).__name__
