"""A wave starts only where nothing keeps it: windows, blackouts; what waits says so once, and looks again."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maintenance.coordination.pauses import Pause
from maintenance.domain.calendars import Blackout, Deferral, Window
from maintenance.domain.operation import Operation, Phase, Status
from maintenance.lifecycle.actions import Action, Continue, Read, Submit, TakeLease
from maintenance.lifecycle.events import owed_events
from maintenance.policies.calendar import Calendar
from maintenance.policies.limits import Limits
from tests.support.machine import ALL, OTHER_RUN, RULES, deliver, lease, marker, planned, posting, read_state
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


@settings(derandomize=True, max_examples=60)
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


# ------------------------------------------------------------------ limits

LIMITED = replace(RULES, limits=Limits(scale_sets=1))
ELSEWHERE = lease(OTHER_RUN, 1, scale_set="/subscriptions/x/resourcegroups/g/other", until=NOW + timedelta(hours=12))


def test_lease_says_how_much_its_run_takes_down_and_where() -> None:
    record, rules = new_operation(), replace(RULES, limits=Limits(instances=2))
    there = [replace(each, location="westeurope") for each in ALL]
    action = read_state(record, there, entries=(), rules=rules)
    assert isinstance(action, TakeLease)
    assert (action.instances, action.region) == (2, "westeurope")
    assert [len(wave) for wave in action.operation.waves] == [2, 1]
    plain = read_state(record, there, entries=())
    assert isinstance(plain, TakeLease)
    assert (plain.instances, plain.region) == (None, None)


def test_run_under_limits_waits_until_leases_that_came_before_it_show() -> None:
    waiting = continued(read_state(new_operation(), rules=LIMITED))
    assert waiting.due == NOW + RULES.timing.release_read
    assert (waiting.operation.phase, waiting.operation.leased_at) == (Phase.PLAN, NOW)
    posts = continued(read_state(waiting.operation, now=waiting.due, rules=LIMITED))
    assert posts.operation.phase is Phase.POST


def test_run_whose_turn_has_not_come_waits_and_reads_no_views() -> None:
    own = lease(number=2)
    first = continued(read_state(new_operation(leased_at=NOW), entries=(ELSEWHERE, own), rules=LIMITED))
    assert first.operation.deferral is not None
    assert first.operation.deferral.waits_for == "Limit"
    waiting = replace(first.operation, owed=())
    read = deliver(waiting, rules=LIMITED)
    assert isinstance(read, Read)
    assert (read.views, read.coordination) == (False, True)
    again = continued(read_state(waiting, None, entries=(ELSEWHERE, own), rules=LIMITED))
    assert again.due == NOW + RULES.timing.default_poll
    later = NOW + timedelta(minutes=10)
    freed = continued(read_state(waiting, None, later, entries=(own,), rules=LIMITED)).operation
    assert freed.deferral is None
    assert continued(read_state(freed, now=later, entries=(own,), rules=LIMITED)).operation.phase is Phase.POST


@pytest.mark.parametrize(("hours", "minutes"), [(0, 1), (1, 6), (2, 10), (20, 10)])
def test_run_looks_less_often_whether_its_turn_has_come_the_longer_it_waits(hours: int, minutes: int) -> None:
    entries = (ELSEWHERE, own := lease(number=2))
    record = new_operation(leased_at=NOW, deadline=NOW + timedelta(days=2))
    waiting = replace(continued(read_state(record, entries=entries, rules=LIMITED)).operation, owed=())
    later = NOW + timedelta(hours=hours)
    still = replace(ELSEWHERE, until=later + timedelta(hours=12))
    again = continued(read_state(waiting, None, later, entries=(still, replace(own, until=still.until)), rules=LIMITED))
    assert again.due == later + timedelta(minutes=minutes)


def test_wave_is_not_posted_once_a_set_that_came_before_shows() -> None:
    action = read_state(posting("0"), entries=(ELSEWHERE, lease(number=2)), rules=LIMITED)
    assert isinstance(action, Submit)
    assert action.groups == ()


def test_no_more_instances_of_a_set_go_down_than_the_app_allows_whatever_is_asked() -> None:
    rules = replace(RULES, limits=Limits(instances_per_scale_set=2))
    assert continued(read_state(planned(("0", "1", "2")), rules=rules)).operation.batch == ("0", "1")
    down = [replace(ALL[0], power="stopped"), *ALL[1:]]
    assert continued(read_state(planned(("1", "2")), down, rules=rules)).operation.batch == ("1",)
    assert [len(wave) for wave in continued(read_state(new_operation(), rules=rules)).operation.waves] == [2, 1]
