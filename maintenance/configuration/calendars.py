"""The text of settings about when maintenance may start: windows and blackouts. Pure.

Each function raises ValueError with every rule that the text breaks.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from maintenance.domain.calendars import Blackout, Window
from maintenance.domain.errors import InvalidRequest
from maintenance.domain.formats import MAX_SHOWN, parse_json, shown
from maintenance.policies.calendar import moments
from maintenance.policies.windows import zone_problem

_WINDOWS = 'must be a JSON list, for example [{"schedule": "0 22 * * SAT", "duration": "PT6H", "timeZone": "UTC"}]'
_BLACKOUTS = (
    'must be a JSON list, for example [{"start": "2026-12-24", "end": "2027-01-02", "timeZone": "Europe/Berlin", '
    '"reason": "holidays"}, {"date": "2027-05-01"}]'
)
_SPAN = "must have `start` and `end`, or `date`, and may have `timeZone` and `reason`"
_TIMES = 'must be a date, as "2026-12-24", or a time, as "2026-12-24T18:00:00"'
_FIELDS = {"start", "end", "date", "timeZone", "reason"}
_LONGEST_REASON = 200
_DAY = timedelta(days=1)


def parse_windows(text: str) -> tuple[Window, ...]:
    """Parse the JSON of a request's `windows`."""
    from maintenance.requests.schema import read_part  # noqa: PLC0415 - indexing must not import pydantic

    try:
        return tuple(each.window() for each in read_part("windows", parse_json(text)).windows or ())
    except InvalidRequest as error:
        raise ValueError("; ".join(f"{problem.field}: {problem.message}" for problem in error.problems)) from None
    except ValueError:
        raise ValueError(_WINDOWS) from None


def parse_blackouts(text: str) -> tuple[Blackout, ...]:
    """Parse a list of spans and dates. A span of dates includes its last day; one of times ends before its `end`."""
    try:
        documents = parse_json(text)
    except ValueError:
        raise ValueError(_BLACKOUTS) from None
    if not isinstance(documents, list) or not documents:
        raise ValueError(_BLACKOUTS)
    problems, blackouts = [], []
    for number, document in enumerate(documents):
        try:
            blackouts.append(_blackout(document))
        except ValueError as error:
            problems.append(f"{number}: {error}: {shown(document)[:MAX_SHOWN]}")
    if problems:
        raise ValueError("; ".join(problems))
    return tuple(blackouts)


def _blackout(document: Any) -> Blackout:
    if not isinstance(document, dict) or document.keys() - _FIELDS or not all(map(_is_text, document.values())):
        raise ValueError(_SPAN)
    if document.keys() & {"start", "end", "date"} not in ({"start", "end"}, {"date"}):
        raise ValueError(_SPAN)
    zone, reason = document.get("timeZone", "UTC"), document.get("reason")
    if problem := zone_problem(zone):
        raise ValueError(f"`timeZone` {problem}")
    if reason is not None and (len(reason) > _LONGEST_REASON or not reason.isprintable()):
        raise ValueError(f"`reason` must be one line of at most {_LONGEST_REASON} characters")
    # Where clocks show a time twice, the blackout is as long as it can be.
    start, _ = _moments(document, "date" if "date" in document else "start", zone, days=0)
    _, end = _moments(document, "date" if "date" in document else "end", zone, days=1)
    if end <= start:
        raise ValueError("`end` must be after `start`")
    return Blackout(start, end, reason)


def _moments(document: Mapping[str, str], name: str, zone: str, *, days: int) -> tuple[datetime, datetime]:
    """A date begins at midnight; `days` later it is over."""
    text = document[name]
    try:
        if "T" not in text.upper():
            if len(text) != len("2026-12-24"):
                raise ValueError
            day = datetime.fromisoformat(text) + days * _DAY  # local midnight
            return moments(day.isoformat(), zone)
        return moments(text.upper(), zone)
    except (ValueError, OverflowError):
        raise ValueError(f"`{name}` {_TIMES}") from None


def _is_text(value: object) -> bool:
    return isinstance(value, str)
