"""The timer fires: what is due is read, kept for later or told, and only then settled."""

from __future__ import annotations

import json
import logging
from datetime import timedelta

import pytest

from maintenance.domain.coordination import Lease
from maintenance.domain.errors import RefusedError, TransientError, UntrustedUrl
from maintenance.domain.observations import ErrorDetail, Failed, Reading, Throttled
from maintenance.domain.operation import Call, Operation, Outcome, Phase, Result
from maintenance.domain.resources import ScaleSet
from maintenance.operations.records import read_record, to_record
from tests.support.fakes import Message, all_eligible
from tests.support.samples import NOW, OTHER_SUBSCRIPTION, SUBSCRIPTION, new_operation, request_body, seconds
from tests.support.unit_environment import UnitEnvironment

BUSY = ErrorDetail("TooManyRequests", "Later, please.")
BROKEN = ErrorDetail("HostBroken", "The host broke.")


async def started(environment: UnitEnvironment | None = None) -> UnitEnvironment:
    """A request that was taken by ARM, with its first poll due."""
    environment = environment or UnitEnvironment()
    environment.send()
    await environment.deliver()
    environment.clock.time = NOW + seconds(60)
    environment.bus.log.clear()
    return environment


def keep(environment: UnitEnvironment, operation: Operation) -> None:
    record = to_record(operation, environment.clock())
    environment.bus.operations.send(Message(record.body, record.message_id, record.due))


def following(request_id: str, subscription: str = SUBSCRIPTION) -> Operation:
    call = Call(("0",), f"https://management.azure.com/{request_id}")
    return new_operation(
        request_id=request_id,
        scale_set=ScaleSet(subscription, "web-rg", "web"),
        targets=None,
        phase=Phase.TRACKING,
        waves=(("0",),),
        calls=(call,),
        revision=0,
        started_at=NOW,
        accepted_published=True,
    )


async def test_a_running_operation_is_kept_for_its_next_poll_and_then_settled() -> None:
    environment = await started()
    tick = await environment.tick()
    assert (tick.taken, tick.persisted, tick.ended) == (1, 1, 0)
    assert environment.bus.log == ["persist req-1:w0:p1", "settle req-1:w0:p0"]
    assert [message.due for message in environment.bus.operations.messages] == [NOW + seconds(120)]


async def test_an_ended_operation_is_told_and_then_settled() -> None:
    environment = await started()
    environment.clock.time += seconds(60)
    tick = await environment.tick()
    assert (tick.taken, tick.persisted, tick.ended) == (1, 0, 1)
    assert environment.bus.log == ["publish req-1:ended", "settle req-1:w0:p0"]
    assert environment.end["status"] == "Succeeded"
    assert environment.outcomes == {"0": "Completed", "1": "Completed", "2": "Completed"}


async def test_an_end_takes_down_every_notice_of_its_request_even_one_its_record_knows_nothing_of() -> None:
    environment = await started()
    own, others = (
        Lease(request_id, new_operation().scale_set.key, NOW + timedelta(hours=7)) for request_id in ("req-1", "req-2")
    )
    # As a second planner's that was late: its record was dropped as a duplicate.
    await environment.coordination.put(own)
    await environment.coordination.put(others)
    environment.clock.time += seconds(60)
    assert (await environment.tick()).ended == 1
    assert [entry.request_id for entry in environment.coordination.entries] == ["req-2"]


async def test_nothing_is_taken_before_it_is_due() -> None:
    environment = await started()
    environment.clock.time -= seconds(1)
    assert (await environment.tick()).taken == 0
    assert environment.arm.polls == 0


async def test_a_failed_operation_is_kept_before_it_is_told_and_counted_once() -> None:
    environment = await started()
    environment.arm.poll_responses = [Failed(BROKEN)]
    environment.arm.view_responses = [all_eligible(3)]
    tick = await environment.tick()
    assert environment.bus.log == [
        "persist req-1:w0:p1",
        "settle req-1:w0:p0",
        "publish req-1:ended",
        "settle req-1:w0:p1",
    ]
    assert (environment.end["status"], environment.end["error"]["code"]) == ("Failed", "HostBroken")
    assert tick.ended == 1


