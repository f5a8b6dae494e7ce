"""The command line against a worker at work: what an operator does in a day, and that looking changes nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
import pytest_asyncio
from azure.servicebus.aio import ServiceBusClient

from maintenance.domain.resources import ScaleSet
from maintenance.operations.records import to_record
from maintenance.servicebus.messages import to_message
from maintenance_cli.commands.follow import Followed, follow
from maintenance_cli.exits import Code
from maintenance_cli.picture.runs import Run, State
from sandbox.resource_manager import EXAMPLE_RESOURCE_GROUP, EXAMPLE_SUBSCRIPTION_ID, InstanceSeed, ScaleSetSeed
from sandbox.servicebus import BusEvent, MessageCompleted, ServiceBus
from tests.cli.calling import Desk, call, piped, text_of
from tests.support.entities import COORDINATION, OPERATIONS, REQUESTS, TOPIC
from tests.support.environment import Environment, request
from tests.support.limit import LIMIT
from tests.support.running import Running
from tests.support.samples import new_operation

pytestmark = pytest.mark.asyncio(loop_scope="module")
T = TypeVar("T")
SET = "shop/web"
UNAUTHORIZED = "amqp:unauthorized-access"
AUDIT = f"{TOPIC}/Subscriptions/maintenance-audit"
EVERYTHING = (REQUESTS, OPERATIONS, COORDINATION, AUDIT, f"{TOPIC}/Subscriptions/all-events")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk(shared_job: Running) -> AsyncIterator[Desk]:
    desk = Desk(shared_job.environment)
    yield desk
    await desk.close()


@pytest.fixture
def slow(job: Running) -> str:
    """A scale set whose maintenance does not end while a test looks at it."""
    instances = tuple(InstanceSeed(str(at), update_domain=at // 2, duration=timedelta(hours=1)) for at in range(4))
    job.environment.arm.seed(ScaleSetSeed(EXAMPLE_SUBSCRIPTION_ID, EXAMPLE_RESOURCE_GROUP, "slow", instances=instances))
    return "shop/slow"


def state(bus: ServiceBus) -> list[Any]:
    """Every message of the namespace, how often it was delivered, and whether it is locked."""
    places = (*EVERYTHING, *(f"{entity}/$DeadLetterQueue" for entity in EVERYTHING))
    return [
        (place, each.message_id, each.delivery_count, each.state == "locked")
        for place in places
        for each in bus.peek(place, 10_000)
    ]


@asynccontextmanager
async def taken(job: Running) -> AsyncIterator[None]:
    """Send a request in this block; leaving it waits until the worker has handled it. Its timer does not fire."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def observer(event: BusEvent) -> None:
        if isinstance(event, MessageCompleted) and event.entity == REQUESTS:
            loop.call_soon_threadsafe(done.set)

    job.environment.bus.observers.add(observer)
    try:
        yield
        async with asyncio.timeout(LIMIT):
            await done.wait()
    finally:
        job.environment.bus.observers.remove(observer)


async def with_timer(job: Running, called: asyncio.Task[T]) -> T:
    """Fire the worker's timer until the call has ended."""
    while not called.done():
        await job.worker.poll()
        await asyncio.sleep(0.05)
    return called.result()


async def test_looking_at_a_request_shows_it_and_changes_no_delivery_count(job: Running, desk: Desk, slow: str) -> None:
    azure = job.environment
    async with taken(job):
        sent = await desk.call("send", slow, "--by-update-domain", "--yes", "--request-id", "look-1")
    assert (sent.code, sent.out) == (Code.AS_WISHED, "look-1\n")
    await job.until(lambda: any(each.subject == "track" for each in azure.bus.peek(OPERATIONS)))
    before = state(azure.bus)
    status = await desk.call("status", "look-1")
    assert status.code is Code.AS_WISHED
    assert "look-1  shop/slow  tracking" in status.out
    assert "wave 1 of 2  under way" in status.out
    assert "reason: sent by " in status.out
    listed = await desk.call("list", "-o", "json")
    (run,) = listed.document
    assert (run["requestId"], run["state"], len(run["waves"])) == ("look-1", "tracking", 2)
    for verb in (("list", "--all"), ("history",), ("watch", "look-1", "--timeout", "1")):
        assert (await desk.call(*verb)).code in (Code.AS_WISHED, Code.STILL_RUNNING)
    assert state(azure.bus) == before
    azure.arm.reset()
    await job.finish("look-1")


async def test_request_is_followed_to_its_end_and_its_code_tells_how_it_ended(job: Running, desk: Desk) -> None:
    waiting = asyncio.create_task(
        desk.call("send", "shop/batch", "--yes", "--wait", "--request-id", "wait-1", "-o", "json")
    )
    ended = await with_timer(job, waiting)
    assert ended.code is Code.AS_WISHED
    (run,) = ended.document
    assert (run["state"], run["status"], run["runId"] is not None) == ("ended", "Succeeded", True)
    again = await desk.call("watch", "wait-1")
    assert (again.code, "Succeeded" in again.out) == (Code.AS_WISHED, True)
    status = await desk.call("status", run["runId"], "-o", "json")
    assert status.document["requestId"] == "wait-1"
    history = await desk.call("history", "--id", "wait-1", "-o", "jsonl")
    events = [json.loads(line) for line in history.out.splitlines()]
    assert [event["kind"] for event in events] == ["accepted", "completed"]
    assert events[0]["reason"].startswith("sent by ")


