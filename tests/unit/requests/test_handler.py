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
from tests.support.unit_environment import World

BUSY = ErrorDetail("TooManyRequests", f"Later, please. Seen at {OPERATION_URL}")
DENIED = ErrorDetail("AuthorizationFailed", "The client has no authorization.")


async def handled(body: object = None, world: World | None = None, **properties: Any) -> World:
    """One request, handled once."""
    world = world or World()
    world.send(body, **properties)
    await world.deliver()
    return world


def clone(world: World) -> Message:
    """The one clone of the request, scheduled."""
    assert len(world.bus.requests.messages) == 1
    return world.bus.requests.messages[0]


def problems(world: World) -> dict[str, str]:
    assert world.end["status"] == "Rejected"
    return {problem["field"]: problem["message"] for problem in world.end["problems"]}


async def test_a_started_request_is_announced_then_tracked_then_settled() -> None:
    world = await handled()
    assert world.arm.posted == [("0", "1", "2")]
    assert world.bus.log == ["publish req-1:accepted", "track req-1:w0:p0"]
    assert world.bus.requests.messages == []
    (record,) = world.bus.operations.messages
    assert record.due == NOW + seconds(60)
    assert world.fate.told.index("record is sent") < world.fate.told.index("request is settled")


async def test_what_arm_ends_at_once_and_the_views_confirm_is_told_at_once() -> None:
    world = World([completed("0"), completed("1"), completed("2")])
    await handled(world=world)
    assert world.end["status"] == "NothingToDo"
    assert world.bus.log == ["track req-1:w0:p0", "publish req-1:ended"]


async def test_the_first_record_of_a_request_has_one_id_whatever_wave_it_stands_at() -> None:
    world = World()
    world.arm.at_once = True
    world.arm.duration = seconds(0)
    await handled(request_body(rollout={"maxInstancesPerWave": 1}), world=world)
    assert [step for step in world.bus.log if step.startswith("track")] == ["track req-1:w0:p0"]
    (record,) = world.bus.operations.messages
    assert read_record(record.body).wave == 1


async def test_a_message_that_is_no_request_is_rejected_with_its_body_and_nothing_else() -> None:
    world = await handled(b"restart everything")
    assert world.bus.log == ["publish req-1:ended"]
    assert "must be JSON" in problems(world)["body"]
    assert world.end["request"] == "restart everything"
    assert (world.arm.looks, world.arm.posted, world.bus.requests.messages) == (0, [], [])


async def test_every_problem_of_a_request_is_told() -> None:
    world = await handled({"subscriptionId": "x", "instanceIDs": []})
    assert set(problems(world)) == {"subscriptionId", "instanceIDs", "resourceGroupName", "vmScaleSetName"}


async def test_a_rejection_carries_the_requests_own_id_even_if_the_rest_is_wrong() -> None:
    world = await handled(request_body(requestId="mine", instanceIds=[]))
    assert [end.event_id for end in world.bus.ends] == ["mine:ended"]


async def test_a_scale_set_outside_the_allowed_scopes_is_never_asked_about() -> None:
    world = await handled(request_body(subscriptionId=OTHER_SUBSCRIPTION))
    assert problems(world) == {"scale set": "is not within MAINTENANCE_ALLOWED_SCOPES of this app"}
    assert (world.arm.looks, world.arm.posted) == (0, [])


async def test_a_scope_that_was_taken_away_meanwhile_stops_the_post() -> None:
    world = await handled()
    world.settings = World(allowed_scopes=(parse_scope(OTHER_SUBSCRIPTION),)).settings
    world.arm.posted.clear()
    rollout = await handled(request_body(requestId="r2", rollout={"maxInstancesPerWave": 1}))
    rollout.settings = world.settings
    rollout.restart()
    await rollout.run()
    assert rollout.end["status"] == "PartiallySucceeded"
    assert rollout.end["error"]["code"] == "ScopeNotAllowed"
    assert rollout.arm.posted == [("0",)]


async def test_all_that_policy_forbids_is_told_at_once() -> None:
    world = World(allow_whole_scale_set=False, read_instance_views=False)
    await handled(
        request_body(
            subscriptionId=OTHER_SUBSCRIPTION,
            instanceIds=...,
            deadline="2026-01-31T11:00:00Z",
            notBefore="2020-01-01T00:00:00Z",
            rollout={"byUpdateDomain": True},
        ),
        world,
    )
    assert set(problems(world)) == {"scale set", "instanceIds", "deadline", "rollout"}


