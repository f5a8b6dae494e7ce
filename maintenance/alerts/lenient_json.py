"""Lenient access to JSON whose fields vary in type and letter case, as in the payloads of Azure Monitor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from maintenance.domain.formats import parse_json

MAX_TEXT = 300
MAX_ID = 1000
Fields = dict[str, Any]


def fields_of(value: object) -> Fields:
    """The fields of an object, or of JSON text, by lower-case name; empty if it is not an object."""
    found = parsed(value)
    return {str(name).lower(): below for name, below in found.items()} if isinstance(found, Mapping) else {}


def list_of(value: object) -> list[Any]:
    """A list, also from JSON text; empty if it is not a list."""
    found = parsed(value)
    return found if isinstance(found, list) else []


def text_of(value: object, most: int = MAX_TEXT) -> str:
    """A string, a number as text, or the `value` of an object (as in the activity log's API); otherwise empty."""
    if isinstance(value, Mapping):
        value = value.get("value")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return str(value)[:most]
    return value.strip()[:most] if isinstance(value, str) else ""


def texts_of(value: object) -> tuple[str, ...]:
    """The strings of a list, or a single string in place of a list."""
    found = value if isinstance(value, list) else [value]
    return tuple(text for entry in found if (text := text_of(entry, MAX_ID)))


def first_text(fields: Fields, *names: str) -> str:
    """The first of these fields that contains text; empty if none does."""
    return next((text for name in names if (text := text_of(fields.get(name), MAX_ID))), "")


def parsed(value: object) -> object:
    """Parse text that looks like JSON; None if it is malformed. Any other value is returned unchanged."""
    if not isinstance(value, str) or not value.lstrip().startswith(("{", "[")):
        return value
    try:
        found: object = parse_json(value)
    except ValueError:
        return None
    return found