async def test_request_that_another_holds_up_is_explained_and_canceled(job: Running, desk: Desk) -> None:
    held = ScaleSet(EXAMPLE_SUBSCRIPTION_ID, EXAMPLE_RESOURCE_GROUP, "api")
    await job.leave_lease(held, until=datetime.now(UTC) + timedelta(hours=1))
    async with taken(job):
        await desk.call("send", "shop/api", "--yes", "--request-id", "stop-1")
    (run,) = (await desk.call("status", "stop-1", "-o", "json")).document["runs"]
    assert (run["state"], run["heldBy"]) == ("planning", "crashed")
    assert any("Request crashed holds the scale set" in sentence for sentence in run["why"])
    canceling = desk.call("cancel", "stop-1", "--yes", "--wait", "--reason", "wrong night")
    ended = await with_timer(job, asyncio.create_task(canceling))
    assert (ended.code, "stop-1  shop/api  Canceled" in ended.out) == (Code.AS_WISHED, True)
    assert (await desk.call("watch", "stop-1")).code is Code.FAILED
    over = await desk.call("cancel", "stop-1", "--yes")
    assert (over.code, "has ended already, as Canceled" in over.err) == (Code.NOT_FOUND, True)
    history = await desk.call("history", "--set", "shop/api", "-o", "json")
    assert [event["reason"] for event in history.document if event["cancels"] == "stop-1"] == ["wrong night"]


async def test_request_whose_number_changed_when_it_fell_due_is_followed_on(job: Running, desk: Desk) -> None:
    """A scheduled message gets another number when it is enqueued, and so its run another id."""
    before = Run(request_id="later-1", run_id="0" * 32, state=State.WAITING)
    followed = replace(await Followed.before(desk.azure), wanted="later-1", runs={"0" * 32: before})
    await desk.call("send", "shop/idle", "--yes", "--request-id", "later-1")
    output = piped("json")
    code = await with_timer(job, asyncio.create_task(follow(desk.azure, output, followed, timeout=None, every=0.05)))
    assert code is Code.AS_WISHED
    assert [(run["requestId"], run["status"]) for run in json.loads(text_of(output.out))] == [
        ("later-1", "NothingToDo")
    ]


async def test_what_is_not_there_is_3(job: Running, desk: Desk) -> None:
    for verb in (("status", "nobody"), ("watch", "nobody"), ("cancel", "nobody", "--yes"), ("plan", "shop/none")):
        called = await desk.call(*verb)
        assert (called.code, called.out) == (Code.NOT_FOUND, ""), called.err
    idle = await desk.call("watch", "shop/idle")
    assert (idle.code, "Nothing waits or is under way on shop/idle" in idle.err) == (Code.NOT_FOUND, True)


async def test_plan_shows_waves_and_asks_service_bus_nothing(job: Running, desk: Desk) -> None:
    environment = {**job.environment.app_settings(), "ServiceBusConnection": ""}
    planned = await call(environment, "plan", "shop/batch", "--max-per-wave", "1", "--instance", "0", "--instance", "9")
    assert planned.code is Code.AS_WISHED
    assert "1 wave, 1 of 2 instances, at most 1 down at once" in planned.out
    assert "the scale set has no instance with this id" in planned.out
    as_json = (await call(environment, "plan", "shop/web", "--by-update-domain", "-o", "json")).document
    assert as_json["waves"] == [["0", "1"], ["3", "4"], ["6", "7"]]
    assert all(each["selfServiceWindowEnds"] for each in as_json["instances"])


async def test_without_terminal_nothing_is_asked_and_nothing_sent(job: Running, desk: Desk) -> None:
    azure = job.environment
    before = azure.bus.counts(REQUESTS)
    asked = await desk.call("send", SET)
    assert (asked.code, "Say --yes" in asked.err, "1 wave, 6 of 6" in asked.err) == (Code.USAGE, True, True)
    wrong = await desk.call("send", SET, "--max-per-wave", "0", "--pause", "soon", "--deadline", "x", "--yes")
    assert wrong.code is Code.USAGE
    assert [line.split(":")[0] for line in wrong.err.splitlines()] == [
        "deadline",
        "rollout.maxInstancesPerWave",
        "rollout.pauseBetweenWaves",
    ]
    assert azure.bus.counts(REQUESTS) == before


async def test_file_is_sent_as_it_is_with_what_it_lacks(job: Running, desk: Desk, tmp_path: Path) -> None:
    file = tmp_path / "request.json"
    file.write_text(json.dumps(request("idle", dryRun=True, reason="trial")))
    sent = await desk.call("send", "--file", str(file), "--yes", "-o", "json")
    ended = await job.finish(sent.document["requestId"])
    assert ended[sent.document["requestId"]].status == "NothingToDo"
    assert ended[sent.document["requestId"]].data["reason"] == "trial"
    file.write_text(json.dumps({"cancel": "x"}))
    for arguments in (("--file", str(file)), ("--file", "none"), (SET, "--file", str(file)), ()):
        assert (await desk.call("send", *arguments, "--yes")).code is Code.USAGE


