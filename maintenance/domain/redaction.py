"""Redaction of secrets before a text is logged or published: tokens, keys, signed query strings."""

from __future__ import annotations

import re

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
