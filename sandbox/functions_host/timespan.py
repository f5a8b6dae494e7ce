"""Parser of .NET time spans, the durations of host.json and timers."""

import re
from datetime import timedelta

_TIMESPAN = re.compile(
    r"(?P<sign>-)?(?:(?P<days>\d+)\.)?(?P<hours>\d{1,2}):(?P<minutes>\d{1,2}):(?P<seconds>\d{1,2}(?:\.\d{1,7})?)"
)


def parse_timespan(text: str) -> timedelta:
    """`[-][d.]hh:mm:ss[.fffffff]` as a timedelta.

    Raises:
        ValueError: it is not a time span, or hours, minutes or seconds are out of their range.
    """
    match = _TIMESPAN.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a time span; write it as hh:mm:ss, for example 00:05:00")
    hours, minutes, seconds = int(match["hours"]), int(match["minutes"]), float(match["seconds"])
    if hours > 23 or minutes > 59 or seconds >= 60:
        raise ValueError(f"{text!r} is not a time span: hours go to 23, minutes and seconds to 59; days: d.hh:mm:ss")
    span = timedelta(days=int(match["days"] or 0), hours=hours, minutes=minutes, seconds=seconds)
    return -span if match["sign"] else span
