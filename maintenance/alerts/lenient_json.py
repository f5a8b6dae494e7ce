"""X"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

MAX_TEXT = 300
MAX_ID = 1000
Fields = dict[str, Any]


def fields_of(value: object) -> Fields:
    """An object's fields by their names in small letters; none where it is no object. JSON text is read."""
    found = from_text(value)
    return {str(name).lower(): below for name, below in found.items()} if isinstance(found, Mapping) else {}


def list_of(value: object) -> list[Any]:
    """A list; empty where it is none. JSON text is read."""
    found = from_text(value)
    return found if isinstance(found, list) else []


def text_of(value: object, most: int = MAX_TEXT) -> str:
    """Text, or a number as text, or the `value` of an object as the activity log's API has them; else empty."""
    if isinstance(value, Mapping):
        value = value.get("value")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return str(value)[:most]
    return value.strip()[:most] if isinstance(value, str) else ""


def texts_of(value: object) -> tuple[str, ...]:
    """The texts in a list, or the one text that stands in its place."""
    found = value if isinstance(value, list) else [value]
    return tuple(text for entry in found if (text := text_of(entry, MAX_ID)))


def first_text(fields: Fields, *names: str) -> str:
    """The first of these fields that holds text; empty where none does."""
    return next((text for name in names if (text := text_of(fields.get(name), MAX_ID))), "")


def from_text(value: object) -> object:
    """JSON that stands in text, read; anything else as it is, and None where such text is no JSON."""
    if not isinstance(value, str) or not value.lstrip().startswith(("{", "[")):
        return value
    try:
        found: object = json.loads(value)
    except (ValueError, RecursionError):
        return None
    return found
