"""A dead letter is one more delivery, and ends as an event."""

from __future__ import annotations

from dataclasses import replace

import pytest

from maintenance.domain.operation import Operation, Phase, Status
from maintenance.operations.records import read_record, to_record
from tests.support.fakes import Message
from tests.support.samples import NOW, new_operation, request_body
from tests.support.unit_environment import UnitEnvironment


def dead(environment: UnitEnvironment, operation: Operation) -> None:
    record = to_record(operation, NOW)
    message = Message(record.body, record.message_id, NOW, record.properties, record.correlation_id, record.subject)
    message.reason = "MaxDeliveryCountExceeded"
    environment.bus.operations_queue.dead.append(message)


async def struck(environment: UnitEnvironment, operation: Operation) -> Operation:
    dead(environment, operation)
    assert await environment.dead_letters.read() == 1
    assert environment.bus.operations_queue.dead == []
    (message,) = environment.bus.operations_queue.messages
    environment.bus.operations_queue.messages.clear()
    return read_record(message.body)


async def test_dead_request_ends_as_rejected_with_the_reason() -> None:
    environment = UnitEnvironment()
    environment.send(request_body(requestId="change-7"))
    (message,) = environment.bus.requests.take(1)
    environment.bus.requests.messages.clear()
    message.reason = "MaxDeliveryCountExceeded"
    environment.bus.requests.dead.append(message)
    await environment.dead_letters.read()
    await environment.tick()
    assert environment.end["status"] == "Rejected"
    assert environment.end["requestId"] == "change-7"
    assert "MaxDeliveryCountExceeded" in environment.end["problems"][0]["message"]


async def test_dead_request_whose_run_had_begun_changes_nothing() -> None:
    environment = UnitEnvironment()
    environment.send()
    (message,) = environment.bus.requests.take(1)
    message.locked_until = NOW
    await environment.deliver()
    message.reason = "MaxDeliveryCountExceeded"
    environment.bus.requests.dead.append(message)
    await environment.run()
    assert environment.end["status"] == "Succeeded"


@pytest.mark.parametrize(
    ("phase", "next_phase"), [("plan", "plan"), ("post", "plan"), ("judge", "judge"), ("track", "track")]
)
async def test_dead_record_goes_on_with_a_strike(phase: str, next_phase: str) -> None:
    after = await struck(UnitEnvironment(), new_operation(number=3, phase=Phase(phase), batch=("0",)))
    assert (after.number, after.strikes, after.phase.value) == (4, 1, next_phase)


async def test_third_strike_ends_the_run_with_what_is_known() -> None:
    after = await struck(UnitEnvironment(), new_operation(number=3, phase=Phase.PLAN, strikes=2))
    assert (after.phase, after.status) == (Phase.END, Status.FAILED)
    assert after.error is not None
    assert after.error.code == "DeadLettered"


async def test_wave_at_work_keeps_its_lease_after_the_third_strike() -> None:
    operation = new_operation(number=3, phase=Phase.TRACK, strikes=2, waves=(("0",),), batch=("0",), planned=True)
    assert (await struck(UnitEnvironment(), operation)).at_work


async def test_end_has_no_limit_of_strikes() -> None:
    over = new_operation(number=9, phase=Phase.END, status=Status.FAILED, ended_at=NOW, strikes=40)
    after = await struck(UnitEnvironment(), over)
    assert (after.phase, after.number, after.strikes) == (Phase.END, 10, 41)


async def test_dead_record_that_cannot_be_read_is_passed_on() -> None:
    environment = UnitEnvironment()
    dead(environment, new_operation(number=3))
    letter = environment.bus.operations_queue.dead[0]
    environment.bus.operations_queue.dead[0] = replace(letter, body=b"{}")
    await environment.dead_letters.read()
    (message,) = environment.bus.operations_queue.messages
    assert message.message_id.endswith(":s4")
    assert message.body == b"{}"


async def test_letter_stays_where_its_successor_cannot_be_sent() -> None:
    environment = UnitEnvironment()
    dead(environment, new_operation(number=3))
    environment.bus.down.add("operations")
    await environment.dead_letters.read()
    assert len(environment.bus.operations_queue.dead) == 1
