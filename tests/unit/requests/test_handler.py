"""The requests queue: a message becomes the first record of a run, and the first record that lives is the verdict."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from maintenance.coordination.entries import CancellationMarker
from maintenance.domain.errors import BusUnavailable, EntityMissing
from maintenance.domain.messages import Envelope
from maintenance.domain.observations import ErrorDetail, Failed, Refused, Succeeded
from maintenance.domain.resources import parse_scope
from maintenance.operations.records import read_record, read_reply
from maintenance.requests.handler import MAX_DELIVERIES, RequestHandler
from tests.support.fake_bus import Message
from tests.support.samples import NOW, OTHER_SUBSCRIPTION, SUBSCRIPTION, completed, request_body, seconds
from tests.support.unit_environment import UnitEnvironment

DENIED = ErrorDetail("AuthorizationFailed", "The client has no authorization.")
NAMES = {name: value for name, value in request_body().items() if name != "instanceIds"}


async def handled(
    body: object = None, environment: UnitEnvironment | None = None, **properties: Any
) -> UnitEnvironment:
    """One message, handled once."""
    environment = environment or UnitEnvironment()
    environment.send(body, **properties)
    await environment.deliver()
    return environment


async def ended(body: object = None, environment: UnitEnvironment | None = None) -> UnitEnvironment:
    """One message, and all that follows."""
    environment = await handled(body, environment)
    await environment.run()
    return environment


def only_record(environment: UnitEnvironment) -> Message:
    (message,) = environment.bus.operations_queue.messages
    return message


def problems(environment: UnitEnvironment) -> dict[str, str]:
    assert environment.end["status"] == "Rejected"
    return {problem["field"]: problem["message"] for problem in environment.end["problems"]}


async def test_request_becomes_the_first_record_of_a_run_and_calls_nobody() -> None:
    environment = await handled(request_body(requestId="change-7"))
    message = only_record(environment)
    operation = read_record(message.body)
    assert message.message_id == f"{operation.run_id}:s0"
    assert (operation.request_id, operation.number, operation.targets) == ("change-7", 0, ("0", "1", "2"))
    assert environment.arm.looks == 0
    assert environment.bus.requests.messages == []


async def test_message_that_is_no_request_ends_as_rejected_with_its_body() -> None:
    environment = await ended(b"[1, 2]")
    assert environment.end["request"] == "[1, 2]"
    assert "must be a JSON object" in problems(environment)["body"]
    assert environment.arm.looks == 0


async def test_every_problem_of_a_request_is_reported() -> None:
    assert set(problems(await ended(request_body(instanceIDs=[], dryRun="yes")))) == {"instanceIDs", "dryRun"}


async def test_scale_set_outside_the_allowed_scopes_is_never_read() -> None:
    environment = await ended(request_body(subscriptionId=OTHER_SUBSCRIPTION))
    assert "MAINTENANCE_ALLOWED_SCOPES" in problems(environment)["scale set"]
    assert environment.arm.looks == 0


async def test_scope_that_was_taken_away_meanwhile_stops_the_run_before_any_call() -> None:
    environment = await handled()
    scope = parse_scope(f"/subscriptions/{SUBSCRIPTION}/resourceGroups/other")
    environment.settings = replace(environment.settings, allowed_scopes=(scope,))
    environment.restart()
    await environment.run()
    assert environment.end["error"]["code"] == "ScopeNotAllowed"
    assert environment.arm.looks == 0


async def test_redelivered_message_is_the_same_run_and_another_message_another() -> None:
    environment = UnitEnvironment()
    environment.send()
    (message,) = environment.bus.requests.take(1)
    first = await environment.handler.first_record(_envelope(message))
    again = await environment.handler.first_record(_envelope(message, deliveries=4))
    other = await environment.handler.first_record(_envelope(message, number=2))
    assert first is not None
    assert again is not None
    assert other is not None
    assert first == again
    assert first.message_id != other.message_id


def _envelope(message: Message, *, deliveries: int = 1, number: int = 1) -> Envelope:
    return Envelope(
        body=message.body,
        message_id=message.message_id,
        sequence_number=number,
        delivery_count=deliveries,
        enqueued_at=message.enqueued_at,
    )


@pytest.mark.parametrize(
    "properties",
    [
        {"maintenance-request-id": "x\n2026 INFO forged"},
        {"maintenance-requested-at": "9999-12-31T23:59:59+00:00"},
        {"maintenance-attempt": "7", "maintenance-may-have-started": True},
        {"about": "forged 2100-01-01T00:00:00+00:00 /x"},
    ],
)
async def test_properties_of_a_sender_are_not_believed(properties: Mapping[str, Any]) -> None:
    environment = await handled(request_body(requestId="honest"), **properties)
    operation = read_record(only_record(environment).body)
    assert operation.request_id == "honest"
    assert operation.requested_at == NOW
    assert operation.deadline == NOW + timedelta(hours=6)


async def test_request_waits_for_its_not_before_in_slices() -> None:
    environment = UnitEnvironment()
    begins = NOW + timedelta(hours=2)
    await ended(request_body(notBefore=begins.isoformat()), environment)
    assert environment.arm.posted_at == [begins]
    assert environment.end["status"] == "Succeeded"


@pytest.mark.parametrize("field", ["notBefore", "deadline"])
async def test_time_more_than_35_days_ahead_is_rejected(field: str) -> None:
    environment = await ended(request_body(**{field: (NOW + timedelta(days=36)).isoformat()}))
    assert problems(environment)[field] == "must be within 35 days"


async def test_deadline_that_has_passed_is_rejected() -> None:
    environment = await ended(request_body(deadline=(NOW - seconds(1)).isoformat()))
    assert problems(environment)["deadline"] == "has passed"


@pytest.mark.parametrize(("pause", "not_before", "taken"), [("PT6H", 0, False), ("PT5H", 0, True), ("PT5H", 20, True)])
async def test_pause_must_be_shorter_than_the_time_to_the_deadline(pause: str, not_before: int, *, taken: bool) -> None:
    begins = (NOW + timedelta(hours=not_before)).isoformat()
    body = request_body(notBefore=begins, rollout={"maxInstancesPerWave": 1, "pauseBetweenWaves": pause})
    environment = await handled(body)
    assert (only_record(environment).subject == "plan") is taken


async def test_whole_scale_sets_can_be_switched_off() -> None:
    environment = await ended(request_body(instanceIds=...), UnitEnvironment(allow_whole_scale_set=False))
    assert "does not maintain whole scale sets" in problems(environment)["instanceIds"]


async def test_whole_scale_set_is_posted_by_the_names_of_its_eligible_instances() -> None:
    environment = await ended(request_body(instanceIds=...))
    assert environment.arm.posted == [("0", "1", "2")]


async def test_only_an_app_that_reads_no_views_posts_a_whole_scale_set_without_names() -> None:
    environment = UnitEnvironment(read_instance_views=False)
    await ended(request_body(instanceIds=...), environment)
    assert environment.arm.posted == [None]
    assert environment.arm.looks == 0


@pytest.mark.parametrize("app_wide", [True, False])
async def test_dry_run_takes_no_lease_and_posts_nothing(*, app_wide: bool) -> None:
    environment = UnitEnvironment(dry_run=app_wide)
    await ended(request_body(rollout={"maxInstancesPerWave": 1}, **({} if app_wide else {"dryRun": True})), environment)
    assert environment.end["waves"] == [["0"], ["1"], ["2"]]
    assert environment.arm.posted == []
    assert "entry is put" not in environment.crash_point.steps


async def test_nothing_to_do_ends_so() -> None:
    environment = await ended(environment=UnitEnvironment([completed("0"), completed("1"), completed("2")]))
    assert environment.end["status"] == "NothingToDo"
    assert set(environment.outcomes.values()) == {"AlreadyCompleted"}


async def test_accepted_is_published_only_after_arm_accepted_something() -> None:
    environment = UnitEnvironment()
    environment.arm.post_answers = [Refused(DENIED, 403)]
    await ended(environment=environment)
    assert not any(event.event_id.endswith(":accepted") for event in environment.bus.published)
    assert environment.end["status"] == "Failed"


async def test_failure_in_the_response_to_the_post_is_a_failure() -> None:
    environment = UnitEnvironment()
    environment.arm.post_answers = [Failed(ErrorDetail("HostBroken", "The host broke."))]
    await ended(environment=environment)
    assert environment.end["error"]["code"] == "HostBroken"


async def test_success_without_an_operation_is_confirmed_by_the_views() -> None:
    environment = UnitEnvironment([completed("0")])
    environment.arm.post_answers = [Succeeded()]
    await ended(request_body(instanceIds=["0"]), environment)
    assert environment.end["status"] == "NothingToDo"


async def test_cancellation_puts_its_marker_before_its_reply() -> None:
    environment = await handled({**NAMES, "cancel": "change-7", "reason": "not today"}, message_id="stop")
    (marker,) = environment.coordination.entries
    assert isinstance(marker, CancellationMarker)
    assert (marker.request_id, marker.enqueued_at, marker.until) == ("change-7", NOW, NOW + timedelta(days=36))
    assert read_reply(only_record(environment).body).cancels == "change-7"
    steps = environment.crash_point.steps
    assert steps.index("entry is put") < steps.index("record is sent")


async def test_cancellation_whose_marker_cannot_be_put_gets_no_reply() -> None:
    environment = UnitEnvironment()
    environment.coordination.down = True
    await handled({**NAMES, "cancel": "change-7"}, environment)
    assert isinstance(environment.failures[0], BusUnavailable)
    assert environment.bus.operations_queue.messages == []


async def test_bad_cancellation_is_rejected_under_its_own_id() -> None:
    environment = await handled({**NAMES, "cancel": "change-7", "requestId": "change-7"}, message_id="stop")
    reply = read_reply(only_record(environment).body)
    assert (reply.request_id, reply.cancels) == ("stop", None)


async def test_cancellation_outside_the_allowed_scopes_puts_no_marker() -> None:
    environment = await ended({**NAMES, "subscriptionId": OTHER_SUBSCRIPTION, "cancel": "change-7"})
    assert environment.coordination.entries == []
    assert "scale set" in problems(environment)


async def test_record_that_cannot_be_sent_leaves_the_message_to_be_redelivered() -> None:
    environment = UnitEnvironment()
    environment.bus.down.add("operations")
    await handled(environment=environment)
    assert isinstance(environment.failures[0], BusUnavailable)
    environment.bus.down.clear()
    await environment.run()
    assert environment.end["status"] == "Succeeded"


async def test_what_fails_while_working_off_does_not_redeliver_the_message() -> None:
    environment = UnitEnvironment()

    async def fail() -> None:
        raise RuntimeError("unexpected")

    environment.handler._work_off = fail
    await handled(environment=environment)
    assert environment.failures == []
    assert len(environment.bus.operations_queue.messages) == 1


async def test_correlation_and_trace_reach_every_event() -> None:
    environment = UnitEnvironment()
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    message = Message(json.dumps(request_body()).encode(), "req-1", NOW, {"traceparent": trace}, "change-7")
    environment.bus.requests.send(message)
    await environment.run()
    assert {event.correlation_id for event in environment.bus.published} == {"change-7"}
    assert {event.trace["traceparent"] for event in environment.bus.published} == {trace}


async def test_same_request_again_while_it_runs_ends_as_duplicate_that_names_the_first() -> None:
    environment = UnitEnvironment()
    environment.send(request_body(requestId="friday"), message_id="a")
    await environment.deliver()
    await environment.tick()
    environment.send(request_body(requestId="friday"), message_id="b")
    await environment.run()
    first, second = sorted(environment.bus.ends, key=lambda event: event.data["status"], reverse=True)
    assert (first.data["status"], second.data["status"]) == ("Succeeded", "Duplicate")
    assert second.data["duplicateOf"] == first.data["runId"]
    assert len(environment.arm.posted) == 1


async def test_missing_coordination_queue_is_named_by_the_rejection_on_the_last_delivery() -> None:
    """As a dead letter its end would not say what was wrong; until then the queue may be there again."""

    async def problems_of_namespace() -> tuple[str, ...]:
        raise EntityMissing("checking the namespace failed: there is no queue maintenance-coordination")

    environment = UnitEnvironment()
    environment.handler = RequestHandler(
        environment.bus,
        environment.coordination,
        environment.settings,
        work_off=environment.poller.work_off,
        now=environment.clock,
        namespace_problems=problems_of_namespace,
    )
    environment.send()
    for _ in range(MAX_DELIVERIES - 1):
        await environment.deliver()
    assert [type(each) for each in environment.failures] == [EntityMissing] * (MAX_DELIVERIES - 1)
    assert environment.bus.operations_queue.messages == []
    await environment.run()
    assert problems(environment)["namespace"].endswith("there is no queue maintenance-coordination")
    assert environment.arm.looks == 0
