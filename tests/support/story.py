"""Small stories told on a shared environment under a clock moved by hand: each has a subscription of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sandbox.resource_manager import InstanceReport, InstanceSeed, ScaleSetSeed
from tests.support.received import Event
from tests.support.time_travel import Journey, tick

MINUTE = timedelta(minutes=1)
LASTS = 2 * MINUTE
LONGEST_LEAP = timedelta(minutes=30)


def subscriptions(number: int) -> list[str]:
    return [f"{each:08x}-8888-4888-8888-888888888888" for each in range(number)]


@dataclass
class Story:
    """The scale set `shop/web` and what is asked for of it."""

    azure: Journey
    subscription: str
    sent: list[str] = field(default_factory=list)

    def place(self, ids: str = "0123", *, name: str = "web", lasts: timedelta = LASTS, **fields: Any) -> None:
        """Seed a scale set of one instance for each character, each in an update domain of its own."""
        self.place_all(
            *(InstanceSeed(each, update_domain=int(each), duration=lasts, **fields) for each in ids), name=name
        )

    def place_all(self, *instances: InstanceSeed, name: str = "web", **fields: Any) -> None:
        self.azure.environment.arm.seed(
            ScaleSetSeed(self.subscription, "shop", name, location="northeurope", instances=instances, **fields)
        )

    async def send(self, message_id: str, *, properties: dict[str, Any] | None = None, **fields: Any) -> None:
        names = {"subscriptionId": self.subscription, "resourceGroupName": "shop", "vmScaleSetName": "web"}
        await self.azure.job.send({**names, **fields}, message_id=message_id, properties=properties)

    async def tick(self) -> None:
        await tick(self.azure.job)

    async def pass_time(self, span: timedelta, step: timedelta = MINUTE) -> None:
        """Fire the timer each `step`."""
        end = self.azure.clock() + span
        while self.azure.clock() < end:
            await self.tick()
            self.azure.clock.advance(min(step, end - self.azure.clock()))
        await self.tick()

    def leap(self, span: timedelta) -> None:
        """Let time pass without the timer, in steps: what falls due is enqueued at its own time."""
        end = self.azure.clock() + span
        while self.azure.clock() < end:
            self.azure.clock.advance(min(LONGEST_LEAP, end - self.azure.clock()))

    async def settle(self) -> None:
        """Let what has been sent run to its end."""
        await self.azure.finish()

    async def finish(self, *request_ids: str) -> dict[str, Event]:
        """The last end of each."""
        return await self.azure.finish(*request_ids)

    @property
    def events(self) -> list[Event]:
        environment = self.azure.environment
        return [event for event in environment.events if event.data.get("subscriptionId") == self.subscription]

    @property
    def ends(self) -> list[Event]:
        return [event for event in self.events if event.ends]

    def ends_of(self, request_id: str) -> list[Event]:
        """In order; those too that name no scale set."""
        events = self.azure.environment.events
        return [event for event in events if event.ends and event.data["requestId"] == request_id]

    def statuses(self, request_id: str) -> list[str]:
        """How each run of a request ended, in order."""
        return [event.status for event in self.ends if event.data["requestId"] == request_id]

    def instances(self, name: str = "web") -> list[InstanceReport]:
        return self.azure.environment.arm.instances(self.subscription, "shop", name)

    def maintained(self, name: str = "web") -> dict[str, int]:
        return {each.instance_id: each.maintenance_count for each in self.instances(name)}

    def posts(self, name: str = "web") -> list[list[str]]:
        """The ids of each POST that ARM accepted."""
        return [ids for _, ids in self._posts(name)]

    def posted_at(self, name: str = "web") -> list[datetime]:
        return [time for time, _ in self._posts(name)]

    def _posts(self, name: str) -> Iterator[tuple[datetime, list[str]]]:
        for call in self.azure.calls(self.subscription, "/performMaintenance"):
            if f"/{name}/" in call.path and call.status == 202:
                yield call.time, json.loads(call.body or b"{}").get("instanceIds")

    def at_work(self) -> int:
        """How many instances are under maintenance now."""
        return sum(each.state == "in-progress" for each in self.instances())
