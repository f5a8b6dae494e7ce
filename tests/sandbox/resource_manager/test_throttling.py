"""Token buckets that drain and refill, by a clock moved by hand."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.resource_manager.errors import ArmError
from sandbox.resource_manager.rest.throttling import Bucket, Limits, Rate, Throttle
from tests.sandbox.resource_manager.samples import START, HandClock


def take(throttle: Throttle, clock: HandClock, **options: Any) -> dict[str, str]:
    call: dict[str, Any] = {"subscription": "s", "write": False, "policy": None, "resource": "r", "now": clock()}
    return throttle.take(**(call | options))


def test_azures_limits_are_the_defaults() -> None:
    limits = Limits()
    assert (limits.reads, limits.writes) == (Rate(250, 25), Rate(200, 10))
    assert limits.maintenance_per_subscription == Rate(1500, 500 / 60)
    assert limits.list_instances_per_scale_set == Rate(36, 12 / 60)
    assert limits.list_instances_per_subscription == Rate(6000, 2000 / 60)
    assert limits.get_operation_per_operation == Rate(45, 15 / 60)
    assert limits.get_operation_per_subscription == Rate(15000, 5000 / 60)


@pytest.mark.parametrize(("write", "size", "per_second"), [(False, 250, 25), (True, 200, 10)])
def test_arms_buckets_drain_and_refill(write: bool, size: int, per_second: int) -> None:
    clock, throttle = HandClock(), Throttle(Limits())
    kind = "writes" if write else "reads"
    left = [take(throttle, clock, write=write)[f"x-ms-ratelimit-remaining-subscription-{kind}"] for _ in range(size)]
    assert left == [str(size - 1 - at) for at in range(size)]
    with pytest.raises(ArmError) as failed:
        take(throttle, clock, write=write)
    assert (failed.value.status, failed.value.headers["Retry-After"]) == (429, "1")
    assert "error" in failed.value.body
    clock.advance(1)
    for _ in range(per_second):
        take(throttle, clock, write=write)
    with pytest.raises(ArmError):
        take(throttle, clock, write=write)


def test_reads_writes_and_subscriptions_have_nothing_to_do_with_each_other() -> None:
    clock, throttle = HandClock(), Throttle(Limits(reads=Rate(1, 0.1), writes=Rate(1, 0.1)))
    take(throttle, clock)
    with pytest.raises(ArmError) as failed:
        take(throttle, clock)
    assert failed.value.headers["Retry-After"] == "10"
    take(throttle, clock, write=True)
    take(throttle, clock, subscription="another")


def test_computes_limit_responds_without_an_envelope() -> None:
    clock, throttle = HandClock(), Throttle(Limits())
    for left in reversed(range(36)):
        headers = take(throttle, clock, policy="list-instances")
        [first, second] = headers["x-ms-ratelimit-remaining-resource"].split(",")
        assert first.endswith(f";{left}")
        assert second.startswith("Microsoft.Compute/")
    with pytest.raises(ArmError) as failed:
        take(throttle, clock, policy="list-instances")
    assert failed.value.status == 429
    assert failed.value.headers["Retry-After"] == "5"
    assert failed.value.headers["x-ms-ratelimit-remaining-resource"].endswith(";0")
    assert failed.value.body["code"] == "OperationNotAllowed"
    assert failed.value.body["details"][0]["code"] == "TooManyRequests"
    take(throttle, clock, policy="list-instances", resource="another scale set")
    clock.advance(5)
    take(throttle, clock, policy="list-instances")


def test_call_throttled_by_compute_counts_with_arm() -> None:
    clock, throttle = HandClock(), Throttle(Limits(list_instances_per_scale_set=Rate(1, 0.01)))
    take(throttle, clock, policy="list-instances")
    with pytest.raises(ArmError) as failed:
        take(throttle, clock, policy="list-instances")
    assert failed.value.headers["x-ms-ratelimit-remaining-subscription-reads"] == "248"


def test_call_throttled_for_its_subscription_leaves_its_resources_bucket_alone() -> None:
    limits = Limits(list_instances_per_scale_set=Rate(2, 0), list_instances_per_subscription=Rate(1, 1))
    clock, throttle = HandClock(), Throttle(limits)
    take(throttle, clock, policy="list-instances")
    with pytest.raises(ArmError):
        take(throttle, clock, policy="list-instances")
    clock.advance(1)
    take(throttle, clock, policy="list-instances")


moves = st.lists(st.tuples(st.floats(0, 30), st.integers(0, 20)), max_size=30)


@given(size=st.integers(1, 50), per_second=st.floats(0.01, 20), moves=moves)
def test_a_bucket_gives_no_more_than_it_has(size: int, per_second: float, moves: list[tuple[float, int]]) -> None:
    bucket, now, given_out = Bucket(Rate(size, per_second), START), START, 0
    for seconds, wanted in moves:
        now += timedelta(seconds=seconds)
        for _ in range(wanted):
            if bucket.level(now) >= 1:
                bucket.take(now)
                given_out += 1
        assert 0 <= bucket.level(now) <= size
        assert given_out <= size + per_second * (now - START).total_seconds() + 1e-6


@given(size=st.integers(1, 50), per_second=st.floats(0.01, 20))
def test_after_the_time_it_names_a_bucket_has_one(size: int, per_second: float) -> None:
    bucket = Bucket(Rate(size, per_second), START)
    while bucket.level(START) >= 1:
        bucket.take(START)
    wait = bucket.seconds_until_one(START)
    assert wait >= 1
    # A hair more, for what floating point loses.
    assert bucket.level(START + timedelta(seconds=wait, microseconds=2)) >= 1 - 1e-9


def test_reading_what_is_left_takes_nothing() -> None:
    clock = HandClock()
    throttle = Throttle(Limits(list_instances_per_scale_set=Rate(2, 0.5)))
    for _ in range(2):
        take(throttle, clock, policy="list-instances")
    for _ in range(3):
        assert [each.left for each in throttle.left(clock()) if each.name == "GetVMScaleSetVMsResource"] == [0]
    clock.advance(3)
    (left,) = [each for each in throttle.left(clock()) if each.name == "GetVMScaleSetVMsResource"]
    assert (left.left, left.bucket, left.owner) == (1, 2, "r")
    take(throttle, clock, policy="list-instances")
