"""Requests on a Service Bus that fails, and what must hold of each."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from sandbox.resource_manager import ArmEvent, CallReceived, InstanceSeed, ScaleSetSeed
from tests.support.received import Event
from tests.support.time_travel import Journey, tick

SUBSCRIPTIONS = [f"{number:08x}-5555-4555-8555-555555555555" for number in range(60)]
MINUTE = timedelta(minutes=1)


def seed(azure: Journey, instances: int = 2) -> str:
    """Seed a scale set in a subscription of its own; return the subscription id."""
    subscription = SUBSCRIPTIONS.pop()
    seeds = tuple(InstanceSeed(str(number), duration=timedelta(seconds=30)) for number in range(instances))
    azure.environment.arm.seed(ScaleSetSeed(subscription, "shop", "web", instances=seeds))
    return subscription


def on_call(azure: Journey, part: str, act: Callable[[], object]) -> None:
    """Do something once, when ARM receives a call with `part` in its path: in the middle of a run."""
    done: list[bool] = []

    def on_event(event: ArmEvent) -> None:
        if isinstance(event, CallReceived) and part in event.call.path and not done:
            done.append(True)
            act()

    azure.environment.arm.observers.append(on_event)


async def begun(azure: Journey, subscription: str, *names: str) -> None:
    """Send requests and handle them: ARM has accepted them, and their first poll is due."""
    for name in names:
        await azure.send(subscription, name)
    await tick(azure.job)
    azure.clock.advance(MINUTE)


def check(azure: Journey, subscription: str, ended: dict[str, Event], *names: str) -> None:
    """Assert that each request succeeded, once, and that each instance was maintained once."""
    assert {ended[name].status for name in names} == {"Succeeded"}
    for name in names:
        published = [event.kind for event in azure.environment.events if event.data["requestId"] == name]
        assert sorted(published) == ["accepted", "completed"]
    reports = azure.environment.arm.instances(subscription, "shop", "web")
    assert {report.maintenance_count for report in reports} == {1}
    assert azure.environment.left_over() == []