async def test_refused_login_is_4_and_names_the_role(job: Running, desk: Desk) -> None:
    azure = job.environment
    azure.bus.faults.refuse(OPERATIONS, UNAUTHORIZED)
    try:
        refused = await desk.call("status", "x")
    finally:
        azure.bus.faults.accept(OPERATIONS)
    assert (refused.code, "Azure Service Bus Data Receiver" in refused.err) == (Code.DENIED, True)
    nobody = {**azure.app_settings(), "ARM_TOKEN_SCOPE": "api://another/.default"}
    denied = await call(nobody, "plan", SET)
    assert (denied.code, "az login" in denied.err) == (Code.DENIED, True)


async def test_what_is_away_is_9() -> None:
    settings = {
        "ServiceBusConnection": "Endpoint=sb://127.0.0.1:1;SharedAccessKeyName=n;SharedAccessKey=k;"
        "UseDevelopmentEmulator=true",
        "ARM_ENDPOINT": "http://127.0.0.1:1",
    }
    for verb in (("list",), ("status", "x")):
        away = await call(settings, *verb)
        assert (away.code, away.out) == (Code.UNREACHABLE, ""), away.err


async def test_missing_audit_subscription_is_called_unknown(job: Running, desk: Desk) -> None:
    azure = job.environment
    azure.bus.faults.refuse(AUDIT, "amqp:not-found")
    try:
        unknown = await desk.call("list", "--all")
        nowhere = await desk.call("status", "nobody")
    finally:
        azure.bus.faults.accept(AUDIT)
    assert (unknown.code, "Unknown: what ended" in unknown.err) == (Code.AS_WISHED, True)
    assert (nowhere.code, "what ended is not known" in nowhere.err) == (Code.NOT_FOUND, True)


async def test_status_of_one_among_a_thousand_takes_few_peeks(azure: Environment) -> None:
    """Counted, since time on a busy machine says nothing: full pages of 250, and one empty page for each entity."""
    azure.bus.peek_limit = 250
    records = [
        to_record(
            new_operation(run_id=f"{at:032x}", request_id=f"many-{at}"), new_operation().deadline.replace(year=2099)
        )
        for at in range(1000)
    ]
    async with (
        ServiceBusClient.from_connection_string(azure.bus.connection_string) as client,
        client.get_queue_sender(OPERATIONS) as sender,
    ):
        for start in range(0, 1000, 250):
            await sender.send_messages([to_message(each) for each in records[start : start + 250]])
    status = await call(azure, "status", "many-700", "-o", "json")
    assert status.document["runs"][0]["runId"] == f"{700:032x}"
    # The others: requests, coordination, two of dead letters, and the audit subscription twice.
    assert status.pages <= 5 + 6
    listed = await call(azure, "list", "-o", "jsonl")
    assert (len(listed.out.splitlines()), listed.pages) == (1000, 5 + 4)


async def test_scope_is_paused_seen_and_resumed_by_the_command_line(job: Running, desk: Desk) -> None:
    async with taken(job):
        paused = await desk.call("pause", "shop/idle", "--yes", "--until", "2h", "--reason", "incident 4711")
    assert paused.code is Code.AS_WISHED, paused.err
    assert f"history --id {paused.out.strip()}" in paused.err
    assert "virtualmachinescalesets/idle until 20" in (await desk.call("list")).err
    async with taken(job):
        await desk.call("send", "shop/idle", "--yes", "--request-id", "paused-1")
    await job.worker.poll()
    held = await desk.call("status", "paused-1")
    assert "(incident 4711)" in held.out
    async with taken(job):
        resumed = await desk.call("resume", "shop/idle", "--yes", "-o", "json")
    assert resumed.document["resume"]["scope"].endswith("/idle")
    assert "Paused" not in (await desk.call("list")).err
    await job.worker.poll()
    history = await desk.call("history", "--set", "shop/idle")
    assert ("pauses /subscriptions/" in history.out, "resumes /subscriptions/" in history.out) == (True, True)


async def test_pause_that_the_worker_would_refuse_is_not_sent(job: Running, desk: Desk) -> None:
    before = job.environment.bus.counts(REQUESTS)
    for arguments in (
        ("pause", "shop"),
        ("pause", "shop/idle", "--until", "soon"),
        ("pause", "shop/idle", "--until", "2020-01-01T00:00:00Z"),
        ("resume", "/subscriptions/x"),
    ):
        called = await desk.call(*arguments, "--yes")
        assert (called.code, called.out) == (Code.USAGE, ""), called.err
    asked = await desk.call("pause", EXAMPLE_SUBSCRIPTION_ID)
    assert (asked.code, "Say --yes" in asked.err) == (Code.USAGE, True)
    assert job.environment.bus.counts(REQUESTS) == before
