"""A request arrives: every branch, and the order in which things are sent."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from maintenance.domain.errors import RefusedError, ThrottledError, TransientError, UntrustedUrl
from maintenance.domain.observations import Accepted, ErrorDetail, Failed, Refused, Succeeded, Throttled
from maintenance.domain.resources import parse_scope
from maintenance.operations.records import read_record
from tests.support.fakes import LOST, Message
from tests.support.samples import NOW, OPERATION_URL, OTHER_SUBSCRIPTION, completed, request_body, seconds
from tests.support.unit_environment import UnitEnvironment

BUSY = ErrorDetail("TooManyRequests", f"Later, please. Seen at {OPERATION_URL}")
DENIED = ErrorDetail("AuthorizationFailed", "The client has no authorization.")


async def handled(
    body: object = None, environment: UnitEnvironment | None = None, **properties: Any
) -> UnitEnvironment:
    """One request, handled once."""
    environment = environment or UnitEnvironment()
    environment.send(body, **properties)
    await environment.deliver()
    return environment


def clone(environment: UnitEnvironment) -> Message:
    """The one clone of the request, scheduled."""
    assert len(environment.bus.requests.messages) == 1
    return environment.bus.requests.messages[0]


def problems(environment: UnitEnvironment) -> dict[str, str]:
    assert environment.end["status"] == "Rejected"
    return {problem["field"]: problem["message"] for problem in environment.end["problems"]}


async def test_a_started_request_is_announced_then_tracked_then_settled() -> None:
    environment = await handled()
    assert environment.arm.posted == [("0", "1", "2")]
    assert environment.bus.log == ["publish req-1:accepted", "persist req-1:w0:p0"]
    assert environment.bus.requests.messages == []
    (record,) = environment.bus.operations.messages
    assert record.due == NOW + seconds(60)
    assert environment.crash_point.reached.index("record is sent") < environment.crash_point.reached.index(
        "request is settled"
    )


async def test_what_arm_ends_at_once_and_the_views_confirm_is_told_at_once() -> None:
    environment = UnitEnvironment([completed("0"), completed("1"), completed("2")])
    await handled(environment=environment)
    assert environment.end["status"] == "NothingToDo"
    assert environment.bus.log == ["persist req-1:w0:p0", "publish req-1:ended"]


async def test_the_first_record_of_a_request_has_one_id_whatever_wave_it_stands_at() -> None:
    environment = UnitEnvironment()
    environment.arm.at_once = True
    environment.arm.duration = seconds(0)
    await handled(request_body(rollout={"maxInstancesPerWave": 1}), environment=environment)
    assert [step for step in environment.bus.log if step.startswith("persist")] == ["persist req-1:w0:p0"]
    (record,) = environment.bus.operations.messages
    assert read_record(record.body).wave == 1


async def test_a_message_that_is_no_request_is_rejected_with_its_body_and_nothing_else() -> None:
    environment = await handled(b"restart everything")
    assert environment.bus.log == ["publish req-1:ended"]
    assert "must be JSON" in problems(environment)["body"]
    assert environment.end["request"] == "restart everything"
    assert (environment.arm.view_reads, environment.arm.posted, environment.bus.requests.messages) == (0, [], [])


async def test_every_problem_of_a_request_is_told() -> None:
    environment = await handled({"subscriptionId": "x", "instanceIDs": []})
    assert set(problems(environment)) == {"subscriptionId", "instanceIDs", "resourceGroupName", "vmScaleSetName"}


async def test_a_rejection_carries_the_requests_own_id_even_if_the_rest_is_wrong() -> None:
    environment = await handled(request_body(requestId="mine", instanceIds=[]))
    assert [end.event_id for end in environment.bus.ends] == ["mine:ended"]


async def test_a_scale_set_outside_the_allowed_scopes_is_never_asked_about() -> None:
    environment = await handled(request_body(subscriptionId=OTHER_SUBSCRIPTION))
    assert problems(environment) == {"scale set": "is not within MAINTENANCE_ALLOWED_SCOPES of this app"}
    assert (environment.arm.view_reads, environment.arm.posted) == (0, [])


async def test_a_scope_that_was_taken_away_meanwhile_stops_the_post() -> None:
    environment = await handled()
    environment.settings = UnitEnvironment(allowed_scopes=(parse_scope(OTHER_SUBSCRIPTION),)).settings
    environment.arm.posted.clear()
    rollout = await handled(request_body(requestId="r2", rollout={"maxInstancesPerWave": 1}))
    rollout.settings = environment.settings
    rollout.restart()
    await rollout.run()
    assert rollout.end["status"] == "PartiallySucceeded"
    assert rollout.end["error"]["code"] == "ScopeNotAllowed"
    assert rollout.arm.posted == [("0",)]


async def test_all_that_policy_forbids_is_told_at_once() -> None:
    environment = UnitEnvironment(allow_whole_scale_set=False, read_instance_views=False)
    await handled(
        request_body(
            subscriptionId=OTHER_SUBSCRIPTION,
            instanceIds=...,
            deadline="2026-01-31T11:00:00Z",
            notBefore="2020-01-01T00:00:00Z",
            rollout={"byUpdateDomain": True},
        ),
        environment,
    )
    assert set(problems(environment)) == {"scale set", "instanceIds", "deadline", "rollout"}


async def test_whole_scale_sets_can_be_switched_off() -> None:
    environment = await handled(request_body(instanceIds=...), UnitEnvironment(allow_whole_scale_set=False))
    assert problems(environment) == {"instanceIds": "is missing, and this app does not maintain whole scale sets"}
    allowed = await handled(environment=UnitEnvironment(allow_whole_scale_set=False))
    assert allowed.arm.posted == [("0", "1", "2")]


async def test_a_whole_scale_set_is_posted_by_the_names_of_its_eligible_instances() -> None:
    environment = await handled(
        request_body(instanceIds=...), UnitEnvironment([completed("0"), *UnitEnvironment().arm._views.values()][1:])
    )
    assert environment.arm.posted == [("0", "1", "2")]


async def test_only_an_app_that_reads_no_views_posts_a_whole_scale_set_without_names() -> None:
    environment = await handled(request_body(instanceIds=...), UnitEnvironment(read_instance_views=False))
    assert (environment.arm.posted, environment.arm.view_reads) == ([None], 0)


@pytest.mark.parametrize("app_wide", [True, False])
async def test_a_dry_run_does_everything_but_the_post(*, app_wide: bool) -> None:
    environment = await handled(request_body(dryRun=not app_wide), UnitEnvironment(dry_run=app_wide))
    assert environment.end["status"] == "NothingToDo"
    assert environment.end["dryRun"] is True
    assert environment.end["waves"] == [["0", "1", "2"]]
    assert environment.outcomes == {"0": "WouldMaintain", "1": "WouldMaintain", "2": "WouldMaintain"}
    assert (environment.arm.posted, environment.arm.view_reads) == ([], 1)


# ---- times


async def test_a_request_waits_in_the_queue_until_its_not_before() -> None:
    environment = await handled(request_body(notBefore="2026-01-31T14:00:00+01:00"))
    waiting = clone(environment)
    assert (waiting.message_id, waiting.due) == ("req-1:r1", NOW + timedelta(hours=1))
    assert json.loads(waiting.body) == request_body(notBefore="2026-01-31T14:00:00+01:00")
    assert (environment.arm.view_reads, environment.bus.published) == (0, [])
    environment.clock.time = waiting.due
    await environment.deliver()
    assert environment.arm.posted == [("0", "1", "2")]
    operation = read_record(environment.bus.operations.messages[0].body)
    assert operation.request_id == "req-1"
    assert operation.deadline == NOW + timedelta(hours=7)


async def test_a_deadline_that_has_passed_before_anyone_looked_rejects_the_request() -> None:
    environment = await handled(request_body(deadline="2026-01-31T12:00:00Z"))
    assert problems(environment) == {"deadline": "has passed"}
    assert environment.arm.posted == []


async def test_a_deadline_that_passes_while_arm_is_busy_ends_the_request_as_timed_out() -> None:
    environment = UnitEnvironment()
    environment.arm.view_responses = [TransientError("list", BUSY, status=503) for _ in range(50)]
    await handled(request_body(deadline="2026-01-31T12:10:00Z"), environment)
    await environment.run()
    assert environment.end["status"] == "TimedOut"
    assert environment.end["error"]["code"] == "DeadlineExceeded"
    assert environment.outcomes == {"0": "NotAttempted", "1": "NotAttempted", "2": "NotAttempted"}
    assert environment.clock.time == NOW + timedelta(minutes=10)


@pytest.mark.parametrize("field", ["notBefore", "deadline"])
async def test_a_time_beyond_what_a_queue_can_hold_is_rejected(field: str) -> None:
    environment = await handled(request_body(**{field: "9999-12-31T23:59:59Z"}))
    assert problems(environment) == {field: "must be within 35 days"}


# ---- trouble before anything is started: a clone of the request, later


async def test_views_that_cannot_be_read_now_are_asked_later_by_a_clone() -> None:
    environment = UnitEnvironment()
    environment.arm.view_responses = [
        TransientError("list", BUSY, status=503),
        ThrottledError("list", BUSY, retry_after=seconds(1200)),
    ]
    await handled(environment=environment, traceparent="00-t")
    first = clone(environment)
    assert first.message_id == "req-1:r1"
    assert NOW + seconds(10) <= first.due <= NOW + seconds(13)
    assert first.properties["traceparent"] == "00-t"
    assert environment.bus.published == []
    environment.clock.time = first.due
    await environment.deliver()
    second = clone(environment)
    assert second.message_id == "req-1:r2"
    assert second.due >= first.due + seconds(1200)
    assert "MIIHpT" not in str(second.properties)
    await environment.run()
    assert environment.end["status"] == "Succeeded"


async def test_a_throttled_post_is_tried_later_by_a_clone_and_other_requests_of_the_subscription_wait() -> None:
    environment = UnitEnvironment()
    environment.arm.post_responses = [Throttled(BUSY, seconds(600))]
    await handled(environment=environment)
    assert clone(environment).due >= NOW + seconds(600)
    looks = environment.arm.view_reads
    await handled(request_body(requestId="other"), environment, message_id="other")
    assert (environment.arm.view_reads, len(environment.arm.posted)) == (looks, 1)
    assert {message.message_id for message in environment.bus.requests.messages} == {"req-1:r1", "other:r1"}
    assert all(message.due >= NOW + seconds(600) for message in environment.bus.requests.messages)


async def test_views_that_may_not_be_read_end_the_request_at_once() -> None:
    environment = UnitEnvironment()
    environment.arm.view_responses = [RefusedError("list", DENIED, status=403)]
    await handled(environment=environment)
    assert (environment.end["status"], environment.end["error"]["code"]) == ("Failed", "AuthorizationFailed")


# ---- how the POST can be answered


async def test_a_refused_post_ends_the_request() -> None:
    environment = UnitEnvironment()
    environment.arm.post_responses = [Refused(DENIED, 403)]
    await handled(environment=environment)
    assert (environment.end["status"], environment.end["error"]["code"]) == ("Failed", "AuthorizationFailed")
    # Persisted before it is told, lest a second run of the message decide otherwise.
    assert environment.bus.log == ["persist req-1:w0:p0", "publish req-1:ended"]


async def test_a_post_without_an_answer_is_kept_as_one_that_may_have_been_done() -> None:
    environment = UnitEnvironment()
    environment.arm.post_responses = [LOST]
    await handled(environment=environment)
    assert environment.bus.published == []
    record = read_record(environment.bus.operations.messages[0].body)
    assert record.posted_at == NOW
    await environment.run()
    assert len(environment.arm.posted) == 1


async def test_an_answer_that_points_elsewhere_ends_in_a_clear_failure_that_names_the_host() -> None:
    environment = UnitEnvironment()
    environment.arm.post_responses = [UntrustedUrl("evil.example", "only 'management.azure.com' is trusted")]
    await handled(environment=environment)
    await environment.run()
    assert environment.end["status"] == "Failed"
    assert environment.end["error"]["code"] == "UntrustedUrl"
    assert environment.end["error"]["target"] == "evil.example"
    assert set(environment.outcomes.values()) == {"Unknown"}


async def test_a_failure_told_by_the_post_itself_is_a_failure() -> None:
    environment = UnitEnvironment()
    environment.arm.post_responses = [Failed(DENIED)]
    await handled(environment=environment)
    await environment.run()
    assert environment.end["status"] == "Failed"


# ---- redelivery


async def test_a_redelivered_request_goes_on_as_a_suspect_clone_and_asks_arm_nothing() -> None:
    environment = UnitEnvironment()
    environment.send(traceparent="00-t")
    environment.bus.requests.messages[0].deliveries = 1
    await environment.deliver()
    may_have_started = clone(environment)
    assert (may_have_started.message_id, may_have_started.due) == ("req-1:r1", NOW)
    assert may_have_started.properties["maintenance-may-have-started"] is True
    assert may_have_started.properties["traceparent"] == "00-t"
    assert (environment.arm.view_reads, environment.arm.posted) == (0, [])


async def test_a_redelivered_request_still_waits_for_its_not_before() -> None:
    environment = UnitEnvironment()
    environment.send(request_body(notBefore="2026-01-31T14:00:00+01:00"))
    environment.bus.requests.messages[0].deliveries = 1
    await environment.deliver()
    waiting = clone(environment)
    assert (waiting.message_id, waiting.due) == ("req-1:r1", NOW + timedelta(hours=1))
    assert (environment.arm.view_reads, environment.arm.posted) == (0, [])


async def test_a_suspect_clone_leaves_a_record_that_says_a_post_may_have_been_sent() -> None:
    environment = UnitEnvironment()
    environment.send()
    environment.bus.requests.messages[0].deliveries = 1
    await environment.deliver()
    await environment.deliver()
    assert environment.bus.log[-1] == "persist req-1:w0:p0"
    assert read_record(environment.bus.operations.messages[0].body).posted_at == NOW
    assert environment.arm.posted == []
    await environment.run()
    assert (environment.end["status"], len(environment.arm.posted)) == ("Succeeded", 1)


async def test_a_suspect_clone_does_not_disturb_the_record_of_the_run_before_it() -> None:
    environment = await handled()
    before = environment.bus.operations.messages[0].body
    environment.bus.requests._seen.clear()
    environment.send()
    environment.bus.requests.messages[0].deliveries = 1
    await environment.deliver()
    await environment.deliver()
    assert environment.bus.operations.dropped == ["req-1:w0:p0"]
    assert [message.body for message in environment.bus.operations.messages] == [before]
    await environment.run()
    assert (environment.end["status"], len(environment.arm.posted)) == ("Succeeded", 1)


# ---- Service Bus failing


async def test_events_that_cannot_be_told_now_go_into_the_record() -> None:
    environment = UnitEnvironment()
    environment.bus.down = {"events"}
    await handled(environment=environment)
    operation = read_record(environment.bus.operations.messages[0].body)
    assert [event.event_id for event in operation.outbox] == ["req-1:accepted"]
    environment.bus.down = set()
    await environment.run()
    assert list(environment.bus.events) == ["req-1:accepted", "req-1:ended"]


async def test_an_end_that_cannot_be_told_now_is_kept_and_told_later() -> None:
    environment = UnitEnvironment([])
    environment.bus.down = {"events"}
    await handled(environment=environment)
    assert environment.bus.operations.messages
    environment.bus.down = set()
    await environment.run()
    assert environment.end["status"] == "NothingToDo"


async def test_a_rejection_that_cannot_be_told_now_is_told_by_a_clone_within_minutes() -> None:
    environment = UnitEnvironment()
    environment.bus.down = {"events"}
    await handled(b"nonsense", environment)
    assert clone(environment).due == NOW + timedelta(minutes=1)
    environment.clock.time = clone(environment).due
    await environment.deliver()
    assert clone(environment).message_id == "req-1:r2"
    environment.bus.down = set()
    await environment.run()
    assert "body" in problems(environment)


async def test_a_rejection_that_cannot_be_told_for_hours_is_left_to_the_dead_letter_queue() -> None:
    environment = UnitEnvironment()
    environment.bus.down = {"events"}
    environment.send(b"nonsense")
    await environment.run()
    assert [reason for reason, _ in environment.bus.requests.dead] == ["MaxDeliveryCountExceeded"]
    assert environment.clock.time >= NOW + timedelta(hours=6)


async def test_a_request_whose_record_cannot_be_kept_comes_again_as_one_that_may_have_been_started() -> None:
    environment = UnitEnvironment()
    environment.bus.down = {"operations"}
    await handled(environment=environment)
    assert clone(environment).properties["maintenance-may-have-started"] is True
    assert clone(environment).due == NOW + timedelta(minutes=1)
    environment.bus.down = set()
    await environment.run()
    assert (environment.end["status"], environment.arm.maintained) == ("Succeeded", {"0": 1, "1": 1, "2": 1})


async def test_what_is_unforeseen_raises_and_starts_nothing() -> None:
    environment = UnitEnvironment()
    environment.arm.post_responses = [RuntimeError("unforeseen")]
    await handled(environment=environment)
    assert [type(failure) for failure in environment.failures] == [ExceptionGroup]
    assert environment.bus.log == []


# ---- what the sender says of itself


@pytest.mark.parametrize(
    "properties",
    [
        {"maintenance-attempt": "x"},
        {"maintenance-attempt": "99999999999"},
        {"maintenance-attempt": -1},
        {"maintenance-requested-at": "yesterday"},
        {"maintenance-requested-at": "2026-01-31T12:00:00"},
        {"maintenance-request-id": ""},
        {"maintenance-may-have-started": "no"},
    ],
)
async def test_odd_properties_are_ignored(properties: dict[str, Any]) -> None:
    environment = await handled(**properties)
    assert environment.arm.posted == [("0", "1", "2")]
    assert "req-1:accepted" in environment.bus.events


async def test_correlation_and_trace_reach_every_event() -> None:
    environment = UnitEnvironment()
    environment.send(traceparent="00-t")
    environment.bus.requests.messages[0].correlation_id = "order-7"
    await environment.run()
    assert {event.correlation_id for event in environment.bus.published} == {"order-7"}
    assert {event.trace["traceparent"] for event in environment.bus.published} == {"00-t"}


async def test_a_success_without_an_operation_is_confirmed_later_by_the_timer() -> None:
    environment = UnitEnvironment()
    environment.arm.post_responses = [Succeeded()]
    await handled(environment=environment)
    assert read_record(environment.bus.operations.messages[0].body).calls[0].ended == "succeeded"


async def test_a_202_without_headers_is_followed_by_the_views() -> None:
    environment = UnitEnvironment()
    environment.arm.post_responses = [Accepted(None)]
    await handled(environment=environment)
    assert environment.bus.log == ["publish req-1:accepted", "persist req-1:w0:p0"]
