"""Whatever ARM does, a batch ends within its messages' locks: each is settled at its first delivery."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from azure.servicebus import ServiceBusReceivedMessage
from azure.servicebus.aio import ServiceBusReceiver
from azure.servicebus.amqp import AmqpMessageBodyType

from maintenance.arm.client import CALL_TIMEOUT
from maintenance.arm.resource_manager import LISTING_TIMEOUT
from maintenance.domain.errors import RefusedError, TransientError
from maintenance.domain.messages import Delivery
from maintenance.domain.observations import ErrorDetail, Reading, Succeeded, Unreadable
from maintenance.domain.operation import Call, Operation, Phase
from maintenance.domain.resources import ScaleSet
from maintenance.lifecycle.actions import Poll, Read, Submit
from maintenance.lifecycle.rules import Timing
from maintenance.operations.instance_views import LISTED_WITHIN
from maintenance.operations.poller import HELD_FOR
from maintenance.operations.units import TAKES
from maintenance.servicebus.operations_queue import OperationsReceiver
from maintenance.servicebus.sender import Sender
from tests.simulation.loop import Loop, result_of
from tests.support.fake_bus import FakeDeliveries
from tests.support.machine import posting, tracking
from tests.support.samples import NOW, SCALE_SET, SUBSCRIPTION
from tests.support.unit_environment import UnitEnvironment
from tests.unit.operations.test_poller import put, run_id

AWAY = ErrorDetail("Timeout", "No response.")
LOCK = 300.0


class VirtualClock:
    """The time of a loop that does not wait."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop

    def __call__(self) -> datetime:
        return NOW + timedelta(seconds=self.seconds())

    def seconds(self) -> float:
        return self._loop.time()


class SlowArm:
    """Each call takes as long as its limit lets it. `lists`: a listing ends, at its limit, with what is there."""

    def __init__(self, environment: UnitEnvironment, *, lists: bool, poll: Reading) -> None:
        self._arm, self._lists, self._poll = environment.arm, lists, poll

    async def read_operation(self, scale_set: ScaleSet, call: Call) -> Reading:
        await asyncio.sleep(CALL_TIMEOUT)
        return self._poll

    async def is_flexible(self, scale_set: ScaleSet) -> bool:
        await asyncio.sleep(CALL_TIMEOUT)
        raise TransientError("mode", AWAY)

    async def list_instances(self, scale_set: ScaleSet, *, flexible: bool = False) -> Any:
        await asyncio.sleep(LISTING_TIMEOUT)
        if self._lists:
            return await self._arm.list_instances(scale_set, flexible=flexible)
        raise RefusedError("list", AWAY, status=400)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._arm, name)


def of_many_runs(operation: Operation, *, of_one_set: bool) -> list[Operation]:
    def own(number: int) -> ScaleSet:
        return SCALE_SET if of_one_set else ScaleSet(SUBSCRIPTION, "web-rg", f"web{number}")

    runs = range(1, 11)
    return [replace(operation, run_id=run_id(n), number=0, scale_set=own(n), owed=()) for n in runs]


def a_tick_of(
    operation: Operation, *, lists: bool, poll: Reading, of_one_set: bool, held: float = 0
) -> tuple[list[str], float]:
    """One batch whose messages were locked `held` seconds ago, with an ARM as slow as can be: what is left of it, and
    how many seconds it took."""
    loop = Loop(random.Random(0), shuffled=False)  # noqa: S311 - no secret
    environment = UnitEnvironment()
    environment.clock = cast(Any, VirtualClock(loop))
    bus = environment.bus
    bus._clock = bus.operations_queue._clock = environment.arm._clock = environment.clock
    environment.coordination._clock = environment.clock
    environment.arm = cast(Any, SlowArm(environment, lists=lists, poll=poll))
    environment.restart()
    receive = FakeDeliveries.receive

    async def receive_once(self: FakeDeliveries, most: int, *, wait: float) -> list[Delivery]:
        if loop.time() > 0:
            return []
        taken = await receive(self, most, wait=wait)
        for each in taken:
            each.handle.locked_until -= timedelta(seconds=held)
        return [replace(each, locked_ago=held) for each in taken]

    async def timed() -> float:
        await environment.tick()
        return loop.time()

    put(environment, *of_many_runs(operation, of_one_set=of_one_set))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FakeDeliveries, "receive", receive_once)
        ended_at = result_of(timed(), loop)
    left = [each.message_id for each in environment.bus.operations_queue.messages if each.message_id.endswith(":s0")]
    return left, ended_at


