"""An NCRONTAB expression, checked as the host reads it. Pure."""

from __future__ import annotations

import re

# Of an NCRONTAB expression: what, least, most, names.
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_SCHEDULE: tuple[tuple[str, int, int, tuple[str, ...]], ...] = (
    ("second", 0, 59, ()),
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 6, _DAYS),
)
_SCHEDULE_ITEM = re.compile(
    r"(?:\*|([0-9]{1,2}|[A-Za-z]{3,9})(?:-([0-9]{1,2}|[A-Za-z]{3,9}))?)(?:/([0-9]{1,2}))?", re.ASCII
)


def schedule(text: str) -> str:
    """An NCRONTAB expression of six fields, as the host reads them. Raises ValueError with the reason."""
    fields = text.split()
    example = "for example */30 * * * * * for every 30 seconds"
    if len(fields) != len(_SCHEDULE):
        raise ValueError(f"must have six fields, the first of them the seconds: {example}")
    for field_text, (what, least, most, names) in zip(fields, _SCHEDULE, strict=True):
        for item in field_text.split(","):
            found = _SCHEDULE_ITEM.fullmatch(item)
            ends = [_ordinal(end, names) for end in (found[1], found[2]) if end] if found else []
            step = int(found[3]) if found and found[3] else 1
            if found is None or step < 1 or any(end is None or not least <= end <= most for end in ends):
                raise ValueError(f"has no valid {what} ({least} to {most}): {example}")
    return text


def _ordinal(text: str, names: tuple[str, ...]) -> int | None:
    if text.isdigit():
        return int(text)
    return names.index(text.upper()[:3]) + (len(names) == 12) if text.upper()[:3] in names else None
