"""A wave with a gate starts only once somebody said so, or as its request says at the time-out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maintenance.coordination.entries import Entry
from maintenance.coordination.pauses import Pause
from maintenance.coordination.proceeds import Proceed
from maintenance.domain.calendars import Gate, Window
from maintenance.domain.operation import Operation, Phase
from maintenance.lifecycle.actions import Action, Read
from maintenance.lifecycle.ending import time_out
from maintenance.lifecycle.events import owed_events
from maintenance.policies.calendar import Calendar
from tests.support.machine import (
    OTHER_RUN,
    RULES,
    WITHOUT_VIEWS,
    deliver,
    due,
    ended,
    following,
    lease,
    marker,
    outcomes,
    planned,
    read_state,
)
from tests.support.samples import NOW, SCALE_SET, completed, eligible, new_operation, seconds

EVERY = Gate("everyWave", timedelta(hours=1))
FIRST = Gate("first", timedelta(hours=1))
MINUTE = timedelta(minutes=1)


def said(wave: int = 1, **changes: Any) -> Proceed:
    """A proceed for a wave of the sample request."""
    put = Proceed(
        run_id=OTHER_RUN,
        request_id="req-1",
        scale_set=SCALE_SET.key,
        wave=wave,
        enqueued_at=NOW + seconds(5),
        until=NOW + timedelta(days=36),
        number=11,
    )
    return replace(put, **changes)


def asked(gate: Gate = EVERY, *waves: tuple[str, ...], **changes: Any) -> Operation:
    """A record that waits at the gate of its first wave since NOW, and has told so."""
    action = read_state(planned(*(waves or (("0",), ("1",))), gate=gate, **changes))
    return replace(following(action), owed=())


def seen(record: Operation, *entries: Entry, after: timedelta = MINUTE, rules: Any = RULES) -> Action:
    """What follows from the coordination queue alone, some time after NOW."""
    own: Sequence[Entry] = (lease(), *entries)
    return read_state(record, None, NOW + after, entries=own, rules=rules)


def test_wave_with_a_gate_is_not_posted_but_told_once_with_its_instances() -> None:
    action = read_state(planned(("0", "2"), ("1",), gate=EVERY))
    record = following(action)
    assert (record.phase, due(action)) == (Phase.PLAN, NOW)
    (event,) = owed_events(record)
    assert (event.type, event.event_id.partition(":")[2]) == ("vmss.maintenance.awaiting.v1", "awaiting:w0")
    told = {name: event.data[name] for name in ("status", "wave", "waves", "instanceIds", "until", "atTimeout")}
    assert told == {
        "status": "Awaiting",
        "wave": 1,
        "waves": 2,
        "instanceIds": ["0", "2"],
        "until": (NOW + timedelta(hours=1)).isoformat(),
        "atTimeout": "stop",
    }
    again = seen(replace(record, owed=()))
    assert owed_events(following(again)) == ()
    assert following(again).deferral == record.deferral


def test_what_waits_at_a_gate_reads_no_views_and_looks_less_often_the_longer_it_waits() -> None:
    record = asked(replace(EVERY, timeout=timedelta(hours=5)))
    assert deliver(record, NOW) == Read(record, views=False, coordination=True)
    closed = replace(RULES, calendar=Calendar(((Window("0 14 * * *", timedelta(hours=1)),),)))
    shut = replace(following(seen(record, rules=closed)), owed=())
    opens = NOW + timedelta(hours=2)
    assert deliver(shut, opens, rules=closed) == Read(shut, views=False, coordination=True)
    waits = {minutes: due(seen(record, after=timedelta(minutes=minutes))) for minutes in (0, 1, 60, 240, 296)}
    looks = {minutes: at - NOW - timedelta(minutes=minutes) for minutes, at in waits.items()}
    assert looks == {0: MINUTE, 1: MINUTE, 60: 6 * MINUTE, 240: 10 * MINUTE, 296: 4 * MINUTE}


def test_proceed_opens_the_gate_and_the_views_are_read_before_the_post() -> None:
    opened = following(seen(asked(), said()))
    assert (opened.gate_open, opened.deferral, opened.transient_error, opened.phase) == (True, None, None, Phase.PLAN)
    action = deliver(opened, NOW + MINUTE)
    assert isinstance(action, Read)
    assert action.views
    posts = following(read_state(opened, now=NOW + MINUTE))
    assert (posts.phase, posts.batch) == (Phase.POST, ("0",))


@pytest.mark.parametrize(
    "other",
    [
        said(wave=2),
        said(request_id="req-2"),
        said(scale_set="/subscriptions/x/resourcegroups/g/other"),
        said(enqueued_at=NOW - seconds(1)),
    ],
    ids=["another wave", "another request", "another scale set", "an earlier request of this id"],
)
def test_proceed_for_something_else_opens_nothing(other: Proceed) -> None:
    record = asked(requested_at=NOW)
    assert not following(seen(record, other)).gate_open
    assert ended(seen(record, other, after=EVERY.timeout)) == ("Failed", "GateTimedOut")


def test_proceed_that_came_before_it_was_asked_for_holds_for_its_wave() -> None:
    early = said(enqueued_at=new_operation().requested_at)
    record = following(read_state(planned(("0",), gate=EVERY), entries=(lease(), early)))
    assert [event.type for event in owed_events(record)] == ["vmss.maintenance.awaiting.v1"]
    assert following(seen(replace(record, owed=()), early)).gate_open


def test_gate_that_nobody_opens_ends_the_run_with_nothing_more_started() -> None:
    action = seen(asked(), after=EVERY.timeout)
    assert ended(action) == ("Failed", "GateTimedOut")
    assert outcomes(action) == {"0": "NotAttempted", "1": "NotAttempted"}


@pytest.mark.parametrize("at_timeout", ["stop", "proceed"])
def test_gate_that_nobody_was_told_of_is_waited_at_whatever_came_and_however_long(at_timeout: Any) -> None:
    """The topic was down (seed 8002654)."""
    untold = following(read_state(planned(("0",), ("1",), gate=replace(EVERY, at_timeout=at_timeout))))
    assert untold.owed
    for entries, after in (((said(),), MINUTE), ((), 2 * EVERY.timeout)):
        waiting = following(seen(untold, *entries, after=after))
        assert (waiting.phase, waiting.gate_open) == (Phase.PLAN, False)
        assert due(seen(untold, *entries, after=after)) > NOW + after


def test_awaiting_event_says_the_same_when_the_run_ended_before_it_was_published() -> None:
    """Seed 8009043: published once, the response lost, and once more with the end."""
    untold = following(read_state(planned(("0", "2"), ("1",), gate=EVERY)))
    (told,) = owed_events(untold)
    over = following(time_out(untold, NOW + EVERY.timeout))
    assert outcomes(time_out(untold, NOW)) == dict.fromkeys("021", "NotAttempted")
    assert owed_events(over)[0].to_json() == told.to_json()


def test_gate_that_nobody_opens_is_passed_where_the_request_says_so() -> None:
    record = asked(replace(EVERY, at_timeout="proceed"))
    assert not following(seen(record, after=EVERY.timeout - seconds(1))).gate_open
    assert following(seen(record, after=EVERY.timeout)).gate_open


def test_gate_is_waited_at_until_the_deadline_at_the_most() -> None:
    deadline = NOW + 20 * MINUTE
    record = asked(replace(EVERY, at_timeout="proceed"), deadline=deadline)
    assert record.deferral is not None
    assert record.deferral.until == deadline
    assert due(seen(record, after=timedelta(minutes=19, seconds=30))) == deadline
    assert ended(seen(record, after=20 * MINUTE)) == ("TimedOut", "DeadlineExceeded")


def test_wait_at_a_gate_meets_a_cancellation_even_with_a_proceed() -> None:
    assert ended(seen(asked(), said(), marker())) == ("Canceled", "Canceled")


def test_gate_that_opens_in_a_pause_or_outside_the_windows_waits_on() -> None:
    pause = Pause(run_id=OTHER_RUN, scope=SCALE_SET.key, enqueued_at=NOW, order=7, until=NOW + timedelta(hours=2))
    record = following(seen(asked(), said(), pause))
    assert record.deferral is not None
    assert (record.gate_open, record.deferral.waits_for, record.waves) == (True, "Pause", (("0",), ("1",)))
    closed = replace(RULES, calendar=Calendar(((Window("0 14 * * *", timedelta(hours=1)),),)))
    record = following(seen(asked(), said(), rules=closed))
    assert record.deferral is not None
    assert (record.gate_open, record.deferral.waits_for) == (True, "Window")
    opens = NOW + timedelta(hours=2)
    assert following(read_state(replace(record, owed=()), now=opens, rules=closed)).phase is Phase.POST


def test_time_out_in_a_pause_still_ends_the_run() -> None:
    pause = Pause(run_id=OTHER_RUN, scope=SCALE_SET.key, enqueued_at=NOW, order=7, until=NOW + timedelta(hours=2))
    waiting = replace(following(seen(asked(), pause)), owed=())
    assert waiting.deferral is not None
    assert waiting.deferral.waits_for == "Pause"
    assert ended(seen(waiting, pause, after=EVERY.timeout)) == ("Failed", "GateTimedOut")


def test_gate_is_asked_for_only_once_the_wave_could_start() -> None:
    closed = replace(RULES, calendar=Calendar(((Window("0 14 * * *", timedelta(hours=1)),),)))
    assert following(read_state(planned(("0",), gate=EVERY), rules=closed)).awaiting_since is None
    behind = (lease(OTHER_RUN, 1, request_id="req-2"), lease(number=2))
    assert following(read_state(planned(("0",), gate=EVERY), entries=behind)).awaiting_since is None


def test_every_wave_has_a_gate_of_its_own() -> None:
    first = asked(EVERY, ("0",), ("1",))
    done = read_state(replace(first, gate_open=True), [completed("0"), eligible("1")])
    onward = following(done)
    assert (onward.wave, onward.gate_open, onward.awaiting_since) == (1, False, None)
    (event,) = owed_events(following(read_state(replace(onward, owed=()), now=NOW + MINUTE)))
    assert (event.event_id.partition(":")[2], event.data["instanceIds"]) == ("awaiting:w1", ["1"])


def test_first_gate_is_that_of_the_first_wave_that_starts_anything() -> None:
    first = planned(("0",), ("1",), gate=FIRST)
    onward = replace(following(read_state(first, [completed("0"), eligible("1")])), owed=())
    assert onward.wave == 1
    assert following(read_state(onward, [completed("0"), eligible("1")])).awaiting_since == NOW
    started = planned(("0",), ("1",), gate=FIRST, wave=1, started_at=NOW)
    assert following(read_state(started)).phase is Phase.POST


def test_rest_of_a_wave_needs_no_second_proceed() -> None:
    record = planned(("0", "1"), gate=EVERY, gate_open=True, awaiting_since=NOW, started_at=NOW)
    assert following(read_state(record)).phase is Phase.POST


def test_wave_that_was_told_is_not_split_anew_while_it_waits() -> None:
    pause = Pause(run_id=OTHER_RUN, scope=SCALE_SET.key, enqueued_at=NOW, order=7, until=NOW + timedelta(hours=2))
    assert following(seen(asked(), pause)).waves == (("0",), ("1",))
    # Nor is what follows a wave in which nothing was left to do: it would be taken for its first one.
    later = planned(("0",), ("1",), wave=1)
    assert following(seen(later, pause)).waves == (("0",), ("1",))


def test_app_that_reads_no_views_asks_all_the_same() -> None:
    whole = new_operation(targets=None, gate=FIRST)
    record = following(read_state(whole, None, rules=WITHOUT_VIEWS))
    (event,) = owed_events(record)
    assert (event.data["status"], event.data["instanceIds"]) == ("Awaiting", [])
    opened = following(seen(replace(record, owed=()), said(), rules=WITHOUT_VIEWS))
    assert opened.phase is Phase.POST


def test_dry_run_asks_nobody() -> None:
    assert ended(read_state(new_operation(dry_run=True, gate=EVERY), entries=()))[0] == "NothingToDo"


@settings(derandomize=True, max_examples=80)
@given(
    gate=st.builds(
        Gate,
        st.sampled_from(("first", "everyWave")),
        st.integers(0, 90).map(lambda minutes: timedelta(minutes=minutes)),
        st.sampled_from(("stop", "proceed")),
    ),
    waves=st.lists(st.integers(1, 3), max_size=3),
    looks=st.lists(st.integers(1, 40), min_size=1, max_size=6),
)
def test_no_wave_is_posted_without_its_proceed_or_time_out(gate: Gate, waves: list[int], looks: list[int]) -> None:
    entries: list[Entry] = [lease(until=NOW + timedelta(days=2)), *(said(wave) for wave in waves)]
    record, now = planned(("0",), ("1",), gate=gate), NOW
    told: datetime | None = None
    for minutes in looks:
        record = following(read_state(record, now=now, entries=entries))
        for event in owed_events(record):
            told = now if event.data["status"] == "Awaiting" else told
        if record.phase is not Phase.PLAN:
            break
        record, now = replace(record, owed=()), now + timedelta(minutes=minutes)
    if record.phase is Phase.POST:
        assert told is not None
        assert 1 in waves or (gate.at_timeout == "proceed" and now >= told + gate.timeout)
    if record.phase is Phase.END:
        assert gate.at_timeout == "stop"
        assert 1 not in waves