def waiting() -> Operation:
    return replace(tracking("0"), phase=Phase.PLAN, planned=False, waves=(), batch=(), calls=(), baseline={})


@pytest.mark.parametrize("lists", [True, False], ids=["lists at the limit", "refuses at the limit"])
@pytest.mark.parametrize("poll", [Unreadable(AWAY), Succeeded()], ids=lambda each: type(each).__name__)
@pytest.mark.parametrize(
    ("make", "of_one_set"),
    [
        pytest.param(waiting, True, id="plan, one scale set"),
        pytest.param(waiting, False, id="plan, many"),
        pytest.param(lambda: tracking("0"), True, id="track, one scale set"),
        pytest.param(lambda: tracking("0"), False, id="track, many"),
        pytest.param(lambda: posting("0"), True, id="post, one scale set"),
        pytest.param(lambda: posting("0"), False, id="post, many"),
    ],
)
def test_batch_with_an_arm_as_slow_as_it_can_be_is_settled_within_its_locks(
    make: Callable[[], Operation], poll: Reading, lists: bool, of_one_set: bool
) -> None:
    left, seconds = a_tick_of(make(), lists=lists, poll=poll, of_one_set=of_one_set)
    assert left == []
    assert seconds < LOCK


@pytest.mark.parametrize("held", [100, 200, 260])
def test_messages_that_had_been_locked_for_long_are_put_off_within_their_locks(held: float) -> None:
    left, seconds = a_tick_of(tracking("0"), lists=True, poll=Succeeded(), of_one_set=False, held=held)
    assert left == []
    assert seconds < LOCK - held


def test_what_an_action_may_take_has_room_for_its_calls_and_fits_into_a_lock() -> None:
    assert TAKES[Poll] > CALL_TIMEOUT
    assert TAKES[Read] > LISTED_WITHIN >= LISTING_TIMEOUT
    assert TAKES[Submit] > Timing().state_age.total_seconds() + CALL_TIMEOUT
    # A poll that takes all its time leaves room to read what the views say.
    assert CALL_TIMEOUT + TAKES[Read] < HELD_FOR < LOCK


class Given:
    """In place of the SDK's receiver: gives these messages, and then none."""

    def __init__(self, *batches: list[datetime]) -> None:
        self._batches = list(batches)

    async def receive_messages(self, max_message_count: int, max_wait_time: float) -> list[ServiceBusReceivedMessage]:
        if max_message_count > 1 or not self._batches:
            return []
        names = ("message_id", "subject", "delivery_count", "sequence_number", "enqueued_time_utc", "correlation_id")
        others = ("application_properties", "dead_letter_reason", "dead_letter_error_description")
        nothing = dict.fromkeys((*names, *others))
        message = SimpleNamespace(body_type=AmqpMessageBodyType.DATA, body=[b"{}"])
        return [
            cast(Any, SimpleNamespace(**vars(message), **nothing, locked_until_utc=until))
            for until in self._batches.pop(0)
        ]


async def test_message_that_came_while_another_was_dealt_with_counts_from_its_own_lock() -> None:
    at, times = NOW, [0.0]
    # The machine's clock has no part in it: Service Bus's may be an hour off.
    batches = [[at + timedelta(seconds=300)], [at + timedelta(seconds=310), at + timedelta(seconds=500)]]
    receiver = OperationsReceiver(
        "q", cast(ServiceBusReceiver, Given(*batches)), cast(Sender, None), monotonic=lambda: times[0]
    )
    assert [each.locked_ago for each in await receiver.receive(100, wait=1)] == [0]
    times[0] = 200.0
    assert [each.locked_ago for each in await receiver.receive(100, wait=1)] == [190, 0]
