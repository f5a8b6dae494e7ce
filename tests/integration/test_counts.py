"""Counts that must not grow: ARM calls, Service Bus messages, modules imported by indexing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tests.benchmarks import round_trips, services
from tests.benchmarks.arm_calls import ALLOWED, SUBSCRIPTION, count
from tests.benchmarks.cold_start import modules_indexed
from tests.support.time_travel import journey

DUE = 100
# Each takes tens of milliseconds to import, and indexing needs none of them.
NOT_TO_INDEX = (
    "aiohttp",
    "azure.core",
    "azure.identity",
    "azure.servicebus",
    "httpx",
    "pydantic",
    "maintenance.arm",
    "maintenance.servicebus",
    "maintenance.operations",
    "maintenance.requests",
    "maintenance.worker",
)


async def test_calls_and_messages_of_an_operation_stay_within_bounds() -> None:
    counts = await count()
    assert counts.calls_of_one <= ALLOWED
    assert counts.listings_of_a_tick == 1
    assert counts.messages_of_a_tick == {"MessageReceived": 1, "MessageSent": 1, "MessageCompleted": 1}
    # Nothing else is asked. In how many parts they come is chance on a busy machine.
    assert counts.kinds_of_a_tick == {"receive_messages", "GET", "send_messages", "complete_message"}


async def test_round_trips_from_message_to_post_stay_within_bounds() -> None:
    async with journey([SUBSCRIPTION]) as azure:
        counted = await round_trips.count(azure, SUBSCRIPTION)

    def names(trips: Sequence[round_trips.Trip]) -> list[str]:
        return [
            trip.name.replace("maintenance-", "").replace("_messages", "").replace("_message", "") for trip in trips
        ]

    # One page with what the run before left behind, and the empty one that is the last.
    reads = ["peek coordination", "peek coordination"]
    # The views, which are read while the coordination queue is, stand at either side of its peeks.
    to_post = [name for name in names(counted.to_post) if name != "GET virtualMachines"]
    assert to_post == [
        *("send operations s0", "receive operations s0"),
        *(*reads, "schedule coordination lease", *reads),
        *("send operations s1", "complete operations s0", "receive operations s1"),
        *(*reads, "schedule operations s2", "complete operations s1", "POST performMaintenance"),
    ]
    assert round_trips.in_sequence(counted.to_post) <= len(to_post)
    poll, end = names(counted.of_a_poll), names(counted.of_an_end)
    assert [name.rpartition(" ")[0] for name in poll[:1] + poll[2:]] == [
        "receive operations",
        "send operations",
        "complete operations",
    ]
    assert poll[1].startswith("GET ")
    assert [*(name.partition(" ")[0] for name in end)] == [
        *("receive", "send", "schedule", "peek", "peek", "cancel_scheduled", "complete")
    ]
    assert "send events ended" in end


async def test_round_trips_of_a_tick_are_those_of_its_batches_however_many_are_due() -> None:
    async with journey([services.SUBSCRIPTION]) as azure:
        calls = await round_trips.count_tick(azure, DUE)
    kinds = Counter(call.name.partition(" ")[0] for call in calls)
    assert kinds["GET"] == kinds["complete_message"] == DUE
    # In how many batches they come is chance on a busy machine. Each takes a GET, a list, and a completion.
    batches = kinds["send_messages"]
    assert batches <= DUE // 10
    assert round_trips.in_sequence([call for call in calls if "receive" not in call.name]) <= 3 * batches


def test_indexing_imports_no_client() -> None:
    modules = modules_indexed()
    early = [name for name in modules if any(name == each or name.startswith(f"{each}.") for each in NOT_TO_INDEX)]
    assert early == []