async def test_an_operation_url_that_must_not_be_followed_ends_the_request() -> None:
    environment = await started()
    environment.arm.poll_responses = [UntrustedUrl("evil.example", "it answered with a redirect, HTTP 307")]
    await environment.tick()
    assert (environment.end["status"], environment.end["error"]["code"]) == ("Failed", "UntrustedUrl")
    assert set(environment.outcomes.values()) == {"Unknown"}


GARBAGE = {
    "garbage": (b"\x00\xff", "NotJson"),
    "a newer version": (b'{"schemaVersion": 2}', "UnknownSchemaVersion"),
    "half a record": (b'{"schemaVersion": 1}', "InvalidRecord"),
}


@pytest.mark.parametrize(("body", "reason"), GARBAGE.values(), ids=GARBAGE.keys())
async def test_a_record_that_cannot_be_read_is_dead_lettered_and_harms_no_other(
    body: bytes, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    environment = await started()
    environment.bus.operations.send(Message(body, "poison", environment.clock()))
    tick = await environment.tick()
    assert [why for why, _ in environment.bus.operations.dead] == [reason]
    assert (tick.unreadable, tick.persisted) == (1, 1)
    assert "poison" in caplog.text


async def test_what_is_unforeseen_leaves_its_operation_to_come_again_and_harms_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    environment = UnitEnvironment()
    keep(environment, following("a"))
    keep(environment, following("b"))
    environment.arm.poll_responses = [RuntimeError("token eyJsecret")]
    tick = await environment.tick()
    assert (tick.taken, tick.failed) == (2, 1)
    assert [message.message_id for message in environment.bus.operations.messages if message.deliveries] == ["a:w0:p0"]
    assert "a:w0:p0 failed unexpectedly: " in caplog.text
    assert "eyJsecret" not in caplog.text


async def test_after_a_throttling_its_subscription_is_left_alone_and_others_go_on() -> None:
    environment = UnitEnvironment()
    for request_id in ("a", "b", "c"):
        keep(environment, following(request_id))
    keep(environment, following("d", OTHER_SUBSCRIPTION))
    answers: list[Reading | Exception] = [Throttled(BUSY, seconds(1200))]
    environment.arm.poll_responses = answers
    await environment.tick()
    assert environment.arm.polls == 2
    dues = {message.message_id: message.due for message in environment.bus.operations.messages}
    for request_id in ("a", "b", "c"):
        assert dues[f"{request_id}:w0:p1"] >= NOW + seconds(1200)
    assert set(dues) == {"a:w0:p1", "b:w0:p1", "c:w0:p1", "d:w0:p1"}


async def test_operations_of_one_scale_set_that_end_together_share_one_look() -> None:
    environment = UnitEnvironment()
    for n in range(5):
        keep(environment, following(f"r{n}"))
    environment.arm.poll_responses = [Failed(BROKEN) for _ in range(5)]
    await environment.tick()
    assert (environment.arm.polls, environment.arm.view_reads) == (5, 1)


async def test_views_that_cannot_be_read_are_read_later() -> None:
    environment = await started()
    environment.clock.time += seconds(60)
    environment.arm.view_responses = [TransientError("list", BUSY, status=503)]
    await environment.tick()
    assert environment.bus.published[-1].event_id == "req-1:accepted"
    await environment.run()
    assert environment.end["status"] == "Succeeded"


async def test_a_tick_takes_nothing_more_when_its_time_is_used_up() -> None:
    environment = UnitEnvironment(tick_budget=timedelta(0))
    keep(environment, following("a"))
    assert (await environment.tick()).taken == 0
    assert len(environment.bus.operations.messages) == 1


async def test_more_than_a_batch_is_worked_off_in_one_tick() -> None:
    environment = UnitEnvironment()
    for n in range(250):
        keep(environment, following(f"r{n}"))
    tick = await environment.tick()
    assert tick.taken == 250
    assert tick.receivers > 1
    assert environment.bus.operations.next_at is not None
    assert environment.bus.operations.next_at > NOW


# ---- Service Bus failing


async def test_while_the_topic_is_down_events_stay_with_the_operation_and_come_in_order() -> None:
    environment = UnitEnvironment(all_eligible(2))
    environment.send(request_body(instanceIds=["0", "1"], rollout={"maxInstancesPerWave": 1}))
    environment.bus.down = {"events"}
    for _ in range(8):
        await environment.deliver()
        await environment.tick()
        upcoming = environment.bus.operations.next_at
        assert upcoming is not None
        environment.clock.time = max(upcoming, environment.clock.time)
    environment.bus.down = set()
    await environment.run()
    assert list(environment.bus.events) == ["req-1:accepted", "req-1:progressed:w0", "req-1:ended"]
    assert environment.end["status"] == "Succeeded"


async def test_an_end_whose_events_do_not_fit_its_record_is_still_told_once_the_topic_is_back() -> None:
    environment = await started()
    environment.clock.time += seconds(60)
    (message,) = environment.bus.operations.messages
    document = json.loads(message.body)
    document["outbox"] = [_enormous(read_record(message.body))]
    message.body = json.dumps(document).encode()
    environment.bus.down = {"events"}
    await environment.tick()
    environment.bus.down = set()
    await environment.run()
    assert environment.end["status"] == "Succeeded"


def _enormous(operation: Operation) -> dict[str, object]:
    return {
        "type": "vmss.maintenance.accepted.v1",
        "event_id": "req-1:accepted",
        "source": operation.scale_set.resource_id,
        "subject": "req-1",
        "time": NOW.isoformat(),
        "data": {"status": "Accepted", "reason": "x" * 250_000},
        "properties": {},
    }


async def test_when_records_cannot_be_kept_nothing_is_settled_and_all_comes_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    environment = await started()
    environment.bus.down = {"operations"}
    await environment.tick()
    assert "The tick ends early" in caplog.text
    assert [message.message_id for message in environment.bus.operations.messages] == ["req-1:w0:p0"]
    environment.bus.down = set()
    await environment.run()
    assert environment.end["status"] == "Succeeded"
    assert environment.arm.maintained == {"0": 1, "1": 1, "2": 1}


async def test_the_log_tells_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    environment = await started()
    await environment.run()
    assert "ended as Succeeded" in caplog.text
    assert "s=secret" not in caplog.text
    assert "s=secret" not in str([event.to_json() for event in environment.bus.published])


async def test_a_redelivered_record_posts_nothing_that_its_first_delivery_may_have_posted() -> None:
    environment = UnitEnvironment(all_eligible(2))
    posting = new_operation(
        targets=None,
        phase=Phase.POSTING,
        waves=(("0",), ("1",)),
        wave=1,
        revision=0,
        outcomes={"0": Outcome(Result.COMPLETED, wave=0)},
        started_at=NOW,
        accepted_published=True,
    )
    keep(environment, posting)
    environment.bus.operations.messages[0].deliveries = 1
    await environment.tick()
    assert environment.arm.posted == []
    assert [message.due for message in environment.bus.operations.messages] == [NOW + seconds(30)]
    await environment.run()
    assert environment.arm.posted == [("1",)]


async def test_a_whole_batch_is_handled_with_no_more_calls_at_once_than_are_allowed() -> None:
    environment = UnitEnvironment(poll_concurrency=7)
    environment.arm.slow = True
    for number in range(100):
        keep(environment, following(f"r{number}"))
    tick = await environment.tick()
    assert (tick.taken, tick.persisted, tick.failed) == (100, 100, 0)
    assert environment.arm.polls == 100
    assert environment.arm.most_polls_at_once == 7


async def test_what_a_flexible_set_answers_to_the_listing_of_uniform_ones_is_not_taken_for_its_other_listing() -> None:
    refused = RefusedError("list", ErrorDetail("BadRequest", "not allowed on a Flexible set"), status=400)
    environment = UnitEnvironment()
    environment.arm.view_responses = [refused, all_eligible(2)]
    views = environment.views()
    with pytest.raises(RefusedError):
        await views.of(ScaleSet(SUBSCRIPTION, "web-rg", "web"))
    listing = await views.of(ScaleSet(SUBSCRIPTION, "web-rg", "web"), flexible=True)
    assert [instance.instance_id for instance in listing.instances] == ["0", "1"]
