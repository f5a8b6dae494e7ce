"""What the page shows of texts that others wrote: no bearer token, no key, no query of a URL: it may be signed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

LONGEST_TEXT: Final = 100_000
"""Characters of a body that are shown: as many as a request may have bytes."""

_HIDDEN = "…"
# A query ends where no URL goes on. In JSON `?` and `&` may be written as \u003f and \u0026.
_QUERY = re.compile(r"(\?|\\u003[fF])[^\s\"'<>?=]{0,200}=[^\s\"'<>]*")
_FIELD = re.compile(r"([?&#]|\\u0026)(s|c|h|sig|code|access_token)=[^\s\"'<>&]{8,}")
_BEARER = re.compile(r"\b(bearer)\s+[\w.~+/=-]{8,}", re.IGNORECASE)
# From the beginning of a word only: from each `eyJ` on, a megabyte of them would take hours.
_TOKEN = re.compile(r"(?<![\w-])eyJ[\w-]{8,}\.[\w-]{4,}(?:\.[\w-]*)?")
_KEY = re.compile(r"(SharedAccessKey|SharedAccessSignature|AccountKey)\s*=\s*[^;\s\"']{4,}", re.IGNORECASE)


def shown(text: str) -> str:
    """The text, without what is secret in it."""
    if "=" in text:
        text = _QUERY.sub(rf"\1{_HIDDEN}", text)
        text = _FIELD.sub(rf"\1\2={_HIDDEN}", text)
        text = _KEY.sub(rf"\1={_HIDDEN}", text)
    if "eyJ" in text:
        text = _TOKEN.sub(_HIDDEN, text)
    return _BEARER.sub(rf"\1 {_HIDDEN}", text)


def shown_body(body: bytes) -> str:
    """A body as text, at most `LONGEST_TEXT` characters of it; bytes that are no UTF-8 as `\\xff`."""
    text = shown(body.decode("utf-8", "backslashreplace"))
    if len(text) <= LONGEST_TEXT:
        return text
    return f"{text[:LONGEST_TEXT]}\n… {len(text) - LONGEST_TEXT:,} more characters"


def shown_values(values: Mapping[Any, Any]) -> dict[str, str]:
    """Names and values as texts. Secret headers are gone already; their values' queries and tokens go here."""
    return {shown(str(name)): shown(str(value)) for name, value in values.items()}
