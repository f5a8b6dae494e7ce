"""Pauses of the throttling decorator: which calls they stop, how long, and what starts them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

import pytest

from maintenance.arm.throttling import PAUSED, ThrottlingGateway
from maintenance.domain.errors import RefusedError, ThrottledError, TransientError
from maintenance.domain.instances import NO_TAGS, Instance, ScaleSetSummary, Tags
from maintenance.domain.observations import (
    Accepted,
    Ambiguous,
    ErrorDetail,
    Reading,
    Running,
    Submission,
    Throttled,
    Unreadable,
)
from maintenance.domain.operation import Call
from maintenance.domain.resources import ScaleSet
from tests.support.crash_point import HandClock
from tests.support.samples import OPERATION_URL, OTHER_SUBSCRIPTION, SCALE_SET, SUBSCRIPTION, eligible, seconds

BUSY = ErrorDetail("TooManyRequests", "Too many requests.")
DEFAULT_PAUSE = timedelta(seconds=30)
NEIGHBOUR = ScaleSet(SUBSCRIPTION.upper(), "other-rg", "api")
ELSEWHERE = ScaleSet(OTHER_SUBSCRIPTION, "web-rg", "web")
CALL = Call(("0",), OPERATION_URL)

Perform = Callable[[ThrottlingGateway, ScaleSet], Awaitable[object]]
# Every method of the gateway, by the name that the fake records.
METHODS: dict[str, Perform] = {
    "post": lambda gateway, scale_set: gateway.perform_maintenance(scale_set, ("0",)),
    "post vm": lambda gateway, scale_set: gateway.perform_vm_maintenance(scale_set, "vm_0"),
    "poll": lambda gateway, scale_set: gateway.read_operation(scale_set, CALL),
    "read tags": lambda gateway, scale_set: gateway.read_tags(scale_set),
    "is flexible": lambda gateway, scale_set: gateway.is_flexible(scale_set),
    "list instances": lambda gateway, scale_set: gateway.list_instances(scale_set),
    "list scale sets": lambda gateway, scale_set: gateway.list_scale_sets(scale_set.subscription_id),
}
SUBMITTING = ("post", "post vm", "poll")


class FakeGateway:
    """ARM that throttles the next call with `throttled` or raises `failure`, and records the calls it receives."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.throttled: Throttled | None = None
        self.failure: Exception | None = None

    def _receive(self, name: str) -> Throttled | None:
        self.calls.append(name)
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        throttled, self.throttled = self.throttled, None
        if throttled is not None and name not in SUBMITTING:
            raise ThrottledError(name, throttled.error, status=429, retry_after=throttled.retry_after)
        return throttled

    async def perform_maintenance(self, scale_set: ScaleSet, instance_ids: Sequence[str] | None) -> Submission:
        return self._receive("post") or Accepted(OPERATION_URL)

    async def perform_vm_maintenance(self, scale_set: ScaleSet, vm_name: str) -> Submission:
        return self._receive("post vm") or Accepted(OPERATION_URL)

    async def read_operation(self, scale_set: ScaleSet, call: Call) -> Reading:
        return self._receive("poll") or Running("inprogress")

    async def is_flexible(self, scale_set: ScaleSet) -> bool:
        return self._receive("is flexible") is not None

    async def read_tags(self, scale_set: ScaleSet) -> Tags:
        self._receive("read tags")
        return NO_TAGS

    async def list_instances(self, scale_set: ScaleSet, *, flexible: bool = False) -> list[Instance]:
        self._receive("list instances")
        return [eligible("0")]

    async def list_scale_sets(self, subscription_id: str) -> list[ScaleSetSummary]:
        self._receive("list scale sets")
        return []


