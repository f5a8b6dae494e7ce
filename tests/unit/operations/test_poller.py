"""The timer's use case on fake queues: publish, run, send the successor, complete."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from maintenance.domain.errors import MessageTooLarge
from maintenance.domain.messages import Delivery, Record
from maintenance.domain.observations import ErrorDetail
from maintenance.domain.operation import Call, Operation, Owed, Phase, Status
from maintenance.lifecycle.events import ended
from maintenance.operations.records import to_record
from maintenance.operations.unreadable import LATER
from tests.support.fakes import FakeBus
from tests.support.samples import NOW, OPERATION_URL, new_operation, seconds
from tests.support.unit_environment import UnitEnvironment

RUNS = [f"{number:032x}" for number in range(8)]


def tracked(number: int = 0, **changes: object) -> Operation:
    """A run whose operation ARM works on."""
    operation = new_operation(
        run_id=RUNS[number],
        request_id=f"req-{number}",
        number=4,
        phase=Phase.TRACK,
        planned=True,
        waves=(("0", "1", "2"),),
        batch=("0", "1", "2"),
        calls=(Call(("0", "1", "2"), OPERATION_URL),),
        started_at=NOW,
        posted_at=NOW,
    )
    return replace(operation, **changes)  # type: ignore[arg-type] # any field


def over(number: int = 0) -> Operation:
    return tracked(
        number, phase=Phase.END, status=Status.FAILED, ended_at=NOW, error=ErrorDetail("Broken", "It broke.")
    )


async def put(environment: UnitEnvironment, *operations: Operation) -> None:
    await environment.bus.send([to_record(operation, NOW) for operation in operations])
    environment.bus.log.clear()


def waiting(environment: UnitEnvironment) -> list[str]:
    return sorted(message.message_id for message in environment.bus.operations_queue.messages)


async def test_record_is_completed_after_its_successor_was_sent() -> None:
    environment = UnitEnvironment()
    await put(environment, tracked())
    tick = await environment.tick()
    assert environment.bus.log == [f"send {RUNS[0]}:s5", f"complete {RUNS[0]}:s4"]
    assert (tick.taken, tick.persisted, tick.failed) == (1, 1, 0)


async def test_owed_events_are_published_before_anything_else() -> None:
    environment = UnitEnvironment()
    await put(environment, tracked(owed=(Owed("accepted", NOW),)))
    await environment.tick()
    assert environment.bus.log[0] == f"publish {RUNS[0]}:accepted"
    await environment.tick()
    assert [event.event_id for event in environment.bus.published] == [f"{RUNS[0]}:accepted"]


async def test_event_that_cannot_be_published_is_owed_by_the_successor_and_says_the_same() -> None:
    environment = UnitEnvironment()
    await put(environment, tracked(owed=(Owed("accepted", NOW),)))
    environment.bus.down.add("events")
    await environment.tick()
    assert waiting(environment) == [f"{RUNS[0]}:s5"]
    environment.bus.down.clear()
    environment.clock.time += timedelta(minutes=5)
    await environment.tick()
    assert environment.bus.published[0].event_id == f"{RUNS[0]}:accepted"
    assert environment.bus.published[0].time == NOW


async def test_end_that_cannot_be_published_releases_nothing_and_is_sent_again_later() -> None:
    environment = UnitEnvironment()
    await put(environment, over())
    environment.bus.down.add("events")
    await environment.tick()
    assert waiting(environment) == [f"{RUNS[0]}:s5"]
    environment.bus.down.clear()
    environment.clock.time += timedelta(minutes=2)
    await environment.tick()
    assert [event.to_json() for event in environment.bus.published] == [ended(over()).to_json()]


async def test_failing_send_leaves_the_messages_to_their_lock() -> None:
    environment = UnitEnvironment()
    await put(environment, tracked(0), tracked(1))
    environment.bus.down.add("operations")
    await environment.tick()
    assert waiting(environment) == [f"{RUNS[0]}:s4", f"{RUNS[1]}:s4"]
    environment.bus.down.clear()
    environment.clock.time += timedelta(minutes=5)
    await environment.tick()
    assert waiting(environment) == [f"{RUNS[0]}:s5", f"{RUNS[1]}:s5"]


async def test_successor_that_is_too_large_harms_no_other(caplog: pytest.LogCaptureFixture) -> None:
    environment = UnitEnvironment()
    await put(environment, tracked(0), tracked(1))
    send = environment.bus.send

    async def picky(records: Sequence[Record]) -> None:
        if any(record.message_id.startswith(RUNS[0]) for record in records):
            raise MessageTooLarge("a message is larger than Service Bus takes")
        await send(records)

    environment.bus.send = picky  # type: ignore[method-assign] # of a fake
    tick = await environment.tick()
    assert waiting(environment) == [f"{RUNS[0]}:s4", f"{RUNS[1]}:s5"]
    assert tick.failed == 1
    assert f"{RUNS[0]}:s4 is left to its lock" in caplog.text


async def test_unexpected_error_leaves_its_message_for_redelivery_and_names_no_value(
    caplog: pytest.LogCaptureFixture,
) -> None:
    environment = UnitEnvironment()
    await put(environment, tracked(0), tracked(1))
    environment.arm.poll_answers = [RuntimeError("a secret")]
    await environment.tick()
    assert len([each for each in waiting(environment) if each.endswith(":s4")]) == 1
    assert "failed unexpectedly: RuntimeError at " in caplog.text
    assert "secret" not in caplog.text


async def test_each_record_is_settled_when_it_is_done_though_another_hangs() -> None:
    environment = UnitEnvironment()
    await put(environment, tracked(0), tracked(1))
    hangs, go_on = asyncio.Event(), asyncio.Event()
    read = environment.arm.read_operation

    async def read_operation(scale_set: object, call: Call) -> object:
        if not hangs.is_set():
            hangs.set()
            await go_on.wait()
        return await read(scale_set, call)  # type: ignore[arg-type] # passed on

    environment.arm.read_operation = read_operation  # type: ignore[method-assign,assignment] # of a fake
    ticking = asyncio.create_task(environment.tick())
    await hangs.wait()
    while len([each for each in waiting(environment) if each.endswith(":s5")]) < 1:
        await asyncio.sleep(0)
    assert len([each for each in waiting(environment) if each.endswith(":s4")]) == 1
    go_on.set()
    await ticking
    assert waiting(environment) == [f"{RUNS[0]}:s5", f"{RUNS[1]}:s5"]


async def test_record_of_a_newer_version_is_passed_on_unread_and_ended_at_its_deadline() -> None:
    environment = UnitEnvironment()
    record = to_record(tracked(), NOW)
    await environment.bus.send([replace(record, body=b'{"schemaVersion":3}')])
    tick = await environment.tick()
    assert tick.unreadable == 1
    (message,) = environment.bus.operations_queue.messages
    assert (message.message_id, message.body, message.due) == (f"{RUNS[0]}:s5", b'{"schemaVersion":3}', NOW + LATER)
    while environment.clock() < tracked().deadline + LATER:
        environment.clock.time += LATER
        await environment.tick()
    (event,) = environment.bus.ends
    assert event.data["requestId"] == "req-0"
    assert event.data["error"]["code"] == "UnreadableRecord"


async def test_message_that_no_run_owns_is_dropped_with_a_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    environment = UnitEnvironment()
    await environment.bus.send([Record("whatever", b"garbage", NOW, "track")])
    await environment.tick()
    assert waiting(environment) == []
    assert "Dropped message whatever" in caplog.text


async def test_message_with_a_subject_of_the_intake_goes_there_and_nowhere_else() -> None:
    environment = UnitEnvironment()
    seen: list[Delivery] = []

    async def intake(delivery: Delivery) -> None:
        seen.append(delivery)

    environment.poller._intake = {"request": intake}
    await environment.bus.send([Record("alert-1", b"{}", None, "request")])
    await environment.tick()
    assert [delivery.message_id for delivery in seen] == ["alert-1"]
    assert waiting(environment) == []


async def test_tick_takes_nothing_before_it_is_due() -> None:
    environment = UnitEnvironment()
    await environment.bus.send([to_record(tracked(), NOW + seconds(1))])
    assert (await environment.tick()).taken == 0


async def test_tick_takes_no_more_when_its_time_is_over() -> None:
    environment = UnitEnvironment(tick_budget=timedelta(0))
    await put(environment, tracked())
    assert (await environment.tick()).taken == 0


async def test_runs_of_one_scale_set_that_end_together_share_one_listing() -> None:
    environment = UnitEnvironment()
    done = [
        tracked(n, calls=(Call(("0",), ended="succeeded"),), batch=("0",), final_at=NOW - seconds(1)) for n in range(3)
    ]
    await put(environment, *done)
    await environment.tick()
    assert environment.arm.looks == 1


async def test_handlers_of_one_process_share_one_working_off() -> None:
    environment = UnitEnvironment()
    opened = 0
    operations = environment.bus.operations

    def counted(self: FakeBus = environment.bus) -> object:
        nonlocal opened
        opened += 1
        return operations()

    environment.bus.operations = counted  # type: ignore[method-assign,assignment] # of a fake
    await asyncio.gather(*(environment.poller.work_off() for _ in range(16)))
    assert opened == 2  # one at work, and once more for all who came meanwhile


async def test_tick_says_in_one_line_what_it_did(caplog: pytest.LogCaptureFixture) -> None:
    environment = UnitEnvironment()
    await put(environment, tracked())
    with caplog.at_level(logging.INFO):
        await environment.tick()
        await environment.tick()
    lines = [record.getMessage() for record in caplog.records if "Tick ended" in record.getMessage()]
    assert lines == [
        "Tick ended: 1 taken, 1 persisted for later, 0 ended, 0 unreadable, 0 left to their lock",
    ]
