"""A tick ends in time, whatever does not respond, and what is stuck holds up no other."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from maintenance.domain.errors import BusUnavailable, MessageTooLarge
from maintenance.domain.messages import Delivery, MaintenanceEvent
from maintenance.domain.observations import Reading, Running
from maintenance.domain.operation import Call, Owed
from maintenance.domain.resources import ScaleSet, Scope
from maintenance.operations.poller import HELD_FOR, Poller
from tests.simulation.loop import result_of
from tests.support.fake_bus import FakeDeliveries
from tests.support.limit import LIMIT
from tests.support.samples import NOW, OTHER_SUBSCRIPTION, SUBSCRIPTION
from tests.support.unit_environment import UnitEnvironment
from tests.unit.operations.test_poller import ended, put, queued, run_id, running

BOTH = (Scope(SUBSCRIPTION), Scope(OTHER_SUBSCRIPTION))


def poller(environment: UnitEnvironment, bus: Any = None, **options: Any) -> Poller:
    """The environment's, with other limits."""
    return Poller(
        environment.runner,
        bus or environment.bus,
        environment.settings,
        intake={},
        now=environment.clock,
        monotonic=environment.clock.seconds,
        **options,
    )


class HangingArm:
    """Does not respond for a subscription until `released`. `waiting`: a poll of it waits."""

    def __init__(self, environment: UnitEnvironment, subscription: str) -> None:
        self._subscription = subscription
        self._arm = environment.runner._arm
        self.released = asyncio.Event()
        self.waiting = asyncio.Event()
        environment.runner._arm = self

    async def read_operation(self, scale_set: ScaleSet, call: Call) -> Reading:
        if scale_set.subscription_id == self._subscription:
            self.waiting.set()
            await self.released.wait()
        return Running("inprogress")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._arm, name)


def test_batch_is_cut_off_before_its_lock_and_function_timeout() -> None:
    environment = UnitEnvironment()
    assert HELD_FOR < 300
    assert environment.settings.tick_budget.total_seconds() + HELD_FOR < 600 - 60


def test_tick_whose_subscription_never_responds_ends_and_leaves_the_message_to_its_lock(
    caplog: pytest.LogCaptureFixture,
) -> None:
    environment = UnitEnvironment(allowed_scopes=BOTH)
    HangingArm(environment, SUBSCRIPTION)
    put(environment, running(1), running(2, OTHER_SUBSCRIPTION))
    tick = result_of(poller(environment).tick())
    assert (tick.taken, tick.persisted, tick.failed) == (2, 1, 1)
    assert set(queued(environment)) == {f"{run_id(1)}:s0", f"{run_id(2)}:s1"}
    assert f"Messages cut off after 270 s, before their lock is lost: {run_id(1)}:s0" in caplog.text


def test_message_whose_completion_never_ends_is_named_and_counts_as_left_to_its_lock(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = UnitEnvironment()

    async def never(deliveries: FakeDeliveries, those: Sequence[Delivery]) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(FakeDeliveries, "complete_all", never)
    put(environment, running(1))
    tick = result_of(poller(environment).tick())
    assert (tick.taken, tick.persisted, tick.failed) == (1, 1, 1)
    assert f"Messages cut off after 270 s, before their lock is lost: {run_id(1)}:s0" in caplog.text


async def test_subscription_that_does_not_respond_holds_up_no_other() -> None:
    environment = UnitEnvironment(allowed_scopes=BOTH)
    arm = HangingArm(environment, SUBSCRIPTION)
    put(environment, running(1))
    tick = asyncio.create_task(poller(environment, slow=0.0).tick())
    await arm.waiting.wait()
    # Falls due while the batch of the first is still held.
    put(environment, running(2, OTHER_SUBSCRIPTION))
    async with asyncio.timeout(LIMIT):
        while f"{run_id(2)}:s1" not in queued(environment):  # noqa: ASYNC110 - nobody tells when a message is sent
            await asyncio.sleep(0)
    assert f"{run_id(1)}:s0" in queued(environment)
    arm.released.set()
    assert (await tick).persisted == 2


class HangingTopic:
    """A bus whose topic does not respond until `released`."""

    def __init__(self, environment: UnitEnvironment) -> None:
        self._bus = environment.bus
        self.released = asyncio.Event()

    async def publish(self, events: Sequence[MaintenanceEvent]) -> None:
        await self.released.wait()
        raise BusUnavailable("the topic does not respond")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bus, name)


