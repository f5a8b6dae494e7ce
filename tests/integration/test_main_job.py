"""The main job: a request is received, posted, polled, and ends with a completion event."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from azure.core.messaging import CloudEvent
from azure.servicebus import ServiceBusMessage

from sandbox.resource_manager import Fault
from tests.support.entities import OPERATIONS
from tests.support.environment import Environment, request
from tests.support.running import Running, running
from tests.support.time_travel import journey, tick

pytestmark = pytest.mark.asyncio(loop_scope="module")

SUBSCRIPTION = "11111111-1111-4111-8111-111111111111"


async def test_request_for_instances_maintains_only_those(job: Running) -> None:
    azure = job.environment
    request_id = await job.send(request(instanceIds=["0", "3"], reason="kernel update"), message_id="good")
    ended = await job.finish(request_id)
    await job.drain()

    event = ended["good"]
    assert event.kind == "completed"
    assert event.status == "Succeeded"
    assert event.outcomes == {"0": "Completed", "3": "Completed"}
    assert event.data["reason"] == "kernel update"
    assert event.data["error"] is None
    assert [event.kind for event in azure.events] == ["accepted", "completed"]
    (post,) = azure.posts()
    assert post.path.endswith(
        "/resourceGroups/shop/providers/Microsoft.Compute/virtualMachineScaleSets/web/performMaintenance"
    )
    assert json.loads(post.body) == {"instanceIds": ["0", "3"]}
    assert {
        report.instance_id: report.maintenance_count for report in azure.arm.instances(SUBSCRIPTION, "shop", "web")
    } == {"0": 1, "1": 0, "3": 1, "4": 0, "6": 0, "7": 0}


async def test_request_for_whole_scale_set_posts_every_eligible_instance(job: Running) -> None:
    azure = job.environment
    request_id = await job.send(request("batch"))
    ended = await job.finish(request_id)

    assert ended[request_id].status == "Succeeded"
    assert ended[request_id].outcomes == {"0": "Completed", "2": "Completed", "3": "AlreadyCompleted", "4": "Skipped"}
    (post,) = azure.posts()
    assert json.loads(post.body) == {"instanceIds": ["0", "2"]}


async def test_whole_scale_set_without_instance_views_is_posted_without_body(azure: Environment) -> None:
    async with running(azure, MAINTENANCE_READ_INSTANCE_VIEWS="false") as job:
        request_id = await job.send(request("api"))
        ended = await job.finish(request_id)

    assert ended[request_id].status == "Succeeded"
    (post,) = azure.posts()
    assert post.body in (b"", "", None)
    assert "content-type" not in post.headers
    assert post.headers["content-length"] == "0"
    assert not [call for call in azure.arm.calls if call.path.endswith("/virtualMachines")]


async def test_scale_set_without_planned_maintenance_is_not_posted(job: Running) -> None:
    azure = job.environment
    request_id = await job.send(request("idle"))
    ended = await job.finish(request_id)
    await job.drain()
    await job.read_events()

    assert ended[request_id].status == "NothingToDo"
    assert azure.posts() == []
    assert len(azure.events) == 1


async def test_dry_run_publishes_waves_and_posts_nothing(job: Running) -> None:
    azure = job.environment
    body = request(dryRun=True, rollout={"maxInstancesPerWave": 2, "byUpdateDomain": True})
    request_id = await job.send(body)
    ended = await job.finish(request_id)

    assert ended[request_id].data["dryRun"] is True
    assert ended[request_id].data["waves"] == [["0", "1"], ["3", "4"], ["6", "7"]]
    assert set(ended[request_id].outcomes.values()) == {"WouldMaintain"}
    assert azure.posts() == []


async def test_event_is_a_cloud_event_with_filter_properties(job: Running) -> None:
    trace = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    request_id = await job.send(request(instanceIds=["0"]), properties=trace)
    ended = await job.finish(request_id)

    event = ended[request_id]
    cloud_event: CloudEvent[dict[str, Any]] = CloudEvent.from_json(json.dumps(event.document))
    assert cloud_event.type == event.subject == event.properties["type"] == "vmss.maintenance.completed.v1"
    assert cloud_event.id == event.message_id == f"{event.run_id}:ended"
    assert cloud_event.source.endswith("/virtualMachineScaleSets/web")
    assert cloud_event.extensions == trace
    assert event.properties["traceparent"] == trace["traceparent"]
    assert event.properties["status"] == "Succeeded"
    assert event.properties["vmScaleSetName"] == "web"
    assert event.properties["resourceGroupName"] == "shop"
    assert event.properties["subscriptionId"] == SUBSCRIPTION
    assert event.properties["requestId"] == request_id


async def test_all_calls_carry_one_token_of_the_identity(job: Running) -> None:
    azure = job.environment
    await job.finish(await job.send(request(instanceIds=["0"])))

    assert all(call.authorized for call in azure.arm.calls)
    assert azure.identity.issued == 1


async def test_record_is_scheduled_for_retry_after() -> None:
    async with journey([SUBSCRIPTION]) as azure:
        azure.environment.arm.faults.add(
            Fault(method="POST", path="/*/performMaintenance", headers={"Retry-After": "120"})
        )
        request_id = await azure.job.send(request(instanceIds=["0"]))
        await tick(azure.job)
        (accepted,) = azure.environment.events
        (record,) = azure.records(SUBSCRIPTION)
        (post,) = azure.environment.posts()

        assert (accepted.kind, accepted.data["requestId"]) == ("accepted", request_id)
        # After PLAN, POST, JUDGE (canceled when ARM had answered), and the TRACK that published `accepted`.
        assert (record.message_id, record.subject) == (f"{accepted.run_id}:s4", "track")
        assert record.state == "scheduled"
        assert record.scheduled_for == post.time + timedelta(seconds=120)
        azure.clock.advance(timedelta(seconds=119))
        await tick(azure.job)
        assert azure.calls(SUBSCRIPTION, "/operations/") == []


async def test_records_due_between_ticks_are_left_to_other_workers(azure: Environment) -> None:
    async with running(azure) as job, job.client.get_queue_sender(OPERATIONS) as sender:
        await job.worker.poll()
        await sender.send_messages([ServiceBusMessage(b"{}", message_id=f"due-{number}") for number in range(20)])
        counts = azure.bus.counts(OPERATIONS)

    assert counts.active + counts.locked == 20
    assert counts.locked <= 1


INVALID_REQUESTS: dict[str, bytes] = {
    "not-json": b"restart everything",
    "not-an-object": b'["0", "3"]',
    "wrong-types": json.dumps(request(instanceIds=[0, 3], dryRun="yes")).encode(),
    "misspelt": json.dumps(request(instanceIDs=["0"])).encode(),
    "no-instances": json.dumps(request(instanceIds=[])).encode(),
    "null-instances": json.dumps(request(instanceIds=None)).encode(),
    "same-twice": json.dumps(request(instanceIds=["0", "0"])).encode(),
    "dots": json.dumps(request("..")).encode(),
    "slash": json.dumps(request("web/../api")).encode(),
    "no-guid": json.dumps({**request(), "subscriptionId": "mine"}).encode(),
    "not-allowed": json.dumps({**request(), "subscriptionId": "22222222-2222-4222-8222-222222222222"}).encode(),
    "huge": json.dumps(request(reason="x" * 200_000)).encode(),
    "no-utf-8": b'{"reason": "\xff\xfe"}',
    "late": json.dumps(request(deadline="2020-01-01T00:00:00Z")).encode(),
}


async def test_invalid_request_ends_with_one_rejected_event(job: Running) -> None:
    azure = job.environment
    for name, body in INVALID_REQUESTS.items():
        await job.send(body, message_id=name)
    ended = await job.finish(*INVALID_REQUESTS)
    await job.drain()
    await job.read_events()

    assert azure.left_over() == []
    assert list(azure.arm.calls) == []
    assert len(azure.events) == len(INVALID_REQUESTS)
    for name in INVALID_REQUESTS:
        event = ended[name]
        assert event.kind == "rejected", name
        assert event.data["problems"], name
        assert len(event.data["request"]) <= 20_000, name
    assert ended["misspelt"].data["problems"][0]["message"].endswith("did you mean instanceIds?")
    assert {problem["field"] for problem in ended["wrong-types"].data["problems"]} == {
        "instanceIds.0",
        "instanceIds.1",
        "dryRun",
    }
    assert ended["huge"].data["requestCut"] is True


@pytest.mark.parametrize("setting", [{"MAINTENANCE_ALLOW_WHOLE_SCALE_SET": "false"}])
async def test_whole_scale_set_is_rejected_if_setting_says_so(azure: Environment, setting: dict[str, str]) -> None:
    async with running(azure, **setting) as job:
        request_id = await job.send(request())
        ended = await job.finish(request_id)

    assert ended[request_id].kind == "rejected"
    assert azure.posts() == []
