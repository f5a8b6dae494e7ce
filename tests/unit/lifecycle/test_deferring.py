"""A wave starts only where nothing keeps it: windows, blackouts; what waits says so once, and looks again."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from maintenance.coordination.pauses import Pause
from maintenance.domain.calendars import Blackout, Deferral, Window
from maintenance.domain.operation import Operation, Phase, Status
from maintenance.lifecycle.actions import Action, Continue, Read, Submit, TakeLease
from maintenance.lifecycle.events import owed_events
from maintenance.policies.calendar import Calendar
from tests.support.machine import RULES, deliver, marker, planned, posting, read_state
from tests.support.samples import NOW, RUN, SCALE_SET, new_operation, seconds

# Open from 14:00 to 15:00; NOW is 12:00.
AFTERNOONS = Window("0 14 * * *", timedelta(hours=1))
OPENS = NOW + timedelta(hours=2)
WINDOWED = replace(RULES, calendar=Calendar(((AFTERNOONS,),)))
BLACKOUT = Blackout(NOW - timedelta(hours=1), NOW + timedelta(hours=1), "inventory")
BLACK = replace(RULES, calendar=Calendar((), (BLACKOUT,)))
TOLD: dict[str, Any] = {"deferred": ("w0:Window",)}


def continued(action: Action) -> Continue:
    assert isinstance(action, Continue)
    return action


def test_outside_its_windows_a_run_reads_no_views_and_takes_no_lease() -> None:
    action = deliver(new_operation(), rules=WINDOWED)
    assert action == Read(new_operation(), views=False, coordination=True)
    waiting = continued(read_state(new_operation(), None, entries=(), rules=WINDOWED))
    assert waiting.operation.phase is Phase.PLAN


def test_what_is_waited_for_is_published_at_once_and_once() -> None:
    first = continued(read_state(new_operation(), None, entries=(), rules=WINDOWED))
    assert first.due == NOW
    assert first.operation.deferral == Deferral(
        "Window", f"No maintenance window is open; the next opens at {OPENS.isoformat()}.", OPENS
    )
    (event,) = owed_events(first.operation)
    assert (event.type, event.event_id.partition(":")[2]) == ("vmss.maintenance.deferred.v1", "deferred:w0:window")
    assert (event.data["waitsFor"], event.data["until"], event.data["wave"]) == ("Window", OPENS.isoformat(), 1)
    again = continued(read_state(replace(first.operation, owed=()), None, entries=(), rules=WINDOWED))
    assert owed_events(again.operation) == ()
    assert again.due == NOW + RULES.timing.slice


def test_wait_for_a_window_ends_when_it_opens() -> None:
    soon = OPENS - seconds(90)
    waiting = continued(read_state(new_operation(**TOLD), None, soon, entries=(), rules=WINDOWED))
    assert waiting.due == OPENS
    action = deliver(waiting.operation, OPENS, rules=WINDOWED)
    assert isinstance(action, Read)
    assert action.views
    taken = read_state(waiting.operation, now=OPENS, entries=(), rules=WINDOWED)
    assert isinstance(taken, TakeLease)
    assert (taken.operation.deferral, taken.operation.transient_error) == (None, None)


def test_wait_for_a_window_meets_a_cancellation() -> None:
    canceled = continued(read_state(new_operation(**TOLD), None, entries=(marker(),), rules=WINDOWED))
    assert canceled.operation.status is Status.CANCELED


def test_window_of_the_request_counts_as_well_as_the_apps() -> None:
    later = Window("30 14 * * *", timedelta(hours=1))
    waiting = continued(read_state(new_operation(windows=(later,)), None, OPENS, entries=(), rules=WINDOWED))
    assert waiting.operation.deferral is not None
    assert waiting.operation.deferral.until == OPENS + timedelta(minutes=30)


def test_run_whose_windows_all_open_after_its_deadline_is_rejected_with_the_next_three() -> None:
    short = new_operation(deadline=OPENS - seconds(1))
    rejected = continued(read_state(short, None, entries=(), rules=WINDOWED)).operation
    assert rejected.status is Status.REJECTED
    (event,) = owed_events(rejected)
    (problem,) = event.data["problems"]
    assert problem["field"] == "windows"
    assert problem["message"].count("T14:00:00+00:00") == 3


def test_rollout_whose_next_window_opens_after_its_deadline_ends() -> None:
    begun = planned(("0",), ("1",), wave=1, started_at=NOW, deadline=OPENS)
    ended = continued(read_state(begun, None, rules=WINDOWED)).operation
    assert (ended.phase, ended.status) == (Phase.END, Status.TIMED_OUT)
    assert ended.error is not None
    assert ended.error.code == "NoWindow"


def test_wave_that_was_planned_in_time_is_not_posted_after_the_window_closed() -> None:
    record, closed = posting("0"), OPENS + timedelta(hours=1)
    action = read_state(record, now=closed, rules=WINDOWED)
    assert isinstance(action, Submit)
    assert action.groups == ()
    assert action.instead is not None
    assert action.instead.operation.phase is Phase.PLAN


def test_post_in_a_window_may_be_sent_until_the_window_closes() -> None:
    action = read_state(posting("0"), now=OPENS + timedelta(minutes=59, seconds=30), rules=WINDOWED)
    assert isinstance(action, Submit)
    assert action.groups == (("0",),)
    assert action.until == OPENS + timedelta(hours=1)


def test_time_left_for_calls_ends_with_the_window_the_stopwatch_or_the_age_of_what_was_read() -> None:
    closes = OPENS + timedelta(hours=1)
    action = read_state(posting("0"), now=closes - seconds(50), rules=WINDOWED)
    assert isinstance(action, Submit)
    timing = RULES.timing
    early, late = closes - seconds(50), closes - seconds(40)
    assert action.seconds_left(timing, early, early) == 50
    assert action.seconds_left(timing, late, late) == 40
    assert action.seconds_left(timing, early - seconds(240), late) == 40, "the worker's clock is behind"
    assert replace(action, until=None).seconds_left(timing, late, late) == 50
    assert replace(action, until=None).seconds_left(replace(timing, stopwatch=seconds(7)), late, late) == 7


def test_blackout_defers_and_is_over_at_its_end() -> None:
    first = continued(read_state(new_operation(), None, entries=(), rules=BLACK)).operation
    assert first.deferral is not None
    assert (first.deferral.waits_for, first.deferral.until) == ("Blackout", BLACKOUT.end)
    assert "inventory" in first.deferral.message
    assert isinstance(read_state(first, now=BLACKOUT.end, entries=(), rules=BLACK), TakeLease)


def test_dry_run_waits_for_nothing() -> None:
    dry = new_operation(dry_run=True)
    action = deliver(dry, rules=WINDOWED)
    assert isinstance(action, Read)
    assert action.views
    assert continued(read_state(dry, entries=(), rules=WINDOWED)).operation.status is Status.NOTHING_TO_DO


def test_each_wave_tells_what_it_waits_for_by_an_id_of_its_own() -> None:
    begun = planned(("0",), ("1",), wave=1, started_at=NOW, **TOLD)
    (event,) = owed_events(continued(read_state(begun, None, rules=WINDOWED)).operation)
    assert event.event_id.endswith(":deferred:w1:window")


@settings(derandomize=True, max_examples=60, deadline=None)
@given(
    st.sampled_from(("0 14 * * *", "*/30 * * * *", "15 9-17 * * SAT,SUN", "30 2 * * *")),
    st.sampled_from(("UTC", "Europe/Berlin", "America/New_York")),
    st.integers(1, 45),
    st.integers(0, 2_000),
    st.integers(0, 500),
)
def test_no_post_is_asked_for_outside_a_window_or_in_a_blackout(
    schedule: str, zone: str, minutes: int, offset: int, black: int
) -> None:
    window = Window(schedule, timedelta(minutes=minutes), zone)
    start = NOW + timedelta(minutes=black)
    calendar = Calendar(((window,),), (Blackout(start, start + timedelta(hours=2)),))
    now = NOW + timedelta(minutes=offset)
    record: Operation = posting("0", deadline=NOW + timedelta(days=30))
    action = read_state(record, now=now, rules=replace(RULES, calendar=calendar))
    assert isinstance(action, Submit)
    assert bool(action.groups) is (calendar.closed(now) is None)
    if action.groups:
        assert action.until is not None
        assert calendar.closed(action.until - timedelta(microseconds=1)) is None


def test_pause_that_is_over_by_the_workers_clock_alone_is_not_looked_at_without_end() -> None:
    pause = Pause(run_id=RUN, scope=SCALE_SET.key, enqueued_at=NOW, order=7, until=NOW - seconds(200), number=3)
    told = new_operation(deferred=("w0:Pause",))
    assert continued(read_state(told, entries=[pause])).due == NOW + RULES.timing.min_poll
