"""The types of a window's fields: what each one accepts, in Python and in JSON Schema. Pure.

As in `field_types`: the schema says all that a schema can say, and `OTHER_CALENDAR_RULES` says the rest.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

from maintenance.domain.calendars import Window
from maintenance.policies.windows import schedule_problem, zone_problem
from maintenance.requests.field_types import Pause, any_case, checked, text_of

MAX_WINDOWS = 10
MAX_SCHEDULE = 200
MAX_ZONE = 64
OTHER_CALENDAR_RULES = (
    "the `schedule` of a window must occur, and no range in it may run backwards",
    "the `duration` of a window must not be zero",
    "the `timeZone` of a window must be in the IANA database",
)
_MONTHS = "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC"
_DAYS = "SUN MON TUE WED THU FRI SAT"


def _field(*values: str) -> str:
    value = f"(?:{'|'.join(values)})"
    item = rf"(?:\*|{value}(?:-{value})?)(?:/[1-9][0-9]?)?"
    return f"{item}(?:,{item})*"


def _names(names: str) -> list[str]:
    return [any_case(name) for name in names.split()]


_SCHEDULE = " ".join(
    (
        _field("[0-5]?[0-9]"),
        _field("[01]?[0-9]", "2[0-3]"),
        _field("0?[1-9]", "[12][0-9]", "3[01]"),
        _field("0?[1-9]", "1[0-2]", *_names(_MONTHS)),
        _field("[0-7]", *_names(_DAYS)),
    )
)
_ZONE = r"[A-Za-z][A-Za-z0-9_+\-]*(?:/[A-Za-z0-9_+\-]+){0,2}"


def _not_zero(duration: timedelta) -> timedelta:
    if not duration:
        raise ValueError("must not be zero")
    return duration


def _schedule_problem(schedule: str) -> str | None:
    if not re.fullmatch(_SCHEDULE, schedule, re.ASCII):
        return 'must be a cron expression of five fields with one space between them, as "0 22 * * SAT"'
    return schedule_problem(schedule)


def _windows(value: object) -> object:
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_WINDOWS:
        raise ValueError(f"must be a list of 1 to {MAX_WINDOWS} windows, or left out")
    return value


Schedule = Annotated[
    str,
    Field(max_length=MAX_SCHEDULE),
    checked(_schedule_problem),
    text_of(_SCHEDULE, maxLength=MAX_SCHEDULE),
]
TimeZone = Annotated[str, Field(max_length=MAX_ZONE), checked(zone_problem), text_of(_ZONE, maxLength=MAX_ZONE)]


class WindowFields(BaseModel):
    model_config = ConfigDict(extra="forbid", alias_generator=to_camel)

    schedule: Schedule
    duration: Annotated[Pause, AfterValidator(_not_zero)]
    time_zone: TimeZone = "UTC"

    def window(self) -> Window:
        # In one form, so that requests that ask for the same do so whatever the letter case.
        return Window(self.schedule.upper(), self.duration, self.time_zone)


Windows = Annotated[list[WindowFields] | None, BeforeValidator(_windows)]
