"""A scale set maintained a few instances at a time, over real SDKs."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from sandbox.resource_manager import InstanceSeed, ScaleSetSeed
from tests.support.environment import Environment, Running, request, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

SUBSCRIPTION = "11111111-1111-4111-8111-111111111111"
QUICK = timedelta(seconds=0.2)


def seed(environment: Environment, name: str, *instances: InstanceSeed, mode: Any = "Uniform") -> None:
    environment.arm.seed(ScaleSetSeed(SUBSCRIPTION, "shop", name, orchestration_mode=mode, instances=instances))


def twelve(*, failing: str | None = None) -> list[InstanceSeed]:
    """Twelve instances over three update domains."""
    return [
        InstanceSeed(
            str(number),
            update_domain=number % 3,
            duration=QUICK,
            outcome="Failed" if str(number) == failing else "Succeeded",
        )
        for number in range(12)
    ]


def waves_posted(environment: Environment) -> list[list[str]]:
    return [json.loads(call.body)["instanceIds"] for call in environment.posts() if call.status == 202]


def maintained(environment: Environment, name: str) -> dict[str, int]:
    reports = environment.arm.instances(SUBSCRIPTION, "shop", name)
    return {report.instance_id: report.maintenance_count for report in reports}


async def test_update_domains_are_maintained_one_after_the_other(job: Running) -> None:
    seed(job.environment, "rolling", *twelve())
    body = request("rolling", rollout={"byUpdateDomain": True, "maxInstancesPerWave": 3})
    ended = await job.finish(request_id := await job.send(body))
    await job.drain()

    assert ended[request_id].status == "Succeeded"
    assert waves_posted(job.environment) == [["0", "3", "6"], ["9"], ["1", "4", "7"], ["10"], ["2", "5", "8"], ["11"]]
    assert set(maintained(job.environment, "rolling").values()) == {1}
    progress = [event.data for event in job.environment.events if event.kind == "progressed"]
    assert [(data["wave"], data["waves"], data["done"], data["left"]) for data in progress] == [
        (1, 6, 3, 9),
        (2, 6, 4, 8),
        (3, 6, 7, 5),
        (4, 6, 8, 4),
        (5, 6, 11, 1),
    ]


async def test_the_first_failure_stops_a_rollout_and_the_rest_is_left_alone(job: Running) -> None:
    seed(job.environment, "failing", *twelve(failing="4"))
    body = request("failing", rollout={"byUpdateDomain": True})
    ended = await job.finish(request_id := await job.send(body))
    await job.drain()

    event = ended[request_id]
    assert event.status == "PartiallySucceeded"
    assert event.data["error"]["code"]
    outcomes = event.outcomes
    assert {i for i, outcome in outcomes.items() if outcome == "Failed"} == {"4"}
    assert {i for i, outcome in outcomes.items() if outcome == "NotAttempted"} == {"2", "5", "8", "11"}
    assert {i for i, outcome in outcomes.items() if outcome == "Completed"} == {"0", "3", "6", "9", "1", "7", "10"}
    assert len(waves_posted(job.environment)) == 2


async def test_as_many_failures_as_allowed_do_not_stop_a_rollout(job: Running) -> None:
    seed(job.environment, "tolerant", *twelve(failing="4"))
    body = request("tolerant", rollout={"byUpdateDomain": True, "maxFailedInstances": 1})
    ended = await job.finish(request_id := await job.send(body))

    assert ended[request_id].status == "PartiallySucceeded"
    assert len(waves_posted(job.environment)) == 3
    assert list(ended[request_id].outcomes.values()).count("Completed") == 11


async def test_instances_that_others_completed_meanwhile_count_as_done_and_are_not_posted(job: Running) -> None:
    seed(job.environment, "shared", *[InstanceSeed(str(n), duration=QUICK) for n in range(4)])
    request_id = await job.send(request("shared", rollout={"maxInstancesPerWave": 2, "pauseBetweenWaves": "PT1.5S"}))
    await job.until(lambda: bool(waves_posted(job.environment)))
    job.environment.arm.place(SUBSCRIPTION, "shop", "shared", InstanceSeed("2", state="completed"))
    job.environment.arm.place(SUBSCRIPTION, "shop", "shared", InstanceSeed("3", state="not-planned"))
    ended = await job.finish(request_id)

    assert ended[request_id].status == "Succeeded"
    assert ended[request_id].outcomes == {"0": "Completed", "1": "Completed", "2": "AlreadyCompleted", "3": "Skipped"}
    assert waves_posted(job.environment) == [["0", "1"]]


async def test_the_next_wave_waits_until_the_last_one_is_healthy_again(job: Running) -> None:
    slow = timedelta(seconds=1.5)
    ill = {"vm_health": "healthy", "health_recovers_after": slow, "duration": QUICK}
    seed(job.environment, "healing", InstanceSeed("0", **ill), InstanceSeed("1", **ill))  # type: ignore[arg-type] # one dict for all fields
    body = request("healing", rollout={"maxInstancesPerWave": 1, "healthTimeout": "PT30S"})
    ended = await job.finish(request_id := await job.send(body))

    assert ended[request_id].status == "Succeeded"
    first, second = [call.time for call in job.environment.posts()]
    assert second - first >= slow


async def test_a_wave_that_does_not_recover_stops_the_rollout(job: Running) -> None:
    ill = InstanceSeed("0", vm_health="healthy", health_recovers_after=timedelta.max, duration=QUICK)
    seed(job.environment, "sick", ill, InstanceSeed("1", duration=QUICK))
    body = request("sick", rollout={"maxInstancesPerWave": 1, "healthTimeout": "PT0.5S"})
    ended = await job.finish(request_id := await job.send(body))
    await job.drain()

    event = ended[request_id]
    assert event.status == "PartiallySucceeded"
    assert event.data["error"]["code"] == "InstancesUnhealthy"
    assert event.outcomes == {"0": "Completed", "1": "NotAttempted"}
    assert maintained(job.environment, "sick") == {"0": 1, "1": 0}


async def test_without_a_health_extension_a_running_instance_is_well_enough(job: Running) -> None:
    down = InstanceSeed("0", power_state_after="stopped", duration=QUICK)
    seed(job.environment, "powerless", down, InstanceSeed("1", duration=QUICK))
    body = request("powerless", rollout={"maxInstancesPerWave": 1, "healthTimeout": "PT0.5S"})
    ended = await job.finish(request_id := await job.send(body))

    assert ended[request_id].data["error"]["code"] == "InstancesUnhealthy"


async def test_a_flexible_scale_set_takes_one_call_for_each_vm(job: Running) -> None:
    body = request("flex", rollout={"maxInstancesPerWave": 2})
    ended = await job.finish(request_id := await job.send(body))
    await job.drain()

    assert ended[request_id].status == "Succeeded"
    assert set(maintained(job.environment, "flex").values()) == {1}
    assert len(job.environment.posts()) == 3
    assert all("/virtualMachines/flex_" in call.path and not call.body for call in job.environment.posts())


async def test_a_failing_vm_of_a_flexible_scale_set_is_told_apart(job: Running) -> None:
    seed(
        job.environment,
        "mixed",
        InstanceSeed("vm_a", duration=QUICK),
        InstanceSeed("vm_b", duration=QUICK, outcome="Failed"),
        mode="Flexible",
    )
    ended = await job.finish(request_id := await job.send(request("mixed", instanceIds=["vm_a", "vm_b"])))

    assert ended[request_id].status == "PartiallySucceeded"
    assert ended[request_id].outcomes == {"vm_a": "Completed", "vm_b": "Failed"}


async def test_a_canceled_rollout_starts_no_further_wave_and_says_what_was_done(job: Running) -> None:
    seed(job.environment, "canceled", *[InstanceSeed(str(n), duration=QUICK) for n in range(6)])
    body = request("canceled", requestId="roll-1", rollout={"maxInstancesPerWave": 2, "pauseBetweenWaves": "PT1.5S"})
    await job.send(body)
    await job.until(lambda: bool(waves_posted(job.environment)))
    await job.send(request("canceled", cancel="roll-1", reason="wrong day"), message_id="stop-1")
    await job.until(lambda: any(event.message_id == "stop-1:accepted" for event in job.environment.events))
    ended = await job.finish("roll-1")
    await job.drain()

    event = ended["roll-1"]
    assert event.status == "Canceled"
    assert "wrong day" in event.data["error"]["message"]
    assert "not undone" in event.data["error"]["message"]
    assert event.outcomes == {
        "0": "Completed",
        "1": "Completed",
        "2": "NotAttempted",
        "3": "NotAttempted",
        "4": "NotAttempted",
        "5": "NotAttempted",
    }
    assert waves_posted(job.environment) == [["0", "1"]]
    assert job.environment.entries() == []


@pytest.mark.parametrize(
    "cancel",
    [
        {"cancel": ""},
        {"cancel": "roll-1", "instanceIds": ["0"]},
        {"cancel": "roll-1", "subscriptionId": "22222222-2222-4222-8222-222222222222"},
    ],
)
async def test_a_bad_cancellation_is_rejected(job: Running, cancel: dict[str, Any]) -> None:
    ended = await job.finish(request_id := await job.send({**request("web"), **cancel}))

    assert ended[request_id].kind == "rejected"
    assert job.environment.entries() == []


async def test_a_second_request_waits_until_the_rollout_before_it_has_ended(job: Running) -> None:
    seed(job.environment, "busy", *[InstanceSeed(str(n), duration=QUICK) for n in range(4)])
    first = await job.send(
        request("busy", instanceIds=["0", "1", "2"], rollout={"maxInstancesPerWave": 1, "pauseBetweenWaves": "PT0.5S"})
    )
    await job.until(lambda: bool(waves_posted(job.environment)))
    second = await job.send(request("busy"))
    ended = await job.finish(first, second)
    await job.drain()

    assert [ended[first].status, ended[second].status] == ["Succeeded", "Succeeded"]
    assert waves_posted(job.environment) == [["0"], ["1"], ["2"], ["3"]]
    assert ended[second].outcomes["3"] == "Completed"
    assert job.environment.entries() == []


async def test_two_rollouts_sent_together_run_one_after_the_other(job: Running) -> None:
    seed(job.environment, "raced", *[InstanceSeed(str(n), duration=QUICK) for n in range(4)])
    rollout = {"maxInstancesPerWave": 1}
    one = await job.send(request("raced", instanceIds=["0", "1"], rollout=rollout))
    two = await job.send(request("raced", instanceIds=["2", "3"], rollout=rollout))
    ended = await job.finish(one, two)
    await job.drain()

    assert {ended[one].status, ended[two].status} == {"Succeeded"}
    order = [ids[0] for ids in waves_posted(job.environment)]
    assert order in (["0", "1", "2", "3"], ["2", "3", "0", "1"])
    assert job.environment.entries() == []


async def test_by_setting_a_second_request_is_rejected_at_once(azure: Environment) -> None:
    seed(azure, "strict", *[InstanceSeed(str(n), duration=QUICK) for n in range(4)])
    async with running(azure, MAINTENANCE_SECOND_ROLLOUT="reject") as job:
        first = await job.send(request("strict", rollout={"maxInstancesPerWave": 1, "pauseBetweenWaves": "PT1S"}))
        await job.until(lambda: bool(waves_posted(azure)))
        second = await job.send(request("strict", rollout={"maxInstancesPerWave": 2}))
        ended = await job.finish(first, second)
        await job.drain()

    assert ended[first].status == "Succeeded"
    assert ended[second].kind == "rejected"
    assert first in ended[second].data["problems"][0]["message"]
    assert azure.entries() == []


async def test_a_notice_without_its_rollout_ends_by_itself(job: Running) -> None:
    seed(job.environment, "haunted", *[InstanceSeed(str(n), duration=QUICK) for n in range(2)])
    await job.leave_lease("haunted", lasts=timedelta(seconds=1.5))
    ended = await job.finish(request_id := await job.send(request("haunted")))

    assert ended[request_id].status == "Succeeded"
    assert maintained(job.environment, "haunted") == {"0": 1, "1": 1}