async def test_whole_scale_sets_can_be_switched_off() -> None:
    world = await handled(request_body(instanceIds=...), World(allow_whole_scale_set=False))
    assert problems(world) == {"instanceIds": "is missing, and this app does not maintain whole scale sets"}
    allowed = await handled(world=World(allow_whole_scale_set=False))
    assert allowed.arm.posted == [("0", "1", "2")]


async def test_a_whole_scale_set_is_posted_by_the_names_of_its_eligible_instances() -> None:
    world = await handled(request_body(instanceIds=...), World([completed("0"), *World().arm._views.values()][1:]))
    assert world.arm.posted == [("0", "1", "2")]


async def test_only_an_app_that_reads_no_views_posts_a_whole_scale_set_without_names() -> None:
    world = await handled(request_body(instanceIds=...), World(read_instance_views=False))
    assert (world.arm.posted, world.arm.looks) == ([None], 0)


@pytest.mark.parametrize("app_wide", [True, False])
async def test_a_dry_run_does_everything_but_the_post(*, app_wide: bool) -> None:
    world = await handled(request_body(dryRun=not app_wide), World(dry_run=app_wide))
    assert world.end["status"] == "NothingToDo"
    assert world.end["dryRun"] is True
    assert world.end["waves"] == [["0", "1", "2"]]
    assert world.outcomes == {"0": "WouldMaintain", "1": "WouldMaintain", "2": "WouldMaintain"}
    assert (world.arm.posted, world.arm.looks) == ([], 1)


# ---- times


async def test_a_request_waits_in_the_queue_until_its_not_before() -> None:
    world = await handled(request_body(notBefore="2026-01-31T14:00:00+01:00"))
    waiting = clone(world)
    assert (waiting.message_id, waiting.due) == ("req-1:r1", NOW + timedelta(hours=1))
    assert json.loads(waiting.body) == request_body(notBefore="2026-01-31T14:00:00+01:00")
    assert (world.arm.looks, world.bus.published) == (0, [])
    world.clock.time = waiting.due
    await world.deliver()
    assert world.arm.posted == [("0", "1", "2")]
    operation = read_record(world.bus.operations.messages[0].body)
    assert operation.request_id == "req-1"
    assert operation.deadline == NOW + timedelta(hours=7)


async def test_a_deadline_that_has_passed_before_anyone_looked_rejects_the_request() -> None:
    world = await handled(request_body(deadline="2026-01-31T12:00:00Z"))
    assert problems(world) == {"deadline": "has passed"}
    assert world.arm.posted == []


async def test_a_deadline_that_passes_while_arm_is_busy_ends_the_request_as_timed_out() -> None:
    world = World()
    world.arm.view_answers = [TransientError("list", BUSY, status=503) for _ in range(50)]
    await handled(request_body(deadline="2026-01-31T12:10:00Z"), world)
    await world.run()
    assert world.end["status"] == "TimedOut"
    assert world.end["error"]["code"] == "DeadlineExceeded"
    assert world.outcomes == {"0": "NotAttempted", "1": "NotAttempted", "2": "NotAttempted"}
    assert world.clock.time == NOW + timedelta(minutes=10)


@pytest.mark.parametrize("field", ["notBefore", "deadline"])
async def test_a_time_beyond_what_a_queue_can_hold_is_rejected(field: str) -> None:
    world = await handled(request_body(**{field: "9999-12-31T23:59:59Z"}))
    assert problems(world) == {field: "must be within 35 days"}


# ---- trouble before anything is started: a clone of the request, later


async def test_views_that_cannot_be_read_now_are_asked_later_by_a_clone() -> None:
    world = World()
    world.arm.view_answers = [
        TransientError("list", BUSY, status=503),
        ThrottledError("list", BUSY, retry_after=seconds(1200)),
    ]
    await handled(world=world, traceparent="00-t")
    first = clone(world)
    assert first.message_id == "req-1:r1"
    assert NOW + seconds(10) <= first.due <= NOW + seconds(13)
    assert first.properties["traceparent"] == "00-t"
    assert world.bus.published == []
    world.clock.time = first.due
    await world.deliver()
    second = clone(world)
    assert second.message_id == "req-1:r2"
    assert second.due >= first.due + seconds(1200)
    assert "MIIHpT" not in str(second.properties)
    await world.run()
    assert world.end["status"] == "Succeeded"


