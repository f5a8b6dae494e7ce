"""Counts of ARM calls and Service Bus messages under a clock moved by hand, so without noise."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta

from sandbox.resource_manager import InstanceSeed, ScaleSetSeed
from sandbox.servicebus import BusEvent, MessageCompleted, MessageReceived, MessageSent
from tests.benchmarks.comparison import Bound, Options, Row
from tests.benchmarks.round_trips import recorded
from tests.support.entities import OPERATIONS
from tests.support.time_travel import Journey, due, journey, tick

SUBSCRIPTION = "22222222-2222-4222-8222-222222222222"
DURATION = timedelta(minutes=10)
# Compute often sends no Retry-After. This is the default of the contract, and of the product.
RETRY_AFTER = timedelta(seconds=60)
CONCURRENT = 20
ALLOWED = math.ceil(DURATION / RETRY_AFTER) + 4


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts of one whole request, of many that wait for one scale set, and of many that are polled in a tick."""

    calls_of_one: int
    listings_of_a_tick: int
    messages_of_a_tick: dict[str, float]
    kinds_of_a_tick: set[str]


async def count() -> Counts:
    async with journey([SUBSCRIPTION]) as azure:
        calls = await _one(azure)
        listings = await _waiting(azure)
        messages, kinds = await _polls(azure)
        return Counts(calls, listings, messages, kinds)


async def _one(azure: Journey) -> int:
    _seed(azure, 1)
    await azure.send(SUBSCRIPTION, "one", instanceIds=["0"])
    # Steps of a second, so that no poll is late.
    await azure.finish("one", step=timedelta(seconds=1))
    return len(azure.calls(SUBSCRIPTION))


async def _waiting(azure: Journey) -> int:
    """Listings in a tick in which many runs on one scale set look whether its lease is theirs by now."""
    _seed(azure, CONCURRENT)
    names = [f"waiting-{number}" for number in range(CONCURRENT)]
    for number, name in enumerate(names):
        await azure.send(SUBSCRIPTION, name, instanceIds=[str(number)])
    await tick(azure.job)
    azure.clock.advance(max(due(azure.job)) - azure.clock())
    azure.environment.arm.calls.clear()
    await tick(azure.job)
    listings = len(azure.calls(SUBSCRIPTION, "/virtualMachines"))
    azure.environment.bus.clear()
    return listings


async def _polls(azure: Journey) -> tuple[dict[str, float], set[str]]:
    """Messages of a poll, where many operations, each on a scale set of its own, are polled in a tick."""
    azure.environment.arm.reset()
    for number in range(CONCURRENT):
        seeds = (InstanceSeed("0", duration=DURATION),)
        azure.environment.arm.seed(ScaleSetSeed(SUBSCRIPTION, "shop", f"set{number}", instances=seeds))
        await azure.send(SUBSCRIPTION, f"concurrent-{number}", vmScaleSetName=f"set{number}")
    while len([record for record in azure.records(SUBSCRIPTION) if record.state == "scheduled"]) < CONCURRENT:
        await tick(azure.job)
    return await _messages_of_a_tick(azure)


async def _messages_of_a_tick(azure: Journey) -> tuple[dict[str, float], set[str]]:
    """Messages of the operations queue for each poll, in a tick in which all operations continue; and the kinds of its
    round trips."""
    seen: set[tuple[str, str]] = set()

    def note(event: BusEvent) -> None:
        # A scheduled message is reported twice: when it is sent, and when it falls due.
        sent = isinstance(event, MessageSent) and event.scheduled_for is not None
        if event.entity == OPERATIONS and (sent or isinstance(event, (MessageReceived, MessageCompleted))):
            # By id: on a busy machine the SDK takes a message, gives it back unread, and takes it again.
            seen.add((type(event).__name__, event.message_id))

    # Before the clock moves, since the open receivers of the last tick take what falls due.
    azure.environment.bus.observers.add(note)
    azure.clock.advance(max(due(azure.job)) - azure.clock())
    with recorded() as trips:
        await tick(azure.job)
    azure.environment.bus.observers.remove(note)
    kinds = {trip.name.partition(" ")[0] for trip in trips.calls}
    return {name: number / CONCURRENT for name, number in Counter(name for name, _ in seen).items()}, kinds


def _seed(azure: Journey, instances: int) -> None:
    azure.environment.arm.reset()
    seeds = tuple(InstanceSeed(str(number), duration=DURATION) for number in range(instances))
    azure.environment.arm.seed(ScaleSetSeed(SUBSCRIPTION, "shop", "web", instances=seeds))


async def rows(_: Options) -> list[Row]:
    counts = await count()
    return [
        Row(
            name=f"ARM calls for an operation of {DURATION.seconds // 60} min",
            against=f"ceil(duration / {RETRY_AFTER.seconds} s) + 4",
            unit="calls",
            ours=(counts.calls_of_one,),
            theirs=(ALLOWED,),
            required=Bound("at most", 1),
        ),
        Row(
            name=f"listings in a tick, {CONCURRENT} runs on one scale set waiting for its lease",
            against="one",
            unit="calls",
            ours=(counts.listings_of_a_tick,),
            theirs=(1,),
            required=Bound("at most", 1),
        ),
        Row(
            name="messages received + sent + completed for a poll",
            against="one each",
            unit="messages",
            ours=(sum(counts.messages_of_a_tick.values()),),
            theirs=(3,),
            required=Bound("at most", 1),
        ),
    ]
