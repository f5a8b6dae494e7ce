"""Rollouts: a scale set maintained in waves, over real SDKs, under a clock moved by hand."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from maintenance.domain.resources import ScaleSet
from sandbox.resource_manager import InstanceSeed, ScaleSetSeed
from tests.support.time_travel import Journey, journey, tick

pytestmark = pytest.mark.asyncio(loop_scope="module")

SUBSCRIPTIONS = [f"{number:08x}-8888-4888-8888-888888888888" for number in range(30)]
MINUTE = timedelta(minutes=1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared() -> AsyncIterator[Journey]:
    async with journey(SUBSCRIPTIONS) as shared:
        yield shared


@pytest.fixture
def azure(shared: Journey) -> Journey:
    shared.environment.events.clear()
    return shared


@pytest.fixture
def subscription() -> str:
    return SUBSCRIPTIONS.pop()


def seed(azure: Journey, subscription: str, *instances: InstanceSeed, mode: Any = "Uniform") -> None:
    azure.environment.arm.seed(ScaleSetSeed(subscription, "shop", "web", orchestration_mode=mode, instances=instances))


def some(count: int) -> list[InstanceSeed]:
    return [InstanceSeed(str(number), duration=MINUTE) for number in range(count)]


def twelve(*, failing: str | None = None) -> list[InstanceSeed]:
    """Twelve instances in three update domains."""
    return [
        InstanceSeed(
            str(number),
            update_domain=number % 3,
            duration=MINUTE,
            outcome="Failed" if str(number) == failing else "Succeeded",
        )
        for number in range(12)
    ]


def waves_posted(azure: Journey, subscription: str) -> list[list[str]]:
    posts = [call for call in azure.calls(subscription, "/performMaintenance") if call.status == 202]
    return [json.loads(call.body)["instanceIds"] for call in posts]


def maintained(azure: Journey, subscription: str) -> dict[str, int]:
    reports = azure.environment.arm.instances(subscription, "shop", "web")
    return {report.instance_id: report.maintenance_count for report in reports}


async def test_rollout_by_update_domain_maintains_one_domain_after_another(azure: Journey, subscription: str) -> None:
    seed(azure, subscription, *twelve())
    await azure.send(subscription, "rolling", rollout={"byUpdateDomain": True, "maxInstancesPerWave": 3})
    ended = await azure.finish("rolling")

    assert ended["rolling"].status == "Succeeded"
    waves = [["0", "3", "6"], ["9"], ["1", "4", "7"], ["10"], ["2", "5", "8"], ["11"]]
    assert waves_posted(azure, subscription) == waves
    assert set(maintained(azure, subscription).values()) == {1}
    progress = [event.data for event in azure.environment.events if event.kind == "progressed"]
    assert [(data["wave"], data["waves"], data["done"], data["left"]) for data in progress] == [
        (1, 6, 3, 9),
        (2, 6, 4, 8),
        (3, 6, 7, 5),
        (4, 6, 8, 4),
        (5, 6, 11, 1),
    ]


async def test_first_failure_stops_rollout_before_next_wave(azure: Journey, subscription: str) -> None:
    seed(azure, subscription, *twelve(failing="4"))
    await azure.send(subscription, "failing", rollout={"byUpdateDomain": True})
    event = (await azure.finish("failing"))["failing"]

    assert event.status == "PartiallySucceeded"
    assert event.data["error"]["code"]
    outcomes = event.outcomes
    assert {i for i, outcome in outcomes.items() if outcome == "Failed"} == {"4"}
    assert {i for i, outcome in outcomes.items() if outcome == "NotAttempted"} == {"2", "5", "8", "11"}
    assert {i for i, outcome in outcomes.items() if outcome == "Completed"} == {"0", "3", "6", "9", "1", "7", "10"}
    assert len(waves_posted(azure, subscription)) == 2


async def test_allowed_failures_do_not_stop_rollout(azure: Journey, subscription: str) -> None:
    seed(azure, subscription, *twelve(failing="4"))
    await azure.send(subscription, "tolerant", rollout={"byUpdateDomain": True, "maxFailedInstances": 1})
    ended = await azure.finish("tolerant")

    assert ended["tolerant"].status == "PartiallySucceeded"
    assert len(waves_posted(azure, subscription)) == 3
    assert list(ended["tolerant"].outcomes.values()).count("Completed") == 11


async def test_instances_maintained_by_somebody_else_count_as_done(azure: Journey, subscription: str) -> None:
    seed(azure, subscription, *some(4))
    rollout = {"maxInstancesPerWave": 2, "pauseBetweenWaves": "PT1H"}
    await azure.send(subscription, "shared", rollout=rollout)
    await tick(azure.job)
    azure.environment.arm.place(subscription, "shop", "web", InstanceSeed("2", state="completed"))
    azure.environment.arm.place(subscription, "shop", "web", InstanceSeed("3", state="not-planned"))
    ended = await azure.finish("shared")

    assert ended["shared"].status == "Succeeded"
    assert ended["shared"].outcomes == {"0": "Completed", "1": "Completed", "2": "AlreadyCompleted", "3": "Skipped"}
    assert waves_posted(azure, subscription) == [["0", "1"]]


async def test_next_wave_waits_until_last_wave_is_healthy(azure: Journey, subscription: str) -> None:
    recovery = timedelta(minutes=8)
    instances = [
        InstanceSeed(number, vm_health="healthy", health_recovers_after=recovery, duration=MINUTE)
        for number in ("0", "1")
    ]
    seed(azure, subscription, *instances)
    await azure.send(subscription, "healing", rollout={"maxInstancesPerWave": 1, "healthTimeout": "PT30M"})
    ended = await azure.finish("healing")

    assert ended["healing"].status == "Succeeded"
    first, second = [call.time for call in azure.calls(subscription, "/performMaintenance")]
    assert second - first >= MINUTE + recovery


async def test_unhealthy_wave_stops_rollout_after_health_timeout(azure: Journey, subscription: str) -> None:
    unhealthy = InstanceSeed("0", vm_health="healthy", health_recovers_after=timedelta.max, duration=MINUTE)
    seed(azure, subscription, unhealthy, InstanceSeed("1", duration=MINUTE))
    await azure.send(subscription, "unhealthy", rollout={"maxInstancesPerWave": 1, "healthTimeout": "PT10M"})
    event = (await azure.finish("unhealthy"))["unhealthy"]

    assert event.status == "PartiallySucceeded"
    assert event.data["error"]["code"] == "InstancesUnhealthy"
    assert event.outcomes == {"0": "Completed", "1": "NotAttempted"}
    assert maintained(azure, subscription) == {"0": 1, "1": 0}


async def test_stopped_instance_without_health_extension_is_unhealthy(azure: Journey, subscription: str) -> None:
    stopped = InstanceSeed("0", power_state_after="stopped", duration=MINUTE)
    seed(azure, subscription, stopped, InstanceSeed("1", duration=MINUTE))
    await azure.send(subscription, "stopped", rollout={"maxInstancesPerWave": 1, "healthTimeout": "PT10M"})
    ended = await azure.finish("stopped")

    assert ended["stopped"].data["error"]["code"] == "InstancesUnhealthy"


async def test_flexible_scale_set_is_posted_once_per_vm(azure: Journey, subscription: str) -> None:
    seed(azure, subscription, *[InstanceSeed(f"vm_{n}", duration=MINUTE) for n in range(3)], mode="Flexible")
    await azure.send(subscription, "flexible", rollout={"maxInstancesPerWave": 2})
    ended = await azure.finish("flexible")

    assert ended["flexible"].status == "Succeeded"
    assert set(maintained(azure, subscription).values()) == {1}
    posts = azure.calls(subscription, "/performMaintenance")
    assert len(posts) == 3
    assert all("/virtualMachines/vm_" in call.path and not call.body for call in posts)


async def test_failed_vm_of_flexible_scale_set_has_its_own_outcome(azure: Journey, subscription: str) -> None:
    instances = (InstanceSeed("vm_a", duration=MINUTE), InstanceSeed("vm_b", duration=MINUTE, outcome="Failed"))
    seed(azure, subscription, *instances, mode="Flexible")
    await azure.send(subscription, "mixed", instanceIds=["vm_a", "vm_b"])
    ended = await azure.finish("mixed")

    assert ended["mixed"].status == "PartiallySucceeded"
    assert ended["mixed"].outcomes == {"vm_a": "Completed", "vm_b": "Failed"}


async def test_canceled_rollout_starts_no_further_wave(azure: Journey, subscription: str) -> None:
    seed(azure, subscription, *some(6))
    rollout = {"maxInstancesPerWave": 2, "pauseBetweenWaves": "PT1H"}
    await azure.send(subscription, "canceled", rollout=rollout)
    await tick(azure.job)
    await azure.send(subscription, "cancellation", cancel="canceled", reason="wrong day")
    await tick(azure.job)
    (answer,) = [event for event in azure.environment.events if event.data.get("cancels") == "canceled"]
    assert (answer.message_id, answer.status) == (f"{answer.run_id}:accepted", "Accepted")
    event = (await azure.finish("canceled"))["canceled"]

    assert event.status == "Canceled"
    assert "wrong day" in event.data["error"]["message"]
    assert "not undone" in event.data["error"]["message"]
    done, not_done = dict.fromkeys(("0", "1"), "Completed"), dict.fromkeys(("2", "3", "4", "5"), "NotAttempted")
    assert event.outcomes == {**done, **not_done}
    assert waves_posted(azure, subscription) == [["0", "1"]]
    assert subscription not in str(azure.environment.entries("lease"))


@pytest.mark.parametrize(
    "fields",
    [
        {"cancel": ""},
        {"cancel": "rolling", "instanceIds": ["0"]},
        {"cancel": "rolling", "subscriptionId": "22222222-2222-4222-8222-222222222222"},
    ],
    ids=["empty", "with instances", "not allowed"],
)
async def test_invalid_cancellation_is_rejected(azure: Journey, subscription: str, fields: dict[str, Any]) -> None:
    request_id = f"invalid-{subscription}"
    await azure.send(subscription, request_id, **fields)
    ended = await azure.finish(request_id)

    assert ended[request_id].kind == "rejected"
    assert subscription not in str(azure.environment.entries("cancellation"))


async def test_second_request_waits_until_rollout_has_ended(azure: Journey, subscription: str) -> None:
    seed(azure, subscription, *some(4))
    rollout = {"maxInstancesPerWave": 1, "pauseBetweenWaves": "PT10M"}
    await azure.send(subscription, "first", instanceIds=["0", "1", "2"], rollout=rollout)
    await tick(azure.job)
    await azure.send(subscription, "second")
    ended = await azure.finish("first", "second")

    assert [ended["first"].status, ended["second"].status] == ["Succeeded", "Succeeded"]
    assert waves_posted(azure, subscription) == [["0"], ["1"], ["2"], ["3"]]
    assert ended["second"].outcomes["3"] == "Completed"
    assert subscription not in str(azure.environment.entries("lease"))


async def test_two_rollouts_sent_together_run_one_after_another(azure: Journey, subscription: str) -> None:
    seed(azure, subscription, *some(4))
    rollout = {"maxInstancesPerWave": 1}
    await azure.send(subscription, "one", instanceIds=["0", "1"], rollout=rollout)
    await azure.send(subscription, "two", instanceIds=["2", "3"], rollout=rollout)
    ended = await azure.finish("one", "two")

    assert {ended["one"].status, ended["two"].status} == {"Succeeded"}
    order = [ids[0] for ids in waves_posted(azure, subscription)]
    assert order in (["0", "1", "2", "3"], ["2", "3", "0", "1"])
    assert subscription not in str(azure.environment.entries("lease"))


async def test_second_request_is_rejected_if_setting_says_so(subscription: str) -> None:
    async with journey([subscription], MAINTENANCE_SECOND_ROLLOUT="reject") as azure:
        seed(azure, subscription, *some(4))
        rollout = {"maxInstancesPerWave": 1, "pauseBetweenWaves": "PT10M"}
        await azure.send(subscription, "first", rollout=rollout)
        await tick(azure.job)
        await azure.send(subscription, "second", rollout={"maxInstancesPerWave": 2})
        ended = await azure.finish("first", "second")
        assert subscription not in str(azure.environment.entries("lease"))

    assert ended["first"].status == "Succeeded"
    assert ended["second"].kind == "rejected"
    assert "first" in ended["second"].data["problems"][0]["message"]


async def test_lease_of_crashed_worker_expires(azure: Journey, subscription: str) -> None:
    seed(azure, subscription, *some(2))
    expires = azure.clock() + timedelta(minutes=40)
    await azure.job.leave_lease(ScaleSet(subscription, "shop", "web"), until=expires)
    await azure.send(subscription, "after-crash")
    ended = await azure.finish("after-crash")

    assert ended["after-crash"].status == "Succeeded"
    assert maintained(azure, subscription) == {"0": 1, "1": 1}
    (post,) = azure.calls(subscription, "/performMaintenance")
    assert post.time >= expires