async def test_topic_that_does_not_respond_holds_up_no_run_that_owes_nothing() -> None:
    environment = UnitEnvironment()
    bus = HangingTopic(environment)
    put(environment, running(1, owed=(Owed("accepted", NOW),)), running(2))
    tick = asyncio.create_task(poller(environment, bus).tick())
    async with asyncio.timeout(LIMIT):
        while f"{run_id(2)}:s1" not in queued(environment):  # noqa: ASYNC110 - as above
            await asyncio.sleep(0)
    assert f"{run_id(1)}:s0" in queued(environment)
    bus.released.set()
    await tick
    assert set(queued(environment)) == {f"{run_id(1)}:s1", f"{run_id(2)}:s1"}


class NarrowTopic(HangingTopic):
    """Takes no event of the first run: it is too large."""

    async def publish(self, events: Sequence[MaintenanceEvent]) -> None:
        if any(event.event_id.startswith(run_id(1)) for event in events):
            raise MessageTooLarge("too large")
        await self._bus.publish(events)


async def test_event_that_is_too_large_holds_up_no_others_event() -> None:
    environment = UnitEnvironment()
    put(environment, ended(1), ended(2))
    tick = await poller(environment, NarrowTopic(environment)).tick()
    assert tick.ended == 1
    assert [event.event_id for event in environment.bus.ends] == [f"{run_id(2)}:ended"]
    assert f"{run_id(1)}:s1" in queued(environment)


class BrokenReceiver:
    """A bus whose receiver fails in a way that nobody foresaw."""

    def __init__(self, environment: UnitEnvironment) -> None:
        self._bus = environment.bus

    @asynccontextmanager
    async def operations(self) -> AsyncIterator[FakeDeliveries]:
        raise KeyError("a secret")
        yield

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bus, name)


async def test_unexpected_error_of_a_tick_is_named_by_type_and_place(caplog: pytest.LogCaptureFixture) -> None:
    environment = UnitEnvironment()
    with pytest.raises(RuntimeError, match=r"the tick failed unexpectedly: KeyError .*test_tick_ends.py") as raised:
        await poller(environment, BrokenReceiver(environment)).tick()
    assert "KeyError" in caplog.text
    assert "ExceptionGroup" not in caplog.text
    assert "a secret" not in caplog.text + str(raised.value)


async def test_message_whose_event_cannot_be_published_fails_alone(caplog: pytest.LogCaptureFixture) -> None:
    environment = UnitEnvironment()
    # No version of this app wrote it: an end without a status.
    put(environment, ended(1, status=None), running(2))
    caplog.set_level(logging.ERROR)
    tick = await environment.tick()
    assert (tick.taken, tick.persisted, tick.failed) == (2, 1, 1)
    assert f"Message {run_id(1)}:s0 failed unexpectedly" in caplog.text


class SilentReceiver(BrokenReceiver):
    """A bus whose receiver never opens."""

    @asynccontextmanager
    async def operations(self) -> AsyncIterator[FakeDeliveries]:
        await asyncio.get_running_loop().create_future()
        yield FakeDeliveries(self._bus, self._bus.operations_queue, self._bus._crash_point)


async def test_handler_waits_for_no_tick_without_end() -> None:
    environment = UnitEnvironment()
    async with asyncio.timeout(LIMIT):
        await poller(environment, SilentReceiver(environment), held_for=0.0).work_off()


async def test_handler_raises_what_failed_unexpectedly() -> None:
    environment = UnitEnvironment()
    with pytest.raises(RuntimeError, match="KeyError"):
        await poller(environment, BrokenReceiver(environment)).work_off()
