"""When windows open and close, also where clocks are changed; and calendars of several."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maintenance.domain.calendars import Blackout, Window
from maintenance.policies.calendar import Calendar, moments
from maintenance.policies.windows import last_opening, next_opening, schedule_problem, zone_problem

HOUR = timedelta(hours=1)
BERLIN = "Europe/Berlin"
SATURDAYS = Window("0 22 * * SAT", 6 * HOUR, BERLIN)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def openings(window: Window, after: str, count: int = 2) -> list[str]:
    found, moment = [], at(after)
    for _ in range(count):
        opening = next_opening(window, moment)
        assert opening is not None
        moment = opening
        found.append(moment.isoformat()[:16])
    return found


def test_window_is_open_from_its_opening_until_before_its_end() -> None:
    # Saturday 22:00 in Berlin is 21:00 UTC in winter.
    opening = at("2026-01-31T21:00")
    assert last_opening(SATURDAYS, opening - timedelta(microseconds=1)) is None
    assert last_opening(SATURDAYS, opening) == opening
    assert last_opening(SATURDAYS, opening + 6 * HOUR - timedelta(microseconds=1)) == opening
    assert last_opening(SATURDAYS, opening + 6 * HOUR) is None


@pytest.mark.parametrize(
    ("schedule", "after", "expected"),
    [
        # 28 to 29 March 2026: at 02:00 local time (01:00 UTC) clocks show 03:00.
        ("30 2 * * *", "2026-03-28T12:00", ["2026-03-29T01:00", "2026-03-30T00:30"]),
        ("0 3 * * *", "2026-03-28T12:00", ["2026-03-29T01:00", "2026-03-30T01:00"]),
        ("*/30 2 * * *", "2026-03-28T12:00", ["2026-03-29T01:00", "2026-03-30T00:00"]),
        ("0 * * * *", "2026-03-28T23:30", ["2026-03-29T00:00", "2026-03-29T01:00"]),
        # 24 to 25 October 2026: at 03:00 local time (01:00 UTC) clocks show 02:00 again.
        ("30 2 * * *", "2026-10-24T12:00", ["2026-10-25T00:30", "2026-10-26T01:30"]),
        ("30 2 * * *", "2026-10-25T00:45", ["2026-10-26T01:30", "2026-10-27T01:30"]),
        ("0 3 * * *", "2026-10-24T12:00", ["2026-10-25T02:00", "2026-10-26T02:00"]),
        ("0 * * * *", "2026-10-25T00:30", ["2026-10-25T01:00", "2026-10-25T02:00"]),
        ("15,45 * * * *", "2026-10-25T00:30", ["2026-10-25T00:45", "2026-10-25T01:15"]),
    ],
)
def test_window_opens_once_over_a_change_of_clocks(schedule: str, after: str, expected: list[str]) -> None:
    assert openings(Window(schedule, HOUR, BERLIN), after) == expected


def test_duration_is_elapsed_time_over_a_change_of_clocks() -> None:
    for opened in (at("2026-03-28T21:00"), at("2026-10-24T20:00")):
        assert last_opening(SATURDAYS, opened + 6 * HOUR - timedelta(seconds=1)) == opened
        assert last_opening(SATURDAYS, opened + 6 * HOUR) is None


def test_window_that_always_is_open_stays_open_over_both_changes() -> None:
    always = Window("0 * * * *", HOUR, BERLIN)
    for start in (at("2026-03-28T22:00"), at("2026-10-24T22:00")):
        assert all(last_opening(always, start + timedelta(minutes=10 * each)) for each in range(40))


SCHEDULES = ("0 22 * * SAT", "30 2 * * *", "*/20 1-3 * * SUN", "5 * * * *", "0 0 1 * *", "59 23 28-31 * *")
ZONES = (BERLIN, "UTC", "America/New_York", "Australia/Lord_Howe", "Antarctica/Troll", "Asia/Kathmandu")


@settings(derandomize=True, max_examples=60, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(SCHEDULES),
    st.sampled_from(ZONES),
    st.sampled_from((at("2026-03-29T01:00"), at("2026-10-25T01:00"), at("2026-03-08T07:00"), at("2026-04-04T15:00"))),
    st.timedeltas(timedelta(hours=-40), timedelta(hours=40)),
    st.timedeltas(timedelta(minutes=5), timedelta(days=3)),
)
def test_last_and_next_opening_agree_at_any_moment(
    schedule: str, zone: str, change: datetime, offset: timedelta, duration: timedelta
) -> None:
    window, now = Window(schedule, duration, zone), change + offset
    following = next_opening(window, now)
    assert following is not None
    assert following > now
    assert last_opening(window, following) == following
    assert last_opening(window, following - timedelta(seconds=1)) == last_opening(window, now) or (
        last_opening(window, now) is not None and last_opening(window, following - timedelta(seconds=1)) is None
    )
    opened = last_opening(window, now)
    if opened is not None:
        assert now - duration < opened <= now
        # It shows on the clocks of the zone as its schedule says, or is the moment at which they are changed.
        zone_info = ZoneInfo(zone)
        before, after = opened - timedelta(seconds=1), opened
        jump = before.astimezone(zone_info).utcoffset() != after.astimezone(zone_info).utcoffset()
        minute = str(opened.astimezone(zone_info).minute)
        assert jump or schedule.split(maxsplit=1)[0] in (minute, "*/20")


def test_calendar_without_windows_and_blackouts_is_always_open() -> None:
    assert Calendar().closed(at("2026-01-01T00:00")) is None
    assert Calendar().next_start(at("2026-01-01T00:00")) == at("2026-01-01T00:00")
    assert Calendar().closes(at("2026-01-01T00:00")) is None


def test_wave_starts_where_a_window_of_each_group_is_open() -> None:
    calendar = Calendar(((SATURDAYS,),)).narrowed((Window("0 0 * * SUN", 4 * HOUR, BERLIN),))
    why = calendar.closed(at("2026-01-31T22:00"))
    assert why is not None
    assert (why.waits_for, why.until) == ("Window", at("2026-01-31T23:00"))
    assert calendar.closed(at("2026-01-31T23:00")) is None
    assert calendar.closes(at("2026-01-31T23:00")) == at("2026-02-01T03:00")


def test_blackout_wins_over_an_open_window_and_names_its_reason() -> None:
    blackout = Blackout(at("2026-01-31T20:00"), at("2026-02-01T00:00"), "inventory")
    calendar = Calendar(((SATURDAYS,),), (blackout,))
    why = calendar.closed(at("2026-01-31T21:30"))
    assert why is not None
    assert (why.waits_for, why.until) == ("Blackout", blackout.end)
    assert "inventory" in why.message
    assert calendar.closed(blackout.end) is None
    assert calendar.closes(blackout.start - HOUR) == blackout.start - HOUR  # closed: no window is open yet


def test_next_start_after_a_blackout_over_several_openings_is_the_first_behind_it() -> None:
    blackout = Blackout(at("2026-01-20T00:00"), at("2026-02-08T00:00"))
    assert Calendar(((SATURDAYS,),), (blackout,)).next_start(at("2026-01-25T00:00")) == at("2026-02-08T00:00")


def test_windows_that_never_meet_have_no_start() -> None:
    calendar = Calendar(((Window("0 1 * * *", HOUR),), (Window("0 3 * * *", HOUR),)))
    assert calendar.next_start(at("2026-01-01T00:00")) is None
    why = calendar.closed(at("2026-01-01T01:30"))
    assert why is not None
    assert why.until is None


def test_starts_are_the_openings_after_each_time_that_it_was_closed() -> None:
    starts = islice(Calendar(((SATURDAYS,),)).starts(at("2026-01-26T00:00")), 3)
    assert [each.isoformat()[:10] for each in starts] == ["2026-01-31", "2026-02-07", "2026-02-14"]
    always = Calendar(((Window("* * * * *", 2 * HOUR),),))
    assert list(always.starts(at("2026-01-26T00:00"))) == [at("2026-01-26T00:00")]


@settings(derandomize=True, max_examples=40, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.sampled_from(SCHEDULES), min_size=1, max_size=2),
    st.sampled_from(ZONES),
    st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 31)),  # noqa: DTZ001 - made aware below
    st.lists(st.integers(0, 200), max_size=2),
)
def test_next_start_is_open_and_nothing_before_it_is(
    schedules: list[str], zone: str, naive: datetime, blackouts: list[int]
) -> None:
    now = naive.replace(tzinfo=UTC)
    calendar = Calendar(
        tuple((Window(schedule, timedelta(hours=7), zone),) for schedule in schedules),
        tuple(Blackout(now + each * HOUR, now + (each + 30) * HOUR) for each in blackouts),
    )
    start = calendar.next_start(now)
    if start is not None:
        assert calendar.closed(start) is None
        closes = calendar.closes(start)
        assert closes is not None
        assert start < closes
        assert calendar.closed(closes - timedelta(microseconds=1)) is None
    for each in range(60):
        moment = now + each * timedelta(minutes=47)
        if start is None or moment < start:
            assert calendar.closed(moment) is not None


@pytest.mark.parametrize(
    ("schedule", "problem"),
    [
        ("0 22 * *", "five fields"),
        ("0 0 22 * * SAT", "five fields"),
        ("0 25 * * *", "its hour is not valid"),
        ("0 0 * * FRI-MON", "must not run backwards"),
        ("0 0 30 2 *", "not valid"),
        ("0 0 31 4,6 MON-TUE", None),
    ],
)
def test_schedule_that_is_none_is_named(schedule: str, problem: str | None) -> None:
    found = schedule_problem(schedule)
    assert found is None if problem is None else problem in (found or "")


@pytest.mark.parametrize(
    "zone", ["", "localtime", "../UTC", "/etc/passwd", "Europe/Nowhere", "W. Europe Standard Time"]
)
def test_name_that_is_no_time_zone_is_refused(zone: str) -> None:
    assert "IANA" in (zone_problem(zone) or "")


def test_local_time_that_clocks_show_twice_or_never_is_two_moments() -> None:
    assert moments("2026-10-25T02:30:00", BERLIN) == (at("2026-10-25T00:30"), at("2026-10-25T01:30"))
    assert moments("2026-03-29T02:30:00", BERLIN) == (at("2026-03-29T00:30"), at("2026-03-29T01:30"))
    assert moments("2026-03-29T12:00:00+02:00", BERLIN) == (at("2026-03-29T10:00"),) * 2
