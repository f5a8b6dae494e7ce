"""The calculation for very many scale sets: each is posted and ends, and no limit is passed over."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.benchmarks.scale import Bucket, Figures, Load, Simulation

FIGURES = Figures()


def test_one_scale_set_is_posted_at_once_polled_each_minute_and_ends() -> None:
    outcome = Simulation(Load(scale_sets=1, subscriptions=1, processes=1, lasts=600), FIGURES).run()
    assert outcome.posted_all == 0
    assert outcome.ended_all == 600
    # Its listing and its POST; nine polls while it runs; the last, and one more listing.
    assert outcome.calls == 2 + 9 + 2
    assert outcome.most_leases == 1


def test_one_subscription_takes_no_more_posts_than_resource_manager_allows() -> None:
    rate, size = FIGURES.posts
    outcome = Simulation(Load(scale_sets=5_000, subscriptions=1, processes=40), FIGURES).run()
    assert outcome.posted_all == pytest.approx((5_000 - size) / rate, rel=0.05)
    assert outcome.bound_by.most_common(1)[0][0] == "Resource Manager"


def test_namespace_that_takes_few_operations_bounds_all_whatever_processes_there_are() -> None:
    slow = replace(FIGURES, operations=100.0)
    outcomes = [Simulation(Load(scale_sets=500, subscriptions=50, processes=n), slow).run() for n in (1, 16)]
    assert outcomes[0].posted_all == outcomes[1].posted_all
    # The last of a second may take some more than are left.
    assert outcomes[1].messages / outcomes[1].ended_all <= slow.operations + FIGURES.request_messages + 1
    assert outcomes[1].bound_by.most_common(1)[0][0] == "Service Bus"


def test_long_readings_bound_one_process_and_more_processes_help() -> None:
    long = replace(FIGURES, entry=0.01, operations=1e9)
    one, four = (Simulation(Load(scale_sets=2_000, subscriptions=50, processes=n), long).run() for n in (1, 4))
    assert one.bound_by.most_common(1)[0][0] == "readings of the coordination queue"
    assert four.posted_all < one.posted_all


def test_bucket_gives_what_has_flowed_in_and_never_more_than_its_size() -> None:
    bucket = Bucket(2.0, 10, left=10)
    assert [bucket.take(0, 1) for _ in range(11)] == [True] * 10 + [False]
    assert [bucket.take(1, 1) for _ in range(3)] == [True, True, False]
    assert [bucket.take(100, 1) for _ in range(11)] == [True] * 10 + [False]