async def test_a_throttled_post_is_tried_later_by_a_clone_and_other_requests_of_the_subscription_wait() -> None:
    world = World()
    world.arm.post_answers = [Throttled(BUSY, seconds(600))]
    await handled(world=world)
    assert clone(world).due >= NOW + seconds(600)
    looks = world.arm.looks
    await handled(request_body(requestId="other"), world, message_id="other")
    assert (world.arm.looks, len(world.arm.posted)) == (looks, 1)
    assert {message.message_id for message in world.bus.requests.messages} == {"req-1:r1", "other:r1"}
    assert all(message.due >= NOW + seconds(600) for message in world.bus.requests.messages)


async def test_views_that_may_not_be_read_end_the_request_at_once() -> None:
    world = World()
    world.arm.view_answers = [RefusedError("list", DENIED, status=403)]
    await handled(world=world)
    assert (world.end["status"], world.end["error"]["code"]) == ("Failed", "AuthorizationFailed")


# ---- how the POST can be answered


async def test_a_refused_post_ends_the_request() -> None:
    world = World()
    world.arm.post_answers = [Refused(DENIED, 403)]
    await handled(world=world)
    assert (world.end["status"], world.end["error"]["code"]) == ("Failed", "AuthorizationFailed")
    # Persisted before it is told, lest a second run of the message decide otherwise.
    assert world.bus.log == ["track req-1:w0:p0", "publish req-1:ended"]


async def test_a_post_without_an_answer_is_kept_as_one_that_may_have_been_done() -> None:
    world = World()
    world.arm.post_answers = [LOST]
    await handled(world=world)
    assert world.bus.published == []
    record = read_record(world.bus.operations.messages[0].body)
    assert record.posted_at == NOW
    await world.run()
    assert len(world.arm.posted) == 1


async def test_an_answer_that_points_elsewhere_ends_in_a_clear_failure_that_names_the_host() -> None:
    world = World()
    world.arm.post_answers = [UntrustedUrl("evil.example", "only 'management.azure.com' is trusted")]
    await handled(world=world)
    await world.run()
    assert world.end["status"] == "Failed"
    assert world.end["error"]["code"] == "UntrustedUrl"
    assert world.end["error"]["target"] == "evil.example"
    assert set(world.outcomes.values()) == {"Unknown"}


async def test_a_failure_told_by_the_post_itself_is_a_failure() -> None:
    world = World()
    world.arm.post_answers = [Failed(DENIED)]
    await handled(world=world)
    await world.run()
    assert world.end["status"] == "Failed"


# ---- redelivery


async def test_a_redelivered_request_goes_on_as_a_suspect_clone_and_asks_arm_nothing() -> None:
    world = World()
    world.send(traceparent="00-t")
    world.bus.requests.messages[0].deliveries = 1
    await world.deliver()
    may_have_started = clone(world)
    assert (may_have_started.message_id, may_have_started.due) == ("req-1:r1", NOW)
    assert may_have_started.properties["maintenance-may-have-started"] is True
    assert may_have_started.properties["traceparent"] == "00-t"
    assert (world.arm.looks, world.arm.posted) == (0, [])


async def test_a_redelivered_request_still_waits_for_its_not_before() -> None:
    world = World()
    world.send(request_body(notBefore="2026-01-31T14:00:00+01:00"))
    world.bus.requests.messages[0].deliveries = 1
    await world.deliver()
    waiting = clone(world)
    assert (waiting.message_id, waiting.due) == ("req-1:r1", NOW + timedelta(hours=1))
    assert (world.arm.looks, world.arm.posted) == (0, [])


async def test_a_suspect_clone_leaves_a_record_that_says_a_post_may_have_been_sent() -> None:
    world = World()
    world.send()
    world.bus.requests.messages[0].deliveries = 1
    await world.deliver()
    await world.deliver()
    assert world.bus.log[-1] == "track req-1:w0:p0"
    assert read_record(world.bus.operations.messages[0].body).posted_at == NOW
    assert world.arm.posted == []
    await world.run()
    assert (world.end["status"], len(world.arm.posted)) == ("Succeeded", 1)


