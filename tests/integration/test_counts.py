"""Counts that must not grow: ARM calls, Service Bus messages, modules imported by indexing."""

from __future__ import annotations

from tests.benchmarks.arm_calls import ALLOWED, count
from tests.benchmarks.cold_start import modules_indexed

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


def test_indexing_imports_no_client() -> None:
    modules = modules_indexed()
    early = [name for name in modules if any(name == each or name.startswith(f"{each}.") for each in NOT_TO_INDEX)]
    assert early == []
