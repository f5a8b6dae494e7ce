"""Dead letters: chosen, copied with their request id, replayed once however often the command is killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient

from maintenance_cli.exits import Code
from maintenance_cli.picture.dead import LONGEST_TRACE_STATE, MEMBER, chosen, copy_of, was_sent
from maintenance_cli.picture.messages import Entity, Peeked
from sandbox.servicebus import BusEvent, MessageCompleted, MessageReceived, MessageSent
from tests.cli.calling import Desk
from tests.support.contract_watch import CONTRACT_WATCH
from tests.support.entities import REQUESTS, SUBSCRIPTION, TOPIC
from tests.support.environment import Environment, request
from tests.support.limit import LIMIT
from tests.support.running import running
from tests.support.samples import NOW, SCALE_SET

ROOT = Path(__file__).parents[2]
QUEUE = Entity(REQUESTS)
DEAD = f"{REQUESTS}/$DeadLetterQueue"
READER = f"{TOPIC}/{SUBSCRIPTION}"


def dead(body: object, **changes: Any) -> Peeked:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Peeked(**{"number": 7, "message_id": "m-1", "body": raw, "enqueued_at": NOW, **changes})


def test_copy_has_another_id_and_keeps_the_request_id_in_its_body() -> None:
    message = dead({"resourceId": SCALE_SET.resource_id})
    copy = copy_of(message, QUEUE, NOW, of_requests=True)
    assert copy.message_id.startswith("replay-")
    assert json.loads(copy.body)["requestId"] == "m-1"
    assert copy_of(message, QUEUE, NOW + timedelta(days=1), of_requests=True) == copy
    assert copy_of(dead({}, number=8), QUEUE, NOW, of_requests=True).message_id != copy.message_id


@pytest.mark.parametrize(
    "body",
    [
        {"resourceId": SCALE_SET.resource_id, "requestId": "own"},
        {"resourceId": SCALE_SET.resource_id, "cancel": "own"},
        {"schemaId": "azureMonitorCommonAlertSchema", "data": {}},
        b"not JSON",
    ],
)
def test_body_that_needs_or_has_no_request_id_is_sent_as_it_is(body: object) -> None:
    message = dead(body)
    assert copy_of(message, QUEUE, NOW, of_requests=True).body == message.body


def test_request_in_an_envelope_keeps_its_id_in_the_data() -> None:
    event = {"specversion": "1.0", "type": "vmss.maintenance.request.v1", "data": {"resourceId": SCALE_SET.resource_id}}
    copy = copy_of(dead(event), QUEUE, NOW, of_requests=True)
    assert json.loads(copy.body) == {**event, "data": {**event["data"], "requestId": "m-1"}}  # type: ignore[dict-item] # data is a dict


def test_mark_is_in_the_trace_state_which_stays_short() -> None:
    state = ",".join([f"{MEMBER}=older", "a=1", *(f"v{at}={'x' * 60}" for at in range(20))])
    properties = {"traceparent": f"00-{'1' * 32}-{'2' * 16}-01", "tracestate": state}
    copy = copy_of(dead({}, properties=properties), QUEUE, NOW, of_requests=True)
    assert copy.properties["tracestate"].startswith(f"{copy.mark.decode()},a=1,")
    assert len(copy.properties["tracestate"]) <= LONGEST_TRACE_STATE
    assert "older" not in copy.properties["tracestate"]
    assert "traceparent" not in copy.properties
    assert was_sent(copy, [dead(b"..." + copy.mark + b"...")]) is not None
    assert was_sent(copy, [dead(b"", message_id=copy.message_id)]) is not None
    assert was_sent(copy, [dead({})]) is None


def test_deadline_that_has_passed_is_remarked() -> None:
    passed = {"resourceId": SCALE_SET.resource_id, "deadline": (NOW - timedelta(hours=1)).isoformat()}
    assert "deadline" in str(copy_of(dead(passed), QUEUE, NOW, of_requests=True).remark)


def test_dead_letters_are_chosen_by_any_of_their_ids_and_by_reason() -> None:
    one = dead({"requestId": "r-1"}, number=1, dead_letter_reason="MaxDeliveryCountExceeded")
    two = dead({"requestId": "r-2"}, number=2, message_id="m-2", dead_letter_description="lock lost")
    assert [chosen([one, two], [name], None) for name in ("r-1", "m-2", "2", "x")] == [[one], [two], [two], []]
    assert chosen([one, two], None, "LOCK") == [two]
    assert chosen([one, two], ["r-1"], "lock") == []


# ------------------------------------------------------------------------------------------------ against the sandbox


async def die(azure: Environment, *bodies: object, entity: str = REQUESTS) -> None:
    """Have messages dead-lettered, as a handler that fails would."""
    async with ServiceBusClient.from_connection_string(azure.bus.connection_string) as client:
        topic, _, subscription = entity.partition("/")
        to = client.get_topic_sender(topic) if subscription else client.get_queue_sender(topic)
        source = client.get_queue_receiver(topic)
        if subscription:
            source = client.get_subscription_receiver(topic, subscription)
        async with to as sender, source as receiver:
            for at, body in enumerate(bodies):
                raw = json.dumps(body).encode()
                await sender.send_messages(ServiceBusMessage(raw, message_id=f"dead-{at}", correlation_id="c-1"))
            for _ in bodies:
                (message,) = await receiver.receive_messages(max_message_count=1, max_wait_time=LIMIT)
                await receiver.dead_letter_message(message, reason="GivenUp", error_description="it failed")


@pytest_asyncio.fixture
async def desk(azure: Environment) -> AsyncIterator[Desk]:
    desk = Desk(azure)
    yield desk
    await desk.close()
    CONTRACT_WATCH.forget()


async def test_dead_letters_are_listed_shown_tried_and_replayed(azure: Environment, desk: Desk) -> None:
    await die(azure, request("api"), request("web", requestId="own"), request("idle"))
    before = azure.bus.peek(DEAD)
    listed = await desk.call("dlq", "list", "-o", "json")
    assert [(each["requestId"], each["reason"]) for each in listed.document] == [
        (name, "GivenUp: it failed") for name in ("dead-0", "own", "dead-2")
    ]
    status = await desk.call("status", "own")
    assert (status.code, "own  shop/web  dead letter" in status.out, "it failed" in status.out) == (0, True, True)
    shown = await desk.call("dlq", "show", "requests", "--id", "own")
    assert '"vmScaleSetName": "web"' in shown.out
    tried = await desk.call("dlq", "replay", "requests", "--all", "--dry-run", "-o", "json")
    assert (tried.code, [each["result"] for each in tried.document]) == (Code.AS_WISHED, ["would be replayed"] * 3)
    unasked = await desk.call("dlq", "replay", "requests", "--all")
    assert (unasked.code, "Say --yes" in unasked.err) == (Code.USAGE, True)
    assert azure.bus.peek(DEAD) == before
    replayed = await desk.call("dlq", "replay", "requests", "--id", "own", "--id", "dead-0", "--yes")
    assert (replayed.code, len(replayed.out.splitlines())) == (Code.AS_WISHED, 2), replayed.err
    copies = azure.bus.peek(REQUESTS)
    assert [json.loads(each.body)["requestId"] for each in copies] == ["dead-0", "own"]
    assert all(each.message_id.startswith("replay-") and each.correlation_id == "c-1" for each in copies)
    assert [each.dead_letter_reason for each in copies] == [None, None]
    assert [each.message_id for each in azure.bus.peek(DEAD)] == ["dead-2"]
    purged = await desk.call("dlq", "purge", "requests", "--reason", "given", "--yes")
    assert (purged.code, azure.bus.peek(DEAD)) == (Code.AS_WISHED, [])
    gone = await desk.call("dlq", "show", "requests", "--id", "own")
    assert gone.code is Code.NOT_FOUND


async def test_dead_letter_of_the_audit_subscription_is_listed_unasked(azure: Environment, desk: Desk) -> None:
    audit = f"{TOPIC}/maintenance-audit"
    await die(azure, {"an": "event"}, entity=audit)
    listed = await desk.call("dlq", "list")
    assert audit in listed.out
    purged = await desk.call("dlq", "purge", audit, "--all", "--yes")
    assert (purged.code, "1 purged" in purged.err) == (Code.AS_WISHED, True)


async def test_dead_letter_of_a_subscription_goes_to_its_reader_and_never_to_the_topic(
    azure: Environment, desk: Desk
) -> None:
    await die(azure, {"an": "event"}, entity=READER)
    audit = azure.bus.peek(f"{TOPIC}/Subscriptions/maintenance-audit")
    for arguments in ((), ("--to", TOPIC)):
        refused = await desk.call("dlq", "replay", READER, "--all", "--yes", *arguments)
        assert (refused.code, "--to" in refused.err) == (Code.USAGE, True)
    done = await desk.call("dlq", "replay", READER, "--all", "--yes", "--to", REQUESTS)
    assert (done.code, [each.body for each in azure.bus.peek(REQUESTS)]) == (Code.AS_WISHED, [b'{"an": "event"}'])
    assert azure.bus.peek(f"{TOPIC}/Subscriptions/maintenance-audit") == audit
    for action in ("replay", "purge"):
        refused = await desk.call("dlq", action, "operations", "--all", "--yes")
        assert (refused.code, "itself ends" in refused.err) == (Code.USAGE, True)


def kills_at(point: int, process: list[asyncio.subprocess.Process]) -> Any:
    """An observer that kills the command at its `point`-th step, counted over the steps at which a kill could matter:
    a dead letter locked, a copy sent, a dead letter completed."""
    steps = 0

    def observe(event: BusEvent) -> None:
        nonlocal steps
        matters = (isinstance(event, (MessageReceived, MessageCompleted)) and event.entity == DEAD) or (
            isinstance(event, MessageSent) and event.entity == REQUESTS
        )
        if matters and process:
            steps += 1
            if steps == point:
                os.kill(process[0].pid, signal.SIGKILL)

    return observe


async def replay(services: Environment, *, kill_at: int) -> int | None:
    """Run the command in a process of its own. Returns its exit code, negative where it was killed."""
    process: list[asyncio.subprocess.Process] = []
    observer = kills_at(kill_at, process)
    services.bus.observers.add(observer)
    try:
        command = (sys.executable, "-m", "maintenance_cli", "dlq", "replay", REQUESTS, "--all", "--yes")
        process.append(
            await asyncio.create_subprocess_exec(
                *command, cwd=ROOT, env={**os.environ, **services.app_settings()}, stdout=DEVNULL, stderr=PIPE
            )
        )
        _, err = await process[0].communicate()
        assert b"unexpectedly" not in err, err
        return process[0].returncode
    finally:
        services.bus.observers.remove(observer)


async def test_replay_killed_at_any_point_loses_nothing_and_replays_nothing_twice(
    azure: Environment, desk: Desk
) -> None:
    """One story, since each process costs a second: killed with both locked, with the first copy sent, with the first
    completed, and with the second sent, which the worker deals with before the command is run again."""
    await die(azure, request("api"), request("web", requestId="own", dryRun=True))
    for point, dead_left, sent_by_then in (
        (1, ["dead-0", "dead-1"], []),
        (3, ["dead-0", "dead-1"], ["dead-0"]),
        (3, ["dead-1"], ["dead-0"]),
        (2, ["dead-1"], ["dead-0", "own"]),
    ):
        assert await replay(azure, kill_at=point) == -signal.SIGKILL
        # What the killed one had locked is there again.
        azure.bus.faults.lose_locks(DEAD)
        assert [each.message_id for each in azure.bus.peek(DEAD)] == dead_left
        assert [json.loads(each.body)["requestId"] for each in azure.bus.peek(REQUESTS)] == sent_by_then
    async with running(azure) as job:
        await job.finish("dead-0", "own")
    again = await desk.call("dlq", "replay", "requests", "--all", "--yes")
    assert (again.code, "was sent before" in again.err) == (Code.AS_WISHED, True)
    assert (azure.bus.peek(DEAD), azure.bus.peek(REQUESTS)) == ([], [])
