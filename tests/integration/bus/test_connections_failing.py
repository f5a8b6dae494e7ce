"""Connections that break, locks and responses that are lost: every request still ends once."""

from __future__ import annotations

from contextlib import suppress

import pytest
from azure.servicebus.exceptions import ServiceBusError

from tests.support.bus_faults import MINUTE, begun, check, on_call, seed
from tests.support.entities import OPERATIONS, REQUESTS, TOPIC
from tests.support.time_travel import Journey, tick

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    # The SDK does not close the sockets of connections that the other side has reset.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


async def test_connections_reset_between_ticks_request_succeeds_once(azure: Journey, subscription: str) -> None:
    await begun(azure, subscription, "cut-between")
    assert azure.environment.bus.faults.drop_connections() > 3
    check(azure, subscription, await azure.finish("cut-between"), "cut-between")


@pytest.mark.parametrize("part", ["/operations/", "/performMaintenance"])
async def test_connections_reset_during_run_request_succeeds_once(azure: Journey, subscription: str, part: str) -> None:
    name = f"cut-{part.strip('/')}"
    on_call(azure, part, azure.environment.bus.faults.drop_connections)
    await begun(azure, subscription, name)
    check(azure, subscription, await azure.finish(name), name)


async def test_lock_of_record_lost_request_succeeds_once(azure: Journey, subscription: str) -> None:
    await begun(azure, subscription, "unlocked")
    lost: list[int] = []
    on_call(azure, "/operations/", lambda: lost.append(azure.environment.bus.faults.lose_locks(OPERATIONS)))
    check(azure, subscription, await azure.finish("unlocked"), "unlocked")
    assert lost == [1]


async def test_lock_of_request_lost_is_not_posted_again(azure: Journey, subscription: str) -> None:
    on_call(azure, "/performMaintenance", lambda: azure.environment.bus.faults.lose_locks(REQUESTS))
    await begun(azure, subscription, "request-unlocked")
    check(azure, subscription, await azure.finish("request-unlocked"), "request-unlocked")
    assert len(azure.calls(subscription, "/performMaintenance")) == 1


async def test_idle_links_detached_request_succeeds_once(azure: Journey, subscription: str) -> None:
    await begun(azure, subscription, "idle")
    for entity in (OPERATIONS, TOPIC, REQUESTS):
        assert azure.environment.bus.faults.detach_links(entity) > 0
    check(azure, subscription, await azure.finish("idle"), "idle")


async def send_with_retries(azure: Journey, subscription: str, name: str) -> None:
    """Send a request although the sender's own calls fail too, sometimes more often than the SDK retries them."""
    for _ in range(20):
        with suppress(ServiceBusError):
            await azure.send(subscription, name)
            return
    raise AssertionError(f"{name} could not be sent")


@pytest.mark.parametrize("after", [False, True], ids=["not done", "done, response lost"])
async def test_fifth_of_calls_failing_requests_succeed_once(azure: Journey, after: bool) -> None:
    names = {f"flaky-{after}-{number}": seed(azure) for number in range(5)}
    azure.environment.bus.faults.fail_calls(0.2, seed=7, after=after)
    for name, subscription in names.items():
        await send_with_retries(azure, subscription, name)
    for _ in range(3):
        await tick(azure.job)
        azure.clock.advance(MINUTE)
    azure.environment.bus.faults.reset()
    await azure.finish(*names)
    for name, subscription in names.items():
        # By id: where this test's own completion of an event is lost, it reads the event again.
        events = [event for event in azure.environment.events if event.data["requestId"] == name]
        # A message that its sender sent again, since the response was lost, is a duplicate; or it finds nothing to do,
        # where the first had ended before.
        kinds = {event.message_id: event.kind for event in events if event.status not in ("Duplicate", "NothingToDo")}
        assert sorted(kinds.values()) == ["accepted", "completed"]
        reports = azure.environment.arm.instances(subscription, "shop", "web")
        assert {report.maintenance_count for report in reports} == {1}
