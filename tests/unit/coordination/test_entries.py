"""Entries of the coordination queue: written, read back with suspicion, and what they mean for a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.coordination.documents import FURTHEST, read_entry, write_entry
from maintenance.coordination.entries import (
    MARKER_LASTS,
    EntriesRead,
    Entry,
    Lease,
    StaleViews,
    cancellation,
    leases_of,
    own_leases,
    stale_views,
)
from maintenance.coordination.pauses import Pause, Resume, pause_of
from maintenance.coordination.proceeds import Proceed, proceed_for
from tests.support.machine import OTHER_RUN, lease, marker, others_lease
from tests.support.samples import NOW, RUN, SCALE_SET

PROCEED = Proceed(
    run_id=OTHER_RUN,
    request_id="req-1",
    scale_set=SCALE_SET.key,
    wave=1,
    enqueued_at=NOW,
    until=NOW + timedelta(days=1),
)
PAUSE = Pause(run_id=OTHER_RUN, scope=SCALE_SET.key, enqueued_at=NOW, order=3, until=NOW + timedelta(days=1))
RESUME = Resume(run_id=OTHER_RUN, scope=SCALE_SET.key, enqueued_at=NOW, order=4, until=NOW + timedelta(days=1))
NOTE = StaleViews(
    run_id=OTHER_RUN, request_id="other", scale_set=SCALE_SET.key, until=NOW + timedelta(minutes=3), number=4
)


@pytest.mark.parametrize(
    "entry",
    [
        lease(content="c"),
        lease(limit=3),
        marker(reason="why"),
        marker(),
        NOTE,
        replace(NOTE, instances=("0", "vm_a")),
    ],
)
def test_entry_is_read_as_it_was_written(entry: Entry) -> None:
    assert read_entry(write_entry(entry), number=entry.number, until=entry.until, now=NOW) == entry


def test_number_and_time_are_those_of_service_bus() -> None:
    later = NOW + timedelta(days=1)
    read = read_entry(write_entry(lease(number=5)), number=9, until=later, now=NOW)
    assert read == lease(number=9, until=later)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "other"},
        {"runId": "x"},
        {"runId": 1},
        {"requestId": "with space"},
        {"requestId": None},
        {"scaleSet": ...},
        {"enqueuedAt": "yesterday"},
    ],
)
def test_entry_this_app_cannot_have_written_is_passed_over(change: dict[str, Any]) -> None:
    document = {**json.loads(write_entry(marker())), **change}
    body = json.dumps({name: value for name, value in document.items() if value is not ...}).encode()
    assert read_entry(body, number=1, until=NOW + timedelta(days=1), now=NOW) is None


@pytest.mark.parametrize("instances", [None, "0", 5, {"0": 1}])
def test_note_of_stale_views_that_lists_no_ids_concerns_all_instances(instances: object) -> None:
    body = json.dumps({**json.loads(write_entry(NOTE)), "instances": instances}).encode()
    assert read_entry(body, number=4, until=NOTE.until, now=NOW) == NOTE
    assert stale_views([NOTE], SCALE_SET.key, ("7",)) == NOTE


def test_note_of_stale_views_concerns_what_it_names_on_its_scale_set_and_the_longest_counts() -> None:
    named = replace(NOTE, instances=("0", "vm_A"))
    assert stale_views([named], SCALE_SET.key, ("7",)) is None
    assert stale_views([named], SCALE_SET.key, ("7", "VM_a")) == named
    assert stale_views([named], "/elsewhere", ("0",)) is None
    longer = replace(named, until=NOTE.until + timedelta(minutes=1))
    assert stale_views([longer, named, lease(), marker()], SCALE_SET.key, ("0",)) == longer


@pytest.mark.parametrize(("written", "limit"), [(0, 1), (-5, 1), (True, None), ("2", None), (2.5, None), (7, 7)])
def test_limit_of_a_lease_is_a_number_of_at_least_one_or_none(written: object, limit: int | None) -> None:
    body = json.dumps({**json.loads(write_entry(lease())), "limit": written}).encode()
    assert read_entry(body, number=1, until=lease().until, now=NOW) == lease(limit=limit)


@pytest.mark.parametrize("body", [b"", b"\xff", b"[]", b"1", b"[" * 100_000])
def test_garbage_is_passed_over(body: bytes) -> None:
    assert read_entry(body, number=1, until=NOW + timedelta(days=1), now=NOW) is None


def test_entry_that_is_nested_too_deeply_is_passed_over() -> None:
    document = {**json.loads(write_entry(lease())), "lane": json.loads("[" * 70 + "]" * 70)}
    assert read_entry(json.dumps(document).encode(), number=1, until=NOW + timedelta(days=1), now=NOW) is None


def test_entry_further_ahead_than_any_of_this_app_is_passed_over() -> None:
    body = write_entry(lease())
    assert read_entry(body, number=1, until=NOW + MARKER_LASTS, now=NOW) is not None
    assert read_entry(body, number=1, until=NOW + FURTHEST, now=NOW) is None
    assert read_entry(body, number=1, until=NOW - FURTHEST, now=NOW) is None


def test_lease_holder_is_the_lowest_number_of_its_scale_set() -> None:
    entries: list[Entry] = [others_lease(7), marker(), lease(number=3), lease(number=1, scale_set="/another")]
    assert [each.number for each in leases_of(entries, SCALE_SET.key)] == [3, 7]
    assert [each.number for each in own_leases(leases_of(entries, SCALE_SET.key), RUN)] == [3]


def test_marker_cancels_only_its_request_of_its_scale_set_enqueued_before_it() -> None:
    entries: list[Entry] = [lease(OTHER_RUN, 1), marker()]
    assert cancellation(entries, SCALE_SET.key, "req-1", NOW) == marker()
    assert cancellation(entries, SCALE_SET.key, "req-1", NOW + timedelta(minutes=2)) == marker()
    assert cancellation(entries, SCALE_SET.key, "req-1", NOW + timedelta(minutes=2, seconds=1)) is None
    assert cancellation(entries, SCALE_SET.key, "req-2", NOW) is None
    assert cancellation(entries, "/another", "req-1", NOW) is None


def test_ids_are_made_of_the_run_alone() -> None:
    assert lease().message_id == f"lease:{RUN}"
    assert replace(marker(), request_id="other").message_id == marker().message_id == f"cancel:{OTHER_RUN}"


ENTRIES = st.lists(
    st.builds(
        lambda entry, scale_set, number: (
            replace(entry, scope=scale_set.rpartition("/")[0], number=number)
            if isinstance(entry, Pause | Resume)
            else replace(entry, scale_set=scale_set, number=number)
        ),
        st.sampled_from([lease(), others_lease(), marker(), NOTE, PROCEED, PAUSE, RESUME]),
        st.sampled_from([SCALE_SET.key, f"{SCALE_SET.key}-2", "another/scale/set"]),
        st.integers(1, 50),
    ),
    max_size=12,
)


@given(ENTRIES)
def test_what_concerns_a_scale_set_says_of_it_what_all_entries_say(entries: list[Entry]) -> None:
    read, key = EntriesRead(entries), SCALE_SET.key

    def said(those: Sequence[Entry]) -> list[object]:
        return [
            leases_of(those, key),
            own_leases(leases_of(those, key), RUN),
            stale_views(those, key, ["0"]),
            cancellation(those, key, "req-1", NOW),
            pause_of(those, key),
            proceed_for(those, key, PROCEED.request_id, 1, NOW),
        ]

    assert said(read.about(key)) == said(entries) == said(read.about(key, leases=True))
    assert [each for each in read.about(key, leases=True) if isinstance(each, Lease)] == [
        each for each in entries if isinstance(each, Lease)
    ]
