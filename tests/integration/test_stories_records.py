"""Stories of records and dead letters: forged ones lead nowhere, and whatever is given up still gets its end."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from azure.servicebus import ServiceBusMessage

from maintenance.domain import message_ids
from maintenance.domain.operation import Operation, Phase
from maintenance.domain.resources import ScaleSet
from maintenance.operations.records import to_record
from sandbox.servicebus import NOT_FOUND
from tests.support.entities import OPERATIONS, REQUESTS
from tests.support.limit import LIMIT
from tests.support.story import Story, subscriptions
from tests.support.time_travel import Journey, journey

pytestmark = pytest.mark.asyncio(loop_scope="module")

*SUBSCRIPTIONS, OTHER = subscriptions(20)
# Names that lead out of the allowed scope, or carry another action, if they are put into a URL as they are.
FORGED_NAMES = {
    "another action": "web/deallocate?api-version=2024-07-01&x=",
    "dots": f"../../../../../../{OTHER}/resourceGroups/shop/providers/Microsoft.Compute/virtualMachineScaleSets/web",
    "encoded dots": "%2e%2e/%2e%2e/x",
    "fragment": "web#",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def azure() -> AsyncIterator[Journey]:
    async with journey(SUBSCRIPTIONS, worker_options={"patience": 0.0}) as azure:
        yield azure


@pytest.fixture
def story(azure: Journey) -> Story:
    return Story(azure, SUBSCRIPTIONS.pop())


def operation(story: Story, request_id: str, **fields: Any) -> Operation:
    return Operation(
        run_id=message_ids.short_hash(request_id, length=32),
        request_id=request_id,
        scale_set=ScaleSet(story.subscription, "shop", "web"),
        requested_at=story.azure.clock(),
        deadline=story.azure.clock() + timedelta(hours=2),
        **fields,
    )


def message(record_of: Operation, body: bytes | None = None) -> ServiceBusMessage:
    record = to_record(record_of, None)
    return ServiceBusMessage(
        body or record.body,
        message_id=record.message_id,
        subject=record.subject,
        application_properties={name.encode(): str(value) for name, value in record.properties.items()},
    )


async def dead_letter(story: Story, queue: str, message_id: str) -> None:
    """Have Service Bus give a message up: its lock runs out time after time."""
    job = story.azure.job
    async with job.client.get_queue_receiver(queue, socket_timeout=0.01) as receiver:
        for each in await receiver.receive_messages(max_message_count=20, max_wait_time=LIMIT):
            if each.message_id == message_id:
                await receiver.dead_letter_message(each, reason="MaxDeliveryCountExceeded")
                return
            await receiver.abandon_message(each)
    raise AssertionError(f"{message_id} was not received")


async def test_records_with_a_forged_scale_set_name_call_nothing(story: Story) -> None:
    forged = {name: operation(story, f"forged-{name.replace(' ', '-')}", targets=("0",)) for name in FORGED_NAMES}
    for name, record_of in forged.items():
        document = json.loads(to_record(record_of, None).body)
        document["scale_set"]["name"] = FORGED_NAMES[name]
        await story.azure.job.send_operations(message(record_of, json.dumps(document).encode()))
    ended = await story.finish(*(each.request_id for each in forged.values()))
    calls = story.azure.environment.arm.calls
    assert [call for call in calls if OTHER in call.path or story.subscription in call.path] == []
    codes = {name: ended[each.request_id].data["error"]["code"] for name, each in forged.items()}
    assert codes == dict.fromkeys(FORGED_NAMES, "UnreadableRecord")


async def test_record_for_a_scale_set_out_of_scope_calls_nothing(story: Story) -> None:
    forged = replace(operation(story, "out-of-scope", targets=("0",)), scale_set=ScaleSet(OTHER, "shop", "web"))
    await story.azure.job.send_operations(message(forged))
    ended = await story.finish("out-of-scope")
    assert ended["out-of-scope"].data["error"]["code"] == "ScopeNotAllowed"
    assert [call for call in story.azure.environment.arm.calls if OTHER in call.path] == []


async def test_dead_lettered_request_ends_as_rejected(story: Story) -> None:
    job = story.azure.job
    story.azure.environment.bus.faults.refuse(OPERATIONS, NOT_FOUND)
    story.place("0")
    await story.send("given-up")
    while not story.azure.environment.bus.counts(REQUESTS).dead_lettered:
        # Each delivery fails, and the tenth is the last.
        await story.tick()
        story.azure.environment.bus.faults.lose_locks(REQUESTS)
    story.azure.environment.bus.faults.reset()
    assert await job.worker.read_dead_letters() == 1
    ended = await story.finish("given-up")
    assert ended["given-up"].kind == "rejected"
    message = ended["given-up"].data["problems"][0]["message"]
    assert "Service Bus gave up delivering it: MaxDeliveryCountExceeded" in message
    assert message.endswith("; nothing was started, send it again")
    assert story.azure.environment.bus.counts(REQUESTS).dead_lettered == 0


async def test_dead_lettered_post_record_is_planned_again_and_posted_once(story: Story) -> None:
    story.place("0")
    fields: dict[str, Any] = {"planned": True, "waves": (("0",),), "batch": ("0",)}
    given_up = operation(story, "struck", targets=("0",), phase=Phase.POST, **fields)
    await story.azure.job.send_operations(message(given_up))
    await dead_letter(story, OPERATIONS, given_up.message_id)
    assert story.azure.calls(story.subscription) == []
    assert await story.azure.job.worker.read_dead_letters() == 1
    await story.finish(given_up.request_id)
    assert story.statuses(given_up.request_id) == ["Succeeded"]
    assert story.maintained() == {"0": 1}


async def test_nothing_is_left_in_a_dead_letter_queue(azure: Journey) -> None:
    assert [azure.environment.bus.counts(queue).dead_lettered for queue in (REQUESTS, OPERATIONS)] == [0, 0]