class Arm:
    """The decorator on a fake gateway, with a clock moved by hand."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.gateway = FakeGateway()
        self.throttling = ThrottlingGateway(self.gateway, default_pause=DEFAULT_PAUSE, monotonic=self.clock.seconds)

    async def throttle(self, name: str, retry_after: timedelta | None = None, *, whole: bool = True) -> None:
        """Have ARM throttle one call."""
        self.gateway.throttled = Throttled(BUSY, retry_after, whole_subscription=whole)
        assert await self.pause(name, SCALE_SET) == retry_after
        self.gateway.calls.clear()

    async def pause(self, name: str, scale_set: ScaleSet) -> timedelta | None:
        """Make a call; return the Retry-After that it is throttled with, None if it is not throttled."""
        try:
            result = await METHODS[name](self.throttling, scale_set)
        except ThrottledError as error:
            return error.retry_after
        return result.retry_after if isinstance(result, Throttled) else None

    async def passing(self, scale_set: ScaleSet = SCALE_SET) -> list[str]:
        """Make every call; return the names of those that ARM received."""
        self.gateway.calls.clear()
        for name in METHODS:
            await self.pause(name, scale_set)
        return self.gateway.calls


@pytest.fixture
def arm() -> Arm:
    return Arm()


@pytest.mark.parametrize("throttled", METHODS)
async def test_429_pauses_every_call_to_its_subscription_and_none_to_another(arm: Arm, throttled: str) -> None:
    await arm.throttle(throttled, seconds(60))
    assert await arm.passing() == []
    assert await arm.passing(NEIGHBOUR) == []
    assert await arm.passing(ELSEWHERE) == list(METHODS)


@pytest.mark.parametrize("name", METHODS)
async def test_paused_call_reports_the_time_left(arm: Arm, name: str) -> None:
    await arm.throttle("poll", seconds(60))
    arm.clock.time += seconds(45)
    assert await arm.pause(name, SCALE_SET) == seconds(15)


async def test_paused_call_reports_a_throttled_error(arm: Arm) -> None:
    await arm.throttle("poll", seconds(60))
    assert await arm.throttling.perform_maintenance(SCALE_SET, ("0",)) == Throttled(PAUSED, seconds(60))
    with pytest.raises(ThrottledError) as raised:
        await arm.throttling.list_instances(SCALE_SET)
    assert raised.value.error == PAUSED


async def test_pause_ends_after_retry_after(arm: Arm) -> None:
    await arm.throttle("list instances", seconds(60))
    arm.clock.time += seconds(59.999)
    assert await arm.passing() == []
    arm.clock.time += seconds(0.001)
    assert await arm.passing() == list(METHODS)


@pytest.mark.parametrize("name", ["post", "poll", "list scale sets"])
async def test_429_without_retry_after_pauses_for_the_default(arm: Arm, name: str) -> None:
    await arm.throttle(name)
    assert await arm.pause("poll", SCALE_SET) == DEFAULT_PAUSE
    arm.clock.time += DEFAULT_PAUSE
    assert await arm.passing() == list(METHODS)


@pytest.mark.parametrize("name", ["post", "post vm"])
async def test_throttling_409_pauses_nothing(arm: Arm, name: str) -> None:
    await arm.throttle(name, seconds(60), whole=False)
    assert await arm.passing() == list(METHODS)


@pytest.mark.parametrize(
    "failure",
    [TransientError("list", BUSY, status=503, retry_after=seconds(60)), RefusedError("list", BUSY, status=403)],
)
async def test_other_error_is_raised_and_pauses_nothing(arm: Arm, failure: Exception) -> None:
    arm.gateway.failure = failure
    with pytest.raises(type(failure)) as raised:
        await arm.throttling.list_instances(SCALE_SET)
    assert raised.value is failure
    assert await arm.passing() == list(METHODS)


async def test_result_with_retry_after_that_is_not_throttled_pauses_nothing(arm: Arm) -> None:
    for response in (Ambiguous(BUSY, seconds(60)), Unreadable(BUSY, seconds(60))):
        arm.throttling._note(SCALE_SET, response)
    assert await arm.passing() == list(METHODS)


async def test_pause_is_found_in_any_letter_case_of_subscription_id(arm: Arm) -> None:
    lower, upper = ("ABCDEF01-2222-3333-4444-555555555555".lower(), "ABCDEF01-2222-3333-4444-555555555555")
    arm.gateway.throttled = Throttled(BUSY, seconds(60))
    await arm.pause("list scale sets", ScaleSet(upper, "web-rg", "web"))
    assert await arm.passing(ScaleSet(lower, "web-rg", "web")) == []
    arm.clock.time += seconds(60)
    assert await arm.passing(ScaleSet(lower, "web-rg", "web")) == list(METHODS)


async def test_shorter_429_does_not_shorten_a_pause(arm: Arm) -> None:
    first, second = Throttled(BUSY, seconds(60)), Throttled(BUSY, seconds(10))
    # Two concurrent calls: both were sent before the first response arrived.
    arm.throttling._note(SCALE_SET, first)
    arm.throttling._note(NEIGHBOUR, second)
    assert await arm.pause("poll", SCALE_SET) == seconds(60)


async def test_call_without_pause_passes_arguments_and_result_on(arm: Arm) -> None:
    assert await arm.throttling.perform_maintenance(SCALE_SET, ("0",)) == Accepted(OPERATION_URL)
    assert await arm.throttling.read_operation(SCALE_SET, CALL) == Running("inprogress")
    assert await arm.throttling.list_instances(SCALE_SET, flexible=True) == [eligible("0")]
    assert await arm.throttling.list_scale_sets(SUBSCRIPTION) == []
    assert await arm.throttling.is_flexible(SCALE_SET) is False
