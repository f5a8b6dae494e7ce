"""Pauses in force, whatever the order in which their messages and those of resumes are handled."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maintenance.coordination.documents import FURTHEST, read_entry, write_entry
from maintenance.coordination.entries import Entry
from maintenance.coordination.pauses import OPEN_ENDED, Pause, Resume, covers, deferral_of, pause_of
from tests.support.samples import NOW, RUN, SCALE_SET, SUBSCRIPTION

KEY = SCALE_SET.key
WHOLE, GROUP = f"/subscriptions/{SUBSCRIPTION}", f"/subscriptions/{SUBSCRIPTION}/resourcegroups/web-rg"
UNTIL = NOW + timedelta(hours=3)
PAUSE = Pause(run_id=RUN, scope=GROUP, enqueued_at=NOW, order=7, until=UNTIL, reason="why", number=3)
RESUME = Resume(run_id=RUN, scope=GROUP, enqueued_at=NOW, order=8, until=UNTIL, number=4)


@pytest.mark.parametrize("entry", [PAUSE, replace(PAUSE, open_ended=True, reason=None, until=NOW + OPEN_ENDED), RESUME])
def test_entry_is_read_as_it_was_written(entry: Entry) -> None:
    assert read_entry(write_entry(entry), number=entry.number, until=entry.until, now=NOW) == entry


def test_entry_that_is_further_ahead_than_any_pause_is_passed_over() -> None:
    until = NOW + OPEN_ENDED + FURTHEST + timedelta(seconds=1)
    assert read_entry(write_entry(PAUSE), number=3, until=until, now=NOW) is None


@pytest.mark.parametrize(
    ("scope", "covered"),
    [(WHOLE, True), (GROUP, True), (KEY, True), (f"{GROUP}-2", False), (KEY[:-1], False), (f"{KEY}2", False)],
)
def test_scope_covers_itself_and_what_is_in_it(scope: str, covered: bool) -> None:
    assert covers(scope, KEY) is covered
    assert (pause_of([replace(PAUSE, scope=scope)], KEY) is not None) is covered


def test_resume_ends_pauses_of_its_scope_and_of_narrower_ones_only() -> None:
    wide, narrow = replace(PAUSE, scope=WHOLE), replace(PAUSE, scope=KEY)
    assert pause_of([wide, narrow, RESUME], KEY) == wide
    assert pause_of([PAUSE, narrow, replace(RESUME, scope=WHOLE)], KEY) is None


def test_pause_that_came_after_the_resume_is_in_force() -> None:
    later = replace(PAUSE, order=9)
    assert pause_of([RESUME, later, PAUSE], KEY) == later


def test_pause_without_an_end_says_so() -> None:
    assert deferral_of(PAUSE).until == UNTIL
    endless = deferral_of(replace(PAUSE, open_ended=True))
    assert endless.until is None
    assert "until it is resumed (why)" in endless.message


MESSAGES = st.lists(st.tuples(st.booleans(), st.sampled_from((WHOLE, GROUP, KEY, f"{GROUP}-2"))), max_size=6)


@settings(derandomize=True, max_examples=100)
@given(MESSAGES, st.randoms(use_true_random=False))
def test_pause_in_force_follows_from_the_order_of_messages_alone(
    messages: list[tuple[bool, str]], draw: Random
) -> None:
    entries: list[Entry] = []
    paused: set[str] = set()
    for order, (pauses, scope) in enumerate(messages):
        if pauses:
            entries.append(replace(PAUSE, scope=scope, order=order))
            paused.add(scope)
        else:
            entries.append(replace(RESUME, scope=scope, order=order))
            paused = {each for each in paused if not covers(scope, each)}
    draw.shuffle(entries)
    assert (pause_of(entries, KEY) is not None) is any(covers(scope, KEY) for scope in paused)
