"""The calls on one link: an idle one is not trusted, and what goes wrong names the entity."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from azure.servicebus.exceptions import (
    MessageSizeExceededError,
    MessagingEntityNotFoundError,
    ServiceBusConnectionError,
)

from maintenance.domain.errors import BusUnavailable, EntityMissing, MessageTooLarge
from maintenance.servicebus.link import IDLE_AFTER, Link
from maintenance.servicebus.sender import patiently


class Entity:
    """A link that is opened anew after each drop. `dead`: calls on the link that is open now have no response."""

    def __init__(self) -> None:
        self.time = 0.0
        self.opened = 1
        self.dead = False
        self.calls = 0
        self.called = asyncio.Event()
        self.link = Link(
            "orders",
            self._drop,
            call_timeout=60.0,
            idle_call_timeout=0.0,
            calls_of_a_link=2,
            monotonic=lambda: self.time,
        )

    async def _drop(self) -> None:
        self.opened += 1
        self.dead = False

    async def call(self) -> str:
        self.calls += 1
        self.called.set()
        if self.dead:
            await asyncio.get_running_loop().create_future()
        return f"link {self.opened}"


def failing(error: Exception) -> Callable[[], Awaitable[None]]:
    async def call() -> None:
        raise error

    return call


async def test_dead_link_that_was_idle_is_opened_anew_and_the_call_succeeds() -> None:
    entity = Entity()
    await entity.link.call("sending", entity.call)
    entity.time, entity.dead = IDLE_AFTER + 1, True
    assert await entity.link.call("sending", entity.call) == "link 2"
    assert entity.calls == 3


async def test_living_link_that_was_idle_is_kept() -> None:
    entity = Entity()
    await entity.link.call("sending", entity.call)
    entity.time = IDLE_AFTER - 1
    assert await entity.link.call("sending", entity.call) == "link 1"


async def test_call_that_is_cut_off_leaves_no_link_behind() -> None:
    entity = Entity()
    entity.dead = True
    call = asyncio.create_task(entity.link.call("sending", entity.call))
    await entity.called.wait()
    call.cancel()
    await asyncio.wait([call])
    assert call.cancelled()
    assert entity.opened == 2


@pytest.mark.parametrize(
    ("raised", "expected", "said"),
    [
        (MessagingEntityNotFoundError(), EntityMissing, "there is no queue or topic orders"),
        (MessageSizeExceededError(), MessageTooLarge, "larger than Service Bus takes"),
        (ServiceBusConnectionError(), BusUnavailable, "failed for orders: ServiceBusConnectionError"),
        (TimeoutError(), BusUnavailable, "failed for orders: no response within 60 s"),
    ],
)
async def test_failure_names_what_failed_and_opens_a_new_link(
    raised: Exception, expected: type[Exception], said: str
) -> None:
    entity = Entity()
    with pytest.raises(expected, match=said):
        await entity.link.call("sending", failing(raised))
    assert entity.opened == 2


async def test_link_is_opened_anew_before_its_credit_is_used_up() -> None:
    entity = Entity()
    for _ in range(5):
        await entity.link.count()
    assert entity.opened == 3


async def test_missing_entity_is_not_waited_for() -> None:
    entity = Entity()
    with pytest.raises(EntityMissing):
        await patiently(lambda: entity.link.call("sending", failing(MessagingEntityNotFoundError())), 1e9)