async def test_a_suspect_clone_does_not_disturb_the_record_of_the_run_before_it() -> None:
    world = await handled()
    before = world.bus.operations.messages[0].body
    world.bus.requests._seen.clear()
    world.send()
    world.bus.requests.messages[0].deliveries = 1
    await world.deliver()
    await world.deliver()
    assert world.bus.operations.dropped == ["req-1:w0:p0"]
    assert [message.body for message in world.bus.operations.messages] == [before]
    await world.run()
    assert (world.end["status"], len(world.arm.posted)) == ("Succeeded", 1)


# ---- Service Bus failing


async def test_events_that_cannot_be_told_now_go_into_the_record() -> None:
    world = World()
    world.bus.down = {"events"}
    await handled(world=world)
    operation = read_record(world.bus.operations.messages[0].body)
    assert [event.event_id for event in operation.outbox] == ["req-1:accepted"]
    world.bus.down = set()
    await world.run()
    assert list(world.bus.events) == ["req-1:accepted", "req-1:ended"]


async def test_an_end_that_cannot_be_told_now_is_kept_and_told_later() -> None:
    world = World([])
    world.bus.down = {"events"}
    await handled(world=world)
    assert world.bus.operations.messages
    world.bus.down = set()
    await world.run()
    assert world.end["status"] == "NothingToDo"


async def test_a_rejection_that_cannot_be_told_now_is_told_by_a_clone_within_minutes() -> None:
    world = World()
    world.bus.down = {"events"}
    await handled(b"nonsense", world)
    assert clone(world).due == NOW + timedelta(minutes=1)
    world.clock.time = clone(world).due
    await world.deliver()
    assert clone(world).message_id == "req-1:r2"
    world.bus.down = set()
    await world.run()
    assert "body" in problems(world)


async def test_a_rejection_that_cannot_be_told_for_hours_is_left_to_the_dead_letter_queue() -> None:
    world = World()
    world.bus.down = {"events"}
    world.send(b"nonsense")
    await world.run()
    assert [reason for reason, _ in world.bus.requests.dead] == ["MaxDeliveryCountExceeded"]
    assert world.clock.time >= NOW + timedelta(hours=6)


async def test_a_request_whose_record_cannot_be_kept_comes_again_as_one_that_may_have_been_started() -> None:
    world = World()
    world.bus.down = {"operations"}
    await handled(world=world)
    assert clone(world).properties["maintenance-may-have-started"] is True
    assert clone(world).due == NOW + timedelta(minutes=1)
    world.bus.down = set()
    await world.run()
    assert (world.end["status"], world.arm.maintained) == ("Succeeded", {"0": 1, "1": 1, "2": 1})


async def test_what_is_unforeseen_raises_and_starts_nothing() -> None:
    world = World()
    world.arm.post_answers = [RuntimeError("unforeseen")]
    await handled(world=world)
    assert [type(failure) for failure in world.failures] == [ExceptionGroup]
    assert world.bus.log == []


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
    world = await handled(**properties)
    assert world.arm.posted == [("0", "1", "2")]
    assert "req-1:accepted" in world.bus.events


async def test_correlation_and_trace_reach_every_event() -> None:
    world = World()
    world.send(traceparent="00-t")
    world.bus.requests.messages[0].correlation_id = "order-7"
    await world.run()
    assert {event.correlation_id for event in world.bus.published} == {"order-7"}
    assert {event.trace["traceparent"] for event in world.bus.published} == {"00-t"}


async def test_a_success_without_an_operation_is_confirmed_later_by_the_timer() -> None:
    world = World()
    world.arm.post_answers = [Succeeded()]
    await handled(world=world)
    assert read_record(world.bus.operations.messages[0].body).calls[0].ended == "succeeded"


async def test_a_202_without_headers_is_followed_by_the_views() -> None:
    world = World()
    world.arm.post_answers = [Accepted(None)]
    await handled(world=world)
    assert world.bus.log == ["publish req-1:accepted", "track req-1:w0:p0"]
