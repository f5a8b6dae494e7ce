"""Limits over several scale sets, counted by their leases, and in each."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maintenance.coordination.entries import LEASE_OUTLASTS_DEADLINE, Lease
from maintenance.policies.limits import Limits, least, turn
from tests.support.samples import NOW

DEADLINE = NOW + timedelta(hours=6)
TWO = Limits(scale_sets=2)


def lease(number: int, name: str | None = None, subscription: str = "a", **changes: object) -> Lease:
    held = Lease(
        run_id=f"{number:032x}",
        request_id=f"r{number}",
        scale_set=f"/subscriptions/{subscription}/resourcegroups/g/{name or number}",
        until=DEADLINE + LEASE_OUTLASTS_DEADLINE,
        instances=1,
        number=number,
    )
    return replace(held, **changes)  # type: ignore[arg-type]


def may(limits: Limits, leases: list[Lease], own: int) -> bool:
    return turn(limits, leases, next(each for each in leases if each.number == own), NOW) is None


def test_first_sets_that_took_their_leases_come_first() -> None:
    leases = [lease(1), lease(2), lease(3)]
    assert [may(TWO, leases, each) for each in (1, 2, 3)] == [True, True, False]
    why = turn(TWO, leases, leases[2], NOW)
    assert why is not None
    assert (why.waits_for, why.until) == ("Limit", None)
    assert "2 scale sets of this app came first; 2 at a time" in why.message


def test_set_counts_once_however_many_runs_wait_for_it() -> None:
    leases = [lease(1, "web"), lease(2, "web"), lease(3)]
    assert may(TWO, leases, 3)


def test_lease_counts_until_the_deadline_of_its_request() -> None:
    leases = [lease(1, until=NOW + LEASE_OUTLASTS_DEADLINE), lease(2), lease(3)]
    assert may(TWO, leases, 3)
    leases[0] = replace(leases[0], until=leases[0].until + timedelta(seconds=1))
    assert not may(TWO, leases, 3)


def test_instances_of_sets_that_came_first_leave_the_rest() -> None:
    limits = Limits(instances=10)
    leases = [lease(1, instances=4), lease(2, instances=6), lease(3, instances=1)]
    assert [may(limits, leases, each) for each in (1, 2, 3)] == [True, True, False]
    # One that is larger than the limit is first some time, and then has all of it.
    assert may(limits, [lease(1, instances=40)], 1)
    assert not may(limits, [lease(1, instances=None), lease(2)], 2)


def test_limit_counts_in_each_subscription_or_region() -> None:
    one = Limits(scale_sets=1, per="subscription")
    assert may(one, [lease(1), lease(2, subscription="b")], 2)
    assert not may(one, [lease(1), lease(2)], 2)
    region = Limits(scale_sets=1, per="region")
    assert may(region, [lease(1, region="westeurope"), lease(2, region="eastus2")], 2)
    assert not may(region, [lease(1, region="westeurope"), lease(2, region="westeurope")], 2)
    assert not may(region, [lease(1, region=None), lease(2, region="westeurope")], 2)


@settings(derandomize=True, max_examples=100)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(1, 9)), min_size=1, max_size=9),
    st.integers(1, 3),
    st.integers(1, 20),
)
def test_those_whose_turn_it_is_are_never_more_than_the_limits(
    held: list[tuple[int, int]], sets: int, instances: int
) -> None:
    leases = [lease(number + 1, str(name), instances=size) for number, (name, size) in enumerate(held)]
    limits = Limits(scale_sets=sets, instances=instances)
    first = {each.scale_set: each for each in reversed(leases)}.values()
    started = [each for each in first if turn(limits, leases, each, NOW) is None]
    assert 1 <= len(started) <= sets
    assert sum(min(each.instances or 0, instances) for each in started) <= instances


@pytest.mark.parametrize(("share", "total", "most"), [("20%", 10, 2), ("20%", 4, 1), (3, 10, 3), (None, 10, None)])
def test_share_of_a_set_is_rounded_down_to_one_at_the_least(share: int | str | None, total: int, most: int) -> None:
    assert Limits(instances_per_scale_set=share).of_set(total) == most


def test_wave_holds_no_more_than_the_strictest_limit() -> None:
    assert Limits(instances=3, instances_per_scale_set="50%").of_wave(10) == 3
    assert Limits().of_wave(10) is None
    assert least() is None
