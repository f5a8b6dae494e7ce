"""A tick: what is owed is published, what is due is run, its successor sent, and only then is it completed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from maintenance.coordination.entries import Lease
from maintenance.domain.errors import BusUnavailable, MessageTooLarge, TransientError, UntrustedUrl
from maintenance.domain.messages import Delivery, Record
from maintenance.domain.observations import ErrorDetail, Reading, Throttled
from maintenance.domain.operation import Call, Operation, Owed, Phase, Reply, Status
from maintenance.domain.resources import ScaleSet, Scope
from maintenance.operations.poller import FURTHER_WAIT, Poller
from maintenance.operations.records import read_record, to_record, to_reply_record
from tests.support.fake_arm import all_eligible
from tests.support.fake_bus import Message
from tests.support.machine import tracking
from tests.support.samples import (
    NOW,
    OTHER_SUBSCRIPTION,
    RUN,
    SCALE_SET,
    SUBSCRIPTION,
    request_body,
    seconds,
)
from tests.support.unit_environment import UnitEnvironment

BUSY = ErrorDetail("TooManyRequests", "Later, please.")
BROKEN = ErrorDetail("HostBroken", "The host broke.")


def run_id(number: int) -> str:
    return f"{number:032x}"


def put(environment: UnitEnvironment, *records: Record | Operation) -> None:
    """Into the operations queue, due now."""
    for each in records:
        record = to_record(each, None) if isinstance(each, Operation) else each
        environment.bus.operations_queue.send(environment.bus._message(record))


def running(number: int, subscription: str = SUBSCRIPTION, **changes: Any) -> Operation:
    """A TRACK record of a run of its own, on a scale set of its own."""
    call = Call(("0",), f"https://management.azure.com/{number}?s=secret")
    return replace(
        tracking("0", calls=(call,)),
        run_id=run_id(number),
        request_id=f"r{number}",
        scale_set=ScaleSet(subscription, "web-rg", "web"),
        number=0,
        **changes,
    )


def ended(number: int = 1, **changes: Any) -> Operation:
    ended = replace(running(number), phase=Phase.END, status=Status.SUCCEEDED, ended_at=NOW)
    return replace(ended, **changes)


def queued(environment: UnitEnvironment) -> dict[str, Message]:
    return {message.message_id: message for message in environment.bus.operations_queue.messages}


async def taken() -> UnitEnvironment:
    """A request whose POST was taken, with its first poll due."""
    environment = UnitEnvironment()
    environment.send()
    await environment.deliver()
    await environment.tick()
    environment.clock.time = NOW + seconds(60)
    environment.bus.log.clear()
    return environment


# ---- the order of things


async def test_running_operation_is_sent_on_for_its_next_poll_and_then_completed() -> None:
    environment = await taken()
    (message,) = environment.bus.operations_queue.messages
    tick = await environment.tick()
    assert (tick.taken, tick.persisted, tick.ended, tick.failed) == (1, 1, 0, 0)
    run, _, number = message.message_id.partition(":s")
    successor = f"{run}:s{int(number) + 1}"
    assert environment.bus.log == [f"send {successor}", f"complete {message.message_id}"]
    assert queued(environment)[successor].due == NOW + seconds(120)


async def test_nothing_is_taken_before_it_is_due() -> None:
    environment = await taken()
    environment.clock.time -= seconds(1)
    assert (await environment.tick()).taken == 0
    assert environment.arm.polls == 0


async def test_what_is_owed_is_published_before_anything_else_and_owed_no_more() -> None:
    environment = UnitEnvironment()
    put(environment, running(1, owed=(Owed("accepted", NOW),)))
    await environment.tick()
    assert environment.bus.log[0] == f"publish {run_id(1)}:accepted"
    assert read_record(queued(environment)[f"{run_id(1)}:s1"].body).owed == ()


async def test_owed_event_that_cannot_be_published_is_carried_along_and_the_run_goes_on() -> None:
    environment = UnitEnvironment()
    environment.bus.down = {"events"}
    owed = (Owed("accepted", NOW),)
    put(environment, running(1, owed=owed))
    tick = await environment.tick()
    assert tick.persisted == 1
    assert environment.arm.polls == 1
    assert read_record(queued(environment)[f"{run_id(1)}:s1"].body).owed == owed


async def test_end_is_published_and_its_lease_released_before_it_is_completed() -> None:
    environment = UnitEnvironment()
    held = Lease(run_id=run_id(1), request_id="r1", scale_set=SCALE_SET.key, until=NOW + timedelta(hours=7))
    await environment.coordination.put(held)
    await environment.coordination.put(replace(held, run_id=run_id(2)))
    put(environment, ended())
    tick = await environment.tick()
    assert (tick.ended, tick.persisted) == (1, 0)
    assert environment.bus.log == [f"publish {run_id(1)}:ended", f"complete {run_id(1)}:s0"]
    assert [entry.run_id for entry in environment.coordination.entries] == [run_id(2)]


async def test_end_that_cannot_be_published_sends_itself_again_and_releases_nothing() -> None:
    environment = UnitEnvironment()
    held = Lease(run_id=run_id(1), request_id="r1", scale_set=SCALE_SET.key, until=NOW + timedelta(hours=7))
    await environment.coordination.put(held)
    environment.bus.down = {"events"}
    put(environment, ended())
    assert (await environment.tick()).ended == 0
    (message,) = environment.bus.operations_queue.messages
    assert (message.message_id, message.subject) == (f"{run_id(1)}:s1", "end")
    assert message.due == NOW + timedelta(minutes=1)
    assert environment.coordination.entries
    environment.bus.down = set()
    environment.clock.time = message.due
    assert (await environment.tick()).ended == 1
    assert [event.event_id for event in environment.bus.published] == [f"{run_id(1)}:ended"]
    assert environment.coordination.entries == []


async def test_reply_is_published_and_completed_or_sent_again() -> None:
    environment = UnitEnvironment()
    environment.bus.down = {"events"}
    put(environment, to_reply_record(Reply(run_id=RUN, request_id="r", at=NOW, source="/q"), None))
    await environment.tick()
    (message,) = environment.bus.operations_queue.messages
    assert (message.message_id, message.due) == (f"{RUN}:s1", NOW + timedelta(minutes=1))
    environment.bus.down = set()
    environment.clock.time = message.due
    await environment.tick()
    assert [event.event_id for event in environment.bus.published] == [f"{RUN}:ended"]
    assert environment.bus.operations_queue.messages == []


async def test_redelivered_post_sends_plan_and_posts_nothing() -> None:
    environment = UnitEnvironment()
    environment.send()
    await environment.deliver()
    while not any(message.subject == "post" for message in environment.bus.operations_queue.messages):
        await one_delivery(environment)
    (post,) = environment.bus.operations_queue.messages
    post.deliveries = 1
    await one_delivery(environment)
    assert environment.arm.posted == []
    assert [message.subject for message in environment.bus.operations_queue.messages] == ["plan"]
    await environment.run()
    assert environment.arm.maintained == {"0": 1, "1": 1, "2": 1}


async def one_delivery(environment: UnitEnvironment) -> None:
    """A tick that ends after the first batch."""
    times = iter([0.0, 0.0])
    poller = Poller(
        environment.runner,
        environment.bus,
        environment.settings,
        intake={},
        now=environment.clock,
        monotonic=lambda: next(times, 1e9),
    )
    await poller.tick()


# ---- one that fails harms no other


async def test_unexpected_error_leaves_its_message_to_the_lock_and_harms_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    environment = UnitEnvironment()
    put(environment, running(1), running(2))
    environment.arm.poll_answers = [RuntimeError("token eyJsecret")]
    tick = await environment.tick()
    assert (tick.taken, tick.failed, tick.persisted) == (2, 1, 1)
    assert set(queued(environment)) == {f"{run_id(1)}:s0", f"{run_id(2)}:s1"}
    assert f"{run_id(1)}:s0 failed unexpectedly: " in caplog.text
    assert "eyJsecret" not in caplog.text


async def test_record_too_large_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = UnitEnvironment()
    put(environment, running(1), running(2), running(3))
    send = environment.bus.send

    async def refuse(records: list[Record]) -> None:
        if any(record.message_id.startswith(run_id(2)) for record in records):
            raise MessageTooLarge("too large")
        await send(records)

    monkeypatch.setattr(environment.bus, "send", refuse)
    tick = await environment.tick()
    assert (tick.persisted, tick.failed) == (2, 1)
    assert set(queued(environment)) == {f"{run_id(1)}:s1", f"{run_id(2)}:s0", f"{run_id(3)}:s1"}


async def test_failing_send_completes_nothing_and_ends_the_tick_with_a_log(caplog: pytest.LogCaptureFixture) -> None:
    environment = await taken()
    before = set(queued(environment))
    environment.bus.down = {"operations"}
    await environment.tick()
    assert "Tick ended early" in caplog.text
    assert set(queued(environment)) == before
    assert not [step for step in environment.bus.log if step.startswith("complete")]
    environment.bus.down = set()
    await environment.run()
    assert environment.end["status"] == "Succeeded"
    assert environment.arm.maintained == {"0": 1, "1": 1, "2": 1}


async def test_failing_send_does_not_cut_off_what_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = UnitEnvironment()
    put(environment, running(1), running(2))
    going, gate, send = [], asyncio.Event(), environment.bus.send
    read = environment.arm.read_operation

    async def slow(scale_set: ScaleSet, call: Call) -> Reading:
        if (call.url or "").startswith("https://management.azure.com/2"):
            await gate.wait()
            going.append(2)
        return await read(scale_set, call)

    async def refuse(records: list[Record]) -> None:
        if records[0].message_id.startswith(run_id(1)):
            gate.set()
            raise BusUnavailable("away")
        await send(records)

    monkeypatch.setattr(environment.arm, "read_operation", slow)
    monkeypatch.setattr(environment.bus, "send", refuse)
    await environment.tick()
    assert going == [2]
    assert set(queued(environment)) == {f"{run_id(1)}:s0", f"{run_id(2)}:s1"}


async def test_each_is_settled_when_it_is_done_and_not_with_the_slowest(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = UnitEnvironment()
    put(environment, running(1), running(2))
    sent, send, read = asyncio.Event(), environment.bus.send, environment.arm.read_operation

    async def slow(scale_set: ScaleSet, call: Call) -> Reading:
        if (call.url or "").startswith("https://management.azure.com/1"):
            await asyncio.wait_for(sent.wait(), 5)
        return await read(scale_set, call)

    async def note(records: list[Record]) -> None:
        await send(records)
        sent.set()

    monkeypatch.setattr(environment.arm, "read_operation", slow)
    monkeypatch.setattr(environment.bus, "send", note)
    await environment.tick()
    assert set(queued(environment)) == {f"{run_id(1)}:s1", f"{run_id(2)}:s1"}


async def test_what_is_done_right_after_the_first_of_a_batch_is_sent_in_one_list_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    environment = UnitEnvironment()
    put(environment, *(running(number) for number in range(20)))
    sent: list[int] = []
    send, read, before = environment.bus.send, environment.arm.read_operation, asyncio.Lock()

    async def one_after_the_other(scale_set: ScaleSet, call: Call) -> Reading:
        async with before:
            await asyncio.sleep(0)
            return await read(scale_set, call)

    async def note(records: list[Record]) -> None:
        sent.append(len(records))
        await send(records)

    monkeypatch.setattr(environment.arm, "read_operation", one_after_the_other)
    monkeypatch.setattr(environment.bus, "send", note)
    await environment.tick()
    assert sent == [20]


# ---- what cannot be read


@pytest.mark.parametrize("body", [b"\x00\xff", b"{}", b'{"schemaVersion": 3}', b'{"schemaVersion": 2}'])
async def test_garbage_that_no_run_owns_is_dropped_with_a_log_and_harms_no_other(
    body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    environment = UnitEnvironment()
    environment.bus.operations_queue.send(Message(body, "poison", NOW))
    put(environment, running(1))
    tick = await environment.tick()
    assert (tick.unreadable, tick.persisted) == (1, 1)
    assert set(queued(environment)) == {f"{run_id(1)}:s1"}
    assert "poison" in caplog.text


def unread(operation: Operation, body: bytes = b'{"schemaVersion": 3}') -> Record:
    return replace(to_record(operation, None), body=body)


async def test_unreadable_record_is_passed_on_unread_under_the_next_number() -> None:
    environment = UnitEnvironment()
    before = unread(running(1))
    put(environment, before)
    await environment.tick()
    (message,) = environment.bus.operations_queue.messages
    assert (message.message_id, message.body, message.subject) == (f"{run_id(1)}:s1", before.body, "track")
    assert (message.due, message.properties) == (NOW + timedelta(minutes=10), before.properties)
    assert environment.arm.polls == 0


async def test_unreadable_record_is_ended_at_its_deadline() -> None:
    environment = UnitEnvironment()
    put(environment, unread(running(1)))
    await environment.run()
    assert environment.clock.time >= running(1).deadline
    (end,) = environment.bus.ends
    assert (end.event_id, end.data["status"], end.data["requestId"]) == (f"{run_id(1)}:ended", "Failed", "r1")
    assert end.data["error"]["code"] == "UnreadableRecord"


async def test_unreadable_reply_is_passed_on_and_ends_in_an_event() -> None:
    environment = UnitEnvironment()
    reply = to_reply_record(Reply(run_id=RUN, request_id="r", at=NOW, source="/q"), None)
    put(environment, replace(reply, body=b'{"schemaVersion": 3}'))
    await environment.tick()
    assert [message.message_id for message in environment.bus.operations_queue.messages] == [f"{RUN}:s1"]
    await environment.run()
    assert [(end.event_id, end.data["status"]) for end in environment.bus.ends] == [(f"{RUN}:ended", "Rejected")]


@pytest.mark.parametrize("deadline", ["9999-12-31T23:59:59+00:00", "0001-01-01T00:00:00+00:00", "soon", ""])
async def test_odd_deadline_beside_an_unreadable_record_harms_no_other(deadline: str) -> None:
    environment = UnitEnvironment()
    odd = unread(running(1))
    told = {
        name: str(value).replace(running(1).deadline.isoformat(), deadline) for name, value in odd.properties.items()
    }
    assert told != odd.properties
    put(environment, replace(odd, properties=told), running(2))
    await environment.tick()
    assert f"{run_id(2)}:s1" in queued(environment)
    assert f"{run_id(1)}:s0" not in queued(environment)


# ---- messages that are no records


def poller_with(environment: UnitEnvironment, intake: Any) -> Poller:
    return Poller(
        environment.runner,
        environment.bus,
        environment.settings,
        intake={"request": intake},
        now=environment.clock,
        monotonic=environment.clock.seconds,
    )


async def test_message_of_another_subject_goes_to_its_intake_and_is_completed() -> None:
    environment, seen = UnitEnvironment(), []

    async def intake(delivery: Delivery) -> None:
        seen.append((delivery.message_id, delivery.body))

    put(environment, Record("alert-1", b"body", None, "request"))
    await poller_with(environment, intake).tick()
    assert seen == [("alert-1", b"body")]
    assert environment.bus.operations_queue.messages == []


async def test_intake_that_fails_leaves_the_message_to_its_lock() -> None:
    environment = UnitEnvironment()

    async def intake(delivery: Delivery) -> None:
        raise BusUnavailable("away")

    put(environment, Record("alert-1", b"body", None, "request"), running(1))
    tick = await poller_with(environment, intake).tick()
    assert (tick.failed, set(queued(environment))) == (1, {"alert-1", f"{run_id(1)}:s1"})


# ---- how much at once


async def test_tick_takes_nothing_more_when_its_budget_is_used_up() -> None:
    environment = UnitEnvironment(tick_budget=timedelta(0))
    put(environment, running(1))
    assert (await environment.tick()).taken == 0
    assert len(environment.bus.operations_queue.messages) == 1


async def test_more_than_a_batch_is_worked_off_in_one_tick() -> None:
    environment = UnitEnvironment()
    put(environment, *(running(number) for number in range(250)))
    tick = await environment.tick()
    assert (tick.taken, tick.persisted) == (250, 250)
    assert 1 < tick.receivers <= environment.settings.poll_receivers


async def test_full_batch_sets_every_receiver_to_work() -> None:
    environment = UnitEnvironment()
    put(environment, *(running(number) for number in range(100)))
    assert (await environment.tick()).receivers == environment.settings.poll_receivers == 4


async def test_only_the_first_receiver_of_a_tick_waits_for_long() -> None:
    environment = UnitEnvironment()
    put(environment, *(running(number) for number in range(150)))
    await environment.tick()
    longest = environment.settings.receive_wait.total_seconds()
    # The hand clock stands still: the others wait for the least that there is.
    assert environment.bus.waits == [longest] + [FURTHER_WAIT] * (len(environment.bus.waits) - 1)
    assert len(environment.bus.waits) > environment.settings.poll_receivers


async def test_batch_that_is_not_full_needs_no_other_receiver() -> None:
    environment = UnitEnvironment()
    put(environment, *(running(number) for number in range(99)))
    assert (await environment.tick()).receivers == 1


async def test_what_receivers_send_at_the_same_time_is_counted_once_each() -> None:
    environment = UnitEnvironment()
    send = environment.bus.send

    async def late(records: Sequence[Record]) -> None:
        # Others send meanwhile.
        await asyncio.sleep(0)
        await send(records)
        await asyncio.sleep(0)

    environment.bus.send = late  # type: ignore[method-assign] # slower
    put(environment, *(running(number) for number in range(250)))
    tick = await environment.tick()
    assert tick.receivers > 1
    assert (tick.taken, tick.persisted) == (250, 250)


async def test_no_more_calls_are_made_at_once_than_allowed() -> None:
    environment = UnitEnvironment(poll_concurrency=8, poll_receivers=2)
    environment.arm.slow = True
    put(environment, *(running(number) for number in range(100)))
    tick = await environment.tick()
    assert (tick.taken, tick.persisted, tick.failed) == (100, 100, 0)
    assert 1 < environment.arm.most_polls_at_once <= 8


async def test_work_off_is_shared_by_handlers_and_goes_on_for_those_who_came_meanwhile() -> None:
    environment = UnitEnvironment()
    ticks = 0
    tick = environment.poller.tick

    async def counted() -> Any:
        nonlocal ticks
        ticks += 1
        if ticks == 1:
            await asyncio.gather(*(environment.poller.work_off() for _ in range(9)))
        return await tick()

    environment.poller.tick = counted  # type: ignore[method-assign] # counts
    put(environment, running(1))
    await asyncio.gather(*(environment.poller.work_off() for _ in range(10)))
    assert ticks == 2
    await environment.poller.work_off()
    assert ticks == 3


# ---- ARM


async def test_throttled_subscription_is_left_alone_and_others_go_on() -> None:
    environment = UnitEnvironment(allowed_scopes=(Scope(SUBSCRIPTION), Scope(OTHER_SUBSCRIPTION)))
    put(environment, running(1), running(2), running(3), running(4, OTHER_SUBSCRIPTION))
    environment.arm.poll_answers = [Throttled(BUSY, seconds(500))]
    await environment.tick()
    assert environment.arm.polls == 2
    dues = {message_id: message.due for message_id, message in queued(environment).items()}
    assert set(dues) == {f"{run_id(number)}:s1" for number in (1, 2, 3, 4)}
    assert all(dues[f"{run_id(number)}:s1"] >= NOW + seconds(500) for number in (1, 2, 3))
    assert dues[f"{run_id(4)}:s1"] < NOW + seconds(500)


async def test_runs_of_one_scale_set_share_a_listing_that_is_new_enough_for_each() -> None:
    environment = UnitEnvironment()
    failed = (Call(("0",), ended="failed", error=BROKEN),)
    put(environment, *(replace(running(number), calls=failed, final_at=NOW) for number in range(5)))
    environment.clock.time = NOW + seconds(180)
    await environment.tick()
    assert environment.arm.looks == 1


async def test_views_that_cannot_be_read_are_read_later() -> None:
    environment = await taken()
    environment.clock.time += seconds(60)
    environment.arm.view_answers = [TransientError("list", BUSY, status=503)]
    await environment.tick()
    assert environment.bus.ends == []
    await environment.run()
    assert environment.end["status"] == "Succeeded"


async def test_url_that_must_not_be_followed_ends_the_run() -> None:
    environment = await taken()
    environment.arm.poll_answers = [UntrustedUrl("evil.example", "a redirect, HTTP 307")]
    await environment.run()
    assert (environment.end["status"], environment.end["error"]["code"]) == ("Failed", "UntrustedUrl")
    assert set(environment.outcomes.values()) == {"Unknown"}


async def test_topic_that_is_away_delays_events_and_keeps_their_order() -> None:
    environment = UnitEnvironment(all_eligible(2))
    environment.send(request_body(instanceIds=["0", "1"], rollout={"maxInstancesPerWave": 1}))
    environment.bus.down = {"events"}
    for _ in range(40):
        await environment.deliver()
        await environment.tick()
        upcoming = environment.bus.operations_queue.next_at
        assert upcoming is not None
        environment.clock.time = max(upcoming, environment.clock.time)
    assert environment.arm.maintained == {"0": 1, "1": 1}
    environment.bus.down = set()
    await environment.run()
    kinds = [event_id.partition(":")[2] for event_id in environment.bus.events]
    assert kinds == ["accepted", "progressed:w0", "ended"]
    assert environment.end["status"] == "Succeeded"


async def test_log_contains_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    environment = await taken()
    await environment.run()
    assert "ended as Succeeded" in caplog.text
    assert "s=secret" not in caplog.text
    assert "s=secret" not in str([event.to_json() for event in environment.bus.published])


async def test_tick_says_in_one_line_what_it_did(caplog: pytest.LogCaptureFixture) -> None:
    environment = UnitEnvironment()
    put(environment, running(1))
    with caplog.at_level(logging.INFO):
        await environment.tick()
        await environment.tick()
    lines = [record.getMessage() for record in caplog.records if "Tick ended" in record.getMessage()]
    assert lines == ["Tick ended: 1 taken, 1 persisted for later, 0 ended, 0 unreadable, 0 left to their lock"]
