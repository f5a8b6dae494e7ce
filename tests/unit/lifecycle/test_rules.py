"""Pauses between looks at Azure."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maintenance.domain.formats import parse_duration
from maintenance.lifecycle.rules import Timing
from tests.support.samples import NOW, seconds

TIMING = Timing()


@pytest.mark.parametrize(
    ("retry_after", "pause"),
    [(None, 60), (0, 10), (3, 10), (10, 10), (17, 17), (600, 600), (1200, 600), (86_400, 600)],
)
def test_a_poll_follows_at_retry_after_within_the_contracts_bounds(retry_after: int | None, pause: int) -> None:
    asked = None if retry_after is None else seconds(retry_after)
    assert TIMING.next_poll(NOW, asked) == NOW + seconds(pause)


def test_views_are_read_again_soon_but_no_sooner_than_polls_may_follow() -> None:
    assert TIMING.next_read(NOW) == NOW + seconds(15)
    slow = Timing(min_poll=seconds(40))
    assert slow.next_read(NOW) == NOW + seconds(40)
    quick = Timing(min_poll=seconds(0), default_poll=seconds(1))
    assert quick.next_read(NOW) == NOW + seconds(1)


def test_failures_in_a_row_lead_to_longer_and_longer_pauses_with_jitter() -> None:
    pauses = [TIMING.back_off(NOW, n, "seed", None) - NOW for n in range(1, 9)]
    for pause, base in zip(pauses, [10, 20, 40, 80, 160, 320, 600, 600], strict=True):
        assert seconds(base) <= pause <= seconds(base * 1.25)
    assert len(set(pauses)) == len(pauses)


def test_two_operations_come_back_at_different_times_and_each_at_the_same_one_when_redelivered() -> None:
    one, other = (TIMING.back_off(NOW, 3, seed, None) for seed in ("a:w0:p1", "b:w0:p1"))
    assert one != other
    assert one == TIMING.back_off(NOW, 3, "a:w0:p1", None)


@settings(derandomize=True, max_examples=200)
@given(st.integers(-1, 10_000), st.text(max_size=10), st.one_of(st.none(), st.timedeltas(timedelta(0), timedelta(1))))
def test_nothing_is_tried_again_before_its_retry_after(failures: int, seed: str, retry_after: timedelta | None) -> None:
    due = TIMING.back_off(NOW, failures, seed, retry_after)
    assert due >= NOW + TIMING.min_poll
    assert due >= NOW + (retry_after or timedelta(0))
    assert due <= NOW + max(retry_after or timedelta(0), TIMING.max_poll) + TIMING.max_poll * 0.25


@pytest.mark.parametrize(
    ("text", "duration"),
    [("PT0S", 0), ("PT30S", 30), ("PT0.5S", 0.5), ("PT5M", 300), ("P1DT12H", 129_600), ("P1W", 604_800)],
)
def test_durations_are_read(text: str, duration: float) -> None:
    assert parse_duration(text) == seconds(duration)


@pytest.mark.parametrize("text", ["", "30", "30s", "00:00:30", "PT", "P", "-PT5M", "PT-5M", "1h", "P99999999999D"])
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"must"):
        parse_duration(text)


@pytest.mark.parametrize("remaining", [None, 20, 249])
def test_with_calls_left_a_poll_stays_where_it_is(remaining: int | None) -> None:
    assert TIMING.spread_out(NOW + seconds(60), NOW, remaining, "seed") == NOW + seconds(60)


def test_the_fewer_calls_are_left_the_later_a_poll_is_and_never_sooner_than_it_was_due() -> None:
    due = NOW + seconds(60)
    pauses = [TIMING.spread_out(due, NOW, remaining, "seed") - NOW for remaining in (19, 15, 10, 5, 0)]
    assert pauses == sorted(pauses)
    assert pauses[0] == seconds(60)
    assert seconds(330) <= pauses[-1] <= TIMING.max_poll


def test_operations_whose_polls_would_meet_are_spread_apart_each_always_to_the_same_time() -> None:
    due = NOW + seconds(60)
    dues = [TIMING.spread_out(due, NOW, 3, f"req-{number}:w0:p1") for number in range(20)]
    assert len(set(dues)) == 20
    assert max(dues) - min(dues) > seconds(90)
    assert dues[0] == TIMING.spread_out(due, NOW, 3, "req-0:w0:p1")


def test_a_pause_that_is_longer_than_the_longest_is_kept() -> None:
    due = NOW + TIMING.max_poll * 2
    assert TIMING.spread_out(due, NOW, 0, "seed") == due
