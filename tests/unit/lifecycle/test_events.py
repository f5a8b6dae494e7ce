"""Events, rebuilt from records and read as subscribers read them, with Azure's own CloudEvent."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from azure.core.messaging import CloudEvent
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maintenance.domain.messages import MAX_EVENT, MaintenanceEvent
from maintenance.domain.observations import ErrorDetail
from maintenance.domain.operation import Operation, Outcome, Owed, Phase, Reply, Result, Rollout, Status
from maintenance.lifecycle.events import accepted, ended, owed_events, progressed, replied
from maintenance.operations.records import read_record, read_reply, to_reply_record, write_record
from tests.support.machine import following, planned, read_state
from tests.support.samples import (
    NOW,
    OPERATION_URL,
    RUN,
    SCALE_SET,
    SUBSCRIPTION,
    completed,
    eligible,
    new_operation,
    seconds,
)

NAMES = {
    "subscriptionId": SUBSCRIPTION,
    "resourceGroupName": "web-rg",
    "vmScaleSetName": "web",
}
SECRETS = ["MIIHpT", "Ab-cd_EF", "eyJhbGciOi", "hunter2"]
LEAK = f"polled {OPERATION_URL} as Bearer eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJ4In0.c2ln with SharedAccessKey=hunter2"


def finished(status: Status = Status.SUCCEEDED, **changes: Any) -> Operation:
    operation = new_operation(
        phase=Phase.END,
        waves=(("0",), ("1",)),
        wave=1,
        started_at=NOW,
        ended_at=NOW + seconds(90),
        status=status,
        outcomes={
            "0": Outcome(Result.COMPLETED, wave=0),
            "1": Outcome(Result.COMPLETED, wave=1),
            "2": Outcome(Result.SKIPPED, "no maintenance is planned"),
        },
    )
    return replace(operation, **changes)


def received(event: MaintenanceEvent) -> CloudEvent[dict[str, Any]]:
    return CloudEvent.from_json(event.to_json())


def test_end_is_a_cloud_event_with_the_outcome_of_each_instance() -> None:
    event = received(ended(finished()))
    assert event.type == "vmss.maintenance.completed.v1"
    assert event.id == f"{RUN}:ended"
    assert event.source == SCALE_SET.resource_id
    assert event.subject == "req-1"
    assert event.time == NOW + seconds(90)
    assert event.data == {
        "requestId": "req-1",
        "runId": RUN,
        **NAMES,
        "resourceId": SCALE_SET.resource_id,
        "status": "Succeeded",
        "start": "2026-01-31T12:00:00+00:00",
        "end": "2026-01-31T12:01:30+00:00",
        "error": None,
        "instances": [
            {"instanceId": "0", "outcome": "Completed", "wave": 1},
            {"instanceId": "1", "outcome": "Completed", "wave": 2},
            {"instanceId": "2", "outcome": "Skipped", "message": "no maintenance is planned"},
        ],
    }


def test_subscriptions_can_filter_by_plain_properties() -> None:
    event = ended(finished(Status.FAILED))
    assert event.properties == {
        "type": "vmss.maintenance.completed.v1",
        "status": "Failed",
        "requestId": "req-1",
        **NAMES,
    }


def test_failed_end_has_the_error_of_arm() -> None:
    error = ErrorDetail("HostBroken", "The host broke.", "vm 1", (ErrorDetail("Disk", "gone"),))
    data = received(ended(finished(Status.FAILED, error=error))).data
    assert data is not None
    assert data["error"] == {
        "code": "HostBroken",
        "message": "The host broke.",
        "target": "vm 1",
        "details": [{"code": "Disk", "message": "gone", "target": None, "details": []}],
    }


def test_accepted_has_waves_and_deadline() -> None:
    event = received(accepted(finished(), NOW))
    assert event.type == "vmss.maintenance.accepted.v1"
    assert event.id == f"{RUN}:accepted"
    assert event.data is not None
    assert event.data["status"] == "Accepted"
    assert event.data["waves"] == [["0"], ["1"]]
    assert datetime.fromisoformat(event.data["deadline"]) == NOW + seconds(6 * 3600)


def test_progress_counts_what_is_done_failed_and_left() -> None:
    operation = new_operation(
        waves=(("0", "1"), ("2", "3"), ("4",)),
        wave=0,
        outcomes={
            "0": Outcome(Result.COMPLETED, wave=0),
            "1": Outcome(Result.FAILED, "broke", 0),
            "9": Outcome(Result.ALREADY_COMPLETED),
        },
    )
    event = received(progressed(operation, 0, NOW))
    assert event.id == f"{RUN}:progressed:w0"
    assert event.data is not None
    counted = {name: event.data[name] for name in ("status", "wave", "waves", "done", "failed", "left")}
    assert counted == {"status": "InProgress", "wave": 1, "waves": 3, "done": 2, "failed": 1, "left": 3}
    assert [entry["instanceId"] for entry in event.data["instances"]] == ["0", "1"]


def test_end_of_dry_run_says_so_and_shows_its_waves() -> None:
    data = received(ended(finished(Status.NOTHING_TO_DO, dry_run=True))).data
    assert data is not None
    assert (data["dryRun"], data["waves"]) == (True, [["0"], ["1"]])


def test_rejection_quotes_problems_and_message() -> None:
    event = received(refusal(b'{"instanceIDs": ["0"]}', [("instanceIDs", "is not a field", '["0"]')]))
    assert event.type == "vmss.maintenance.rejected.v1"
    assert event.id == f"{RUN}:ended"
    assert event.source == "/queues/maintenance-requests"
    assert event.data == {
        "requestId": "req-1",
        "runId": RUN,
        "status": "Rejected",
        "problems": [{"field": "instanceIDs", "message": "is not a field", "value": '["0"]'}],
        "request": '{"instanceIDs": ["0"]}',
        "requestBytes": 22,
        "requestCut": False,
    }


def refusal(body: bytes, problems: Sequence[tuple[str, str, str | None]], **changes: Any) -> MaintenanceEvent:
    """A rejection as the handler makes it: with the beginning of the body as text."""
    quoted = body[:4096].decode(errors="backslashreplace")
    reply = Reply(
        run_id=RUN,
        request_id="req-1",
        at=NOW,
        source="/queues/maintenance-requests",
        problems=tuple(problems),
        quoted=quoted,
        size=len(body),
    )
    return replied(replace(reply, **changes))


def test_long_or_unreadable_message_is_quoted_in_part() -> None:
    data = received(refusal(b"\xff\x00" * 100_000, [("body", "must be UTF-8", None)])).data
    assert data is not None
    assert data["requestBytes"] == 200_000
    assert data["requestCut"]
    assert data["request"].startswith("\\xff\x00\\xff")
    assert len(data["request"]) < 20_000


def test_rejection_by_the_requests_own_wish_ends_like_any_other() -> None:
    error = ErrorDetail("Rejected", "…", details=(ErrorDetail("instanceIds", "no maintenance is planned", "2"),))
    event = ended(finished(Status.REJECTED, error=error))
    assert event.type == "vmss.maintenance.rejected.v1"
    assert event.event_id == f"{RUN}:ended"
    assert event.data["problems"] == [{"field": "instanceIds", "message": "no maintenance is planned", "value": "2"}]


def test_every_kind_of_end_has_the_same_id() -> None:
    by_end = {ended(finished(status)).event_id for status in Status}
    assert by_end == {refusal(b"", []).event_id}


def test_correlation_and_trace_are_carried_through() -> None:
    trace = {"traceparent": "00-a-b-01", "tracestate": "x=y", "Diagnostic-Id": "00-a-b-01"}
    event = ended(finished(correlation_id="c", trace=trace))
    assert event.correlation_id == "c"
    assert event.trace == trace
    assert received(event).extensions == {"traceparent": "00-a-b-01", "tracestate": "x=y"}
    assert ended(finished()).correlation_id == "req-1"


def test_cancellation_is_answered_with_accepted_under_its_own_run() -> None:
    reply = Reply(
        run_id=RUN, request_id="cancel-1", at=NOW, source="/queues/q", scale_set=SCALE_SET, cancels="req-1", reason="r"
    )
    event = received(replied(reply))
    assert (event.id, event.type, event.source) == (
        f"{RUN}:accepted",
        "vmss.maintenance.accepted.v1",
        SCALE_SET.resource_id,
    )
    assert event.data is not None
    assert (event.data["status"], event.data["cancels"], event.data["reason"]) == ("Accepted", "req-1", "r")
    assert replied(reply).properties["requestId"] == "cancel-1"


def test_duplicate_names_the_run_that_is_under_way() -> None:
    event = received(ended(finished(Status.DUPLICATE, duplicate_of="f" * 32)))
    assert (event.id, event.type) == (f"{RUN}:ended", "vmss.maintenance.duplicate.v1")
    assert event.data is not None
    assert event.data["duplicateOf"] == "f" * 32


def test_record_owes_its_events_in_order_and_an_end_its_end_last() -> None:
    owed = (Owed("accepted", NOW), Owed("progressed", NOW, 0))
    tracking = finished(phase=Phase.TRACK, owed=owed)
    assert [event.event_id for event in owed_events(tracking)] == [f"{RUN}:accepted", f"{RUN}:progressed:w0"]
    assert [event.event_id for event in owed_events(finished(owed=owed))][-1] == f"{RUN}:ended"
    assert len(owed_events(finished(owed=owed))) == 3
    assert owed_events(finished(phase=Phase.REST)) == ()


def test_events_rebuilt_from_the_record_have_the_same_ids_and_bytes() -> None:
    owed = (Owed("accepted", NOW), Owed("progressed", NOW + seconds(1), 0))
    operation = finished(owed=owed, reason="kernel", trace={"traceparent": "t"})
    again = read_record(write_record(operation))
    assert [event.to_json() for event in owed_events(again)] == [event.to_json() for event in owed_events(operation)]
    later = replace(operation, number=99, strikes=2)
    assert [event.to_json() for event in owed_events(later)] == [event.to_json() for event in owed_events(operation)]


def test_reply_rebuilt_from_its_record_has_the_same_bytes() -> None:
    reply = Reply(
        run_id=RUN,
        request_id="r",
        at=NOW,
        source="/q",
        problems=(("a", "b", None), ("c", "d", "e")),
        quoted="ä",
        size=2,
    )
    again = read_reply(to_reply_record(replace(reply, number=3), None).body)
    assert replied(again).to_json() == replied(reply).to_json()


def test_carried_events_say_the_same_when_the_next_wave_was_found_done_by_others() -> None:
    """The topic was away: what is owed for the first wave goes along with what is found at the next."""
    owed = (Owed("accepted", NOW), Owed("progressed", NOW, 0))
    before = planned(
        ("0",),
        ("1",),
        ("2",),
        wave=1,
        started_at=NOW,
        owed=owed,
        outcomes={"0": Outcome(Result.COMPLETED, wave=0), "9": Outcome(Result.ALREADY_COMPLETED)},
        rollout=Rollout(max_instances_per_wave=1),
    )
    views = [completed("0", NOW), completed("1"), eligible("2")]
    after = following(read_state(before, views))
    assert after.outcomes["1"].result is Result.ALREADY_COMPLETED
    assert [event.to_json() for event in owed_events(after)[:2]] == [event.to_json() for event in owed_events(before)]
    end = replace(after, phase=Phase.END, status=Status.FAILED, ended_at=NOW, owed=owed)
    assert [event.to_json() for event in owed_events(end)[:2]] == [event.to_json() for event in owed_events(before)]


def test_operation_that_has_not_ended_has_no_end() -> None:
    with pytest.raises(ValueError, match="has not ended"):
        ended(new_operation())


@pytest.mark.parametrize(
    "event",
    [
        ended(
            finished(
                Status.FAILED,
                error=ErrorDetail(LEAK, LEAK, LEAK, (ErrorDetail(LEAK, LEAK, LEAK),)),
                outcomes={"0": Outcome(Result.FAILED, LEAK, 0)},
                reason=LEAK,
            )
        ),
        ended(finished(Status.REJECTED, error=ErrorDetail("Rejected", "…", details=(ErrorDetail("x", LEAK, LEAK),)))),
        refusal(LEAK.encode(), [("reason", LEAK, LEAK)], reason=LEAK),
    ],
    ids=["ended", "rejected on demand", "rejected"],
)
def test_event_contains_no_secret(event: MaintenanceEvent) -> None:
    text = event.to_json().decode()
    assert [secret for secret in SECRETS if secret in text] == []
    assert "management.azure.com/subscriptions" in text


def test_thousand_instances_with_long_messages_are_all_named() -> None:
    outcomes = {str(n): Outcome(Result.FAILED, "ü" * 300, 0) for n in range(1_000)}
    event = ended(finished(Status.FAILED, outcomes=outcomes))
    data = received(event).data
    assert data is not None
    assert len(event.to_json()) <= MAX_EVENT
    assert len(data["instances"]) == 1_000
    assert "instancesCut" not in data


def test_instances_that_do_not_fit_are_counted() -> None:
    outcomes = {f"{n:0>80}": Outcome(Result.FAILED, None, 0) for n in range(3_000)}
    data = received(ended(finished(Status.FAILED, outcomes=outcomes))).data
    assert data is not None
    assert data["instances"]
    assert len(data["instances"]) + data["instancesCut"] == 3_000


def test_longest_errors_and_most_problems_fit() -> None:
    inner = ErrorDetail("字" * 200, "字" * 500, "字" * 200)
    worst = ErrorDetail("字" * 200, "字" * 2_000, "字" * 200, (inner,) * 20)
    outcomes = {str(n): Outcome(Result.FAILED, "字" * 2_200, 0) for n in range(1_000)}
    wrapped = ErrorDetail("DeadlineExceeded", "late", details=(worst,))
    problems = [("字" * 120, "字" * 2_000, "字" * 200)] * 500
    details = tuple(ErrorDetail("字" * 120, "字" * 2_000, "字" * 200) for _ in range(500))
    for event in (
        ended(finished(Status.FAILED, error=worst, outcomes=outcomes, reason="字" * 1_000)),
        ended(finished(Status.TIMED_OUT, error=wrapped, outcomes=outcomes)),
        ended(finished(Status.REJECTED, error=ErrorDetail("Rejected", "…", details=details), outcomes=outcomes)),
        refusal(b"\xff" * 5_000, problems, scale_set=SCALE_SET, reason="字" * 1_000),
    ):
        assert len(event.to_json()) <= MAX_EVENT
        data = received(event).data
        assert data is not None
        assert data["requestId"] == "req-1"
        assert data["status"] in {status.value for status in Status}


@settings(derandomize=True, max_examples=150, suppress_health_check=list(HealthCheck))
@given(
    st.text(st.characters(), max_size=30),
    st.binary(max_size=50),
    st.text(st.characters(categories=["Cs", "Cc", "Lu"]), max_size=10),
)
def test_any_text_makes_a_readable_event(text: str, body: bytes, odd: str) -> None:
    outcomes = {"0": Outcome(Result.FAILED, text + odd, 0)}
    for event in (
        ended(finished(Status.FAILED, error=ErrorDetail(odd, text, odd), outcomes=outcomes, reason=text)),
        refusal(body, [(odd or "x", text, odd)]),
    ):
        read = received(event)
        assert read.id == f"{RUN}:ended"
        assert json.loads(event.to_json())["specversion"] == "1.0"
