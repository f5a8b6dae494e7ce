"""A dead letter is one more delivery: what follows it is sent, and it ends in an event like any other."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from maintenance.domain.messages import Record
from maintenance.domain.operation import Operation, Phase, Reply, Status
from maintenance.operations.records import read_record, read_reply, to_record, to_reply_record
from tests.support.fake_bus import FakeQueue, Message
from tests.support.machine import judging, planned, posting, tracking
from tests.support.samples import NOW, RUN, request_body
from tests.support.unit_environment import UnitEnvironment

END = planned(("0",), phase=Phase.END, status=Status.FAILED, ended_at=NOW)


def kill(environment: UnitEnvironment, record: Record | Operation) -> None:
    """A record in the dead-letter queue of the operations queue."""
    sent = to_record(record, None) if isinstance(record, Operation) else record
    message = environment.bus._message(sent)
    message.reason = "MaxDeliveryCountExceeded"
    environment.bus.operations_queue.dead.append(message)


def dead_request(environment: UnitEnvironment, body: object = None, **options: str) -> Message:
    environment.send(body, **options)
    (message,) = environment.bus.requests.messages
    environment.bus.requests.messages.clear()
    message.reason = "MaxDeliveryCountExceeded"
    environment.bus.requests.dead.append(message)
    return message


async def read(environment: UnitEnvironment) -> list[Message]:
    """What follows the dead letters, in the operations queue."""
    await environment.dead_letters.read()
    return environment.bus.operations_queue.messages


@pytest.mark.parametrize("operation", [planned(("0",)), judging("0"), tracking("0")])
async def test_record_goes_on_with_a_strike(operation: Operation) -> None:
    environment = UnitEnvironment()
    kill(environment, operation)
    (message,) = await read(environment)
    struck = read_record(message.body)
    assert (struck.phase, struck.number, struck.strikes) == (operation.phase, operation.number + 1, 1)
    assert message.message_id == f"{RUN}:s{operation.number + 1}"
    assert environment.bus.operations_queue.dead == []


async def test_post_goes_back_to_plan() -> None:
    environment = UnitEnvironment()
    kill(environment, posting("0"))
    (message,) = await read(environment)
    assert read_record(message.body).phase is Phase.PLAN


async def test_third_strike_ends_the_run_and_names_the_reason() -> None:
    environment = UnitEnvironment()
    kill(environment, replace(tracking("0"), strikes=2))
    (message,) = await read(environment)
    end = read_record(message.body)
    assert (end.phase, end.status) == (Phase.END, Status.FAILED)
    await environment.tick()
    assert environment.end["error"]["code"] == "DeadLettered"
    assert "MaxDeliveryCountExceeded" in environment.end["error"]["message"]


async def test_end_has_no_limit_of_strikes() -> None:
    environment = UnitEnvironment()
    kill(environment, replace(END, strikes=50))
    (message,) = await read(environment)
    again = read_record(message.body)
    assert (again.phase, again.status, again.error) == (Phase.END, END.status, END.error)


async def test_reply_goes_on() -> None:
    environment = UnitEnvironment()
    reply = Reply(run_id=RUN, request_id="r", at=NOW, source="/q", number=4)
    kill(environment, to_reply_record(reply, None))
    (message,) = await read(environment)
    assert (message.message_id, message.subject) == (f"{RUN}:s5", "reply")
    assert read_reply(message.body) == replace(reply, number=5)


async def test_request_is_rejected_under_its_run_with_its_own_id() -> None:
    environment = UnitEnvironment()
    message = dead_request(environment, request_body(requestId="mine"))
    await environment.run()
    (end,) = environment.bus.ends
    assert (end.data["status"], end.data["requestId"]) == ("Rejected", "mine")
    assert "MaxDeliveryCountExceeded" in end.data["problems"][0]["message"]
    assert end.event_id == f"{end.data['runId']}:ended"
    assert message not in environment.bus.requests.dead


async def test_request_whose_run_had_begun_is_rejected_no_more() -> None:
    environment = UnitEnvironment()
    environment.send()
    (message,) = environment.bus.requests.messages
    await environment.deliver()
    message.reason = "MaxDeliveryCountExceeded"
    environment.bus.requests.dead.append(message)
    await environment.run()
    assert environment.end["status"] == "Succeeded"
    assert environment.bus.requests.dead == []


async def test_garbage_is_rejected_by_its_message_id() -> None:
    environment = UnitEnvironment()
    dead_request(environment, b"\xff\x00", message_id="odd")
    await environment.run()
    assert (environment.end["status"], environment.end["requestId"]) == ("Rejected", "odd")


async def test_message_that_an_alert_led_to_is_rejected_too() -> None:
    environment = UnitEnvironment()
    kill(environment, Record("alert-1", b'{"requestId": "alert-1"}', None, "request"))
    (message,) = await read(environment)
    assert message.subject == "reply"
    await environment.tick()
    assert (environment.end["status"], environment.end["requestId"]) == ("Rejected", "alert-1")


async def test_unreadable_record_is_passed_on_and_one_that_no_run_owns_is_completed() -> None:
    environment = UnitEnvironment()
    kill(environment, replace(to_record(tracking("0"), None), body=b"{}"))
    kill(environment, Record("poison", b"{}", None, "track"))
    (message,) = await read(environment)
    assert (message.message_id, message.body) == (f"{RUN}:s{tracking('0').number + 1}", b"{}")
    assert environment.bus.operations_queue.dead == []


async def test_what_cannot_be_sent_stays_a_dead_letter() -> None:
    environment = UnitEnvironment()
    dead_request(environment)
    kill(environment, tracking("0"))
    environment.bus.down = {"operations"}
    assert await read(environment) == []
    assert (len(environment.bus.requests.dead), len(environment.bus.operations_queue.dead)) == (1, 1)
    environment.bus.down = set()
    await environment.dead_letters.read()
    assert (environment.bus.requests.dead, environment.bus.operations_queue.dead) == ([], [])


async def test_dead_letter_read_twice_leads_to_one_successor() -> None:
    environment = UnitEnvironment()
    for _ in range(2):
        kill(environment, tracking("0"))
    assert len(await read(environment)) == 1


async def test_more_than_a_batch_is_read_at_once() -> None:
    environment = UnitEnvironment()
    for number in range(45):
        kill(environment, replace(tracking("0"), run_id=f"{number:032x}"))
    assert len(await read(environment)) == 45


def test_fake_queue_gives_up_after_its_deliveries() -> None:
    environment = UnitEnvironment()
    queue: FakeQueue = environment.bus.requests
    environment.send()
    for _ in range(11):
        queue.take(1)
        environment.clock.time += timedelta(minutes=5)
    assert [message.reason for message in queue.dead] == ["MaxDeliveryCountExceeded"]


# ---- without an operations queue


async def test_dead_request_without_an_operations_queue_ends_at_its_deadline_and_not_before() -> None:
    environment = UnitEnvironment()
    environment.bus.queue_missing = True
    message = dead_request(environment, request_body(requestId="mine"))
    environment.clock.time = NOW + timedelta(hours=6) - timedelta(seconds=1)
    assert await environment.dead_letters.end_overdue() == 0
    assert (environment.bus.ends, environment.bus.requests.dead) == ([], [message])
    environment.clock.time += timedelta(seconds=1)
    assert await environment.dead_letters.end_overdue() == 1
    assert (environment.end["status"], environment.end["requestId"]) == ("Rejected", "mine")
    assert "operations queue was not there" in environment.end["problems"][0]["message"]
    assert environment.bus.requests.dead == []


async def test_timer_of_dead_letters_ends_overdue_requests_too() -> None:
    environment = UnitEnvironment()
    environment.bus.queue_missing = True
    dead_request(environment, request_body(requestId="mine"))
    environment.clock.time = NOW + timedelta(hours=6)
    assert await environment.dead_letters.read() == 1
    assert environment.end["requestId"] == "mine"


async def test_dead_request_that_cannot_be_read_ends_at_the_apps_own_deadline() -> None:
    environment = UnitEnvironment()
    environment.bus.queue_missing = True
    dead_request(environment, b"\xff\x00", message_id="odd")
    assert await environment.dead_letters.end_overdue() == 0
    environment.clock.time = NOW + timedelta(hours=6)
    assert await environment.dead_letters.end_overdue() == 1


async def test_own_deadline_of_a_dead_request_counts() -> None:
    environment = UnitEnvironment()
    environment.bus.queue_missing = True
    dead_request(environment, request_body(deadline=(NOW + timedelta(hours=1)).isoformat()))
    environment.clock.time = NOW + timedelta(minutes=59)
    assert await environment.dead_letters.end_overdue() == 0
    environment.clock.time = NOW + timedelta(hours=1)
    assert await environment.dead_letters.end_overdue() == 1


async def test_end_that_cannot_be_published_leaves_the_dead_letter_where_it_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    environment = UnitEnvironment()
    environment.bus.queue_missing = True
    environment.bus.down = {"events"}
    message = dead_request(environment)
    environment.clock.time = NOW + timedelta(hours=6)
    assert await environment.dead_letters.end_overdue() == 0
    assert environment.bus.requests.dead == [message]
    assert "events is down" in caplog.text


async def test_tick_says_that_there_is_no_queue(caplog: pytest.LogCaptureFixture) -> None:
    environment = UnitEnvironment()
    environment.bus.queue_missing = True
    assert (await environment.tick()).queue_missing
    assert "there is no queue" in caplog.text
