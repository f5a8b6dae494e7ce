"""What subscribers are told: read as they read it, with Azure's own CloudEvent."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from azure.core.messaging import CloudEvent
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maintenance.domain.errors import Problem
from maintenance.domain.messages import MAX_EVENT, MaintenanceEvent
from maintenance.domain.observations import ErrorDetail
from maintenance.domain.operation import Operation, Outcome, Phase, Result, Status
from maintenance.lifecycle.events import accepted, ended, progressed, rejected
from tests.support.samples import NOW, OPERATION_URL, SCALE_SET, SUBSCRIPTION, new_operation, seconds

NAMES = {
    "subscriptionId": SUBSCRIPTION,
    "resourceGroupName": "web-rg",
    "vmScaleSetName": "web",
}
SECRETS = ["MIIHpT", "Ab-cd_EF", "eyJhbGciOi", "hunter2"]
LEAK = f"polled {OPERATION_URL} as Bearer eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJ4In0.c2ln with SharedAccessKey=hunter2"


def finished(status: Status = Status.SUCCEEDED, **changes: Any) -> Operation:
    operation = new_operation(
        phase=Phase.FINISHED,
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


def test_an_end_is_a_cloud_event_that_says_what_became_of_each_instance() -> None:
    event = received(ended(finished()))
    assert event.type == "vmss.maintenance.completed.v1"
    assert event.id == "req-1:ended"
    assert event.source == SCALE_SET.resource_id
    assert event.subject == "req-1"
    assert event.time == NOW + seconds(90)
    assert event.data == {
        "requestId": "req-1",
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


def test_a_failure_tells_arms_own_account() -> None:
    error = ErrorDetail("HostBroken", "The host broke.", "vm 1", (ErrorDetail("Disk", "gone"),))
    data = received(ended(finished(Status.FAILED, error=error))).data
    assert data is not None
    assert data["error"] == {
        "code": "HostBroken",
        "message": "The host broke.",
        "target": "vm 1",
        "details": [{"code": "Disk", "message": "gone", "target": None, "details": []}],
    }


def test_a_start_tells_the_waves_and_the_deadline() -> None:
    event = received(accepted(finished(), NOW))
    assert event.type == "vmss.maintenance.accepted.v1"
    assert event.id == "req-1:accepted"
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
    event = received(progressed(operation, NOW))
    assert event.id == "req-1:progressed:w0"
    assert event.data is not None
    counted = {name: event.data[name] for name in ("status", "wave", "waves", "done", "failed", "left")}
    assert counted == {"status": "InProgress", "wave": 1, "waves": 3, "done": 2, "failed": 1, "left": 3}
    assert [entry["instanceId"] for entry in event.data["instances"]] == ["0", "1"]


def test_a_dry_run_says_so_and_shows_its_waves() -> None:
    data = received(ended(finished(Status.NOTHING_TO_DO, dry_run=True))).data
    assert data is not None
    assert (data["dryRun"], data["waves"]) == (True, [["0"], ["1"]])


def test_a_rejection_quotes_the_problems_and_the_message() -> None:
    event = received(refusal(b'{"instanceIDs": ["0"]}', [Problem("instanceIDs", "is not a field", '["0"]')]))
    assert event.type == "vmss.maintenance.rejected.v1"
    assert event.id == "req-1:ended"
    assert event.source == "/queues/maintenance-requests"
    assert event.data == {
        "requestId": "req-1",
        "status": "Rejected",
        "problems": [{"field": "instanceIDs", "message": "is not a field", "value": '["0"]'}],
        "request": '{"instanceIDs": ["0"]}',
        "requestBytes": 22,
        "requestCut": False,
    }


def refusal(body: bytes, problems: list[Problem], **changes: Any) -> MaintenanceEvent:
    given: dict[str, Any] = {
        "request_id": "req-1",
        "problems": problems,
        "body": body,
        "now": NOW,
        "source": "/queues/maintenance-requests",
        "correlation_id": None,
        "trace": {},
        **changes,
    }
    return rejected(**given)


def test_a_long_or_unreadable_message_is_quoted_in_part() -> None:
    data = received(refusal(b"\xff\x00" * 100_000, [Problem("body", "must be UTF-8")])).data
    assert data is not None
    assert data["requestBytes"] == 200_000
    assert data["requestCut"]
    assert data["request"].startswith("\\xff\x00\\xff")
    assert len(data["request"]) < 20_000


def test_a_rejection_by_the_requests_own_wish_ends_like_any_other() -> None:
    error = ErrorDetail("Rejected", "…", details=(ErrorDetail("instanceIds", "no maintenance is planned", "2"),))
    event = ended(finished(Status.REJECTED, error=error))
    assert event.type == "vmss.maintenance.rejected.v1"
    assert event.event_id == "req-1:ended"
    assert event.data["problems"] == [{"field": "instanceIds", "message": "no maintenance is planned", "value": "2"}]


def test_a_request_has_one_end_whatever_it_is() -> None:
    by_end = {ended(finished(status)).event_id for status in Status}
    assert by_end == {refusal(b"", []).event_id}


def test_correlation_and_trace_are_carried_through() -> None:
    trace = {"traceparent": "00-a-b-01", "tracestate": "x=y", "Diagnostic-Id": "00-a-b-01"}
    event = ended(finished(correlation_id="c", trace=trace))
    assert event.correlation_id == "c"
    assert event.trace == trace
    assert received(event).extensions == {"traceparent": "00-a-b-01", "tracestate": "x=y"}
    assert ended(finished()).correlation_id == "req-1"


def test_what_has_not_ended_has_no_end_to_tell() -> None:
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
        refusal(LEAK.encode(), [Problem("reason", LEAK, LEAK)], reason=LEAK),
    ],
    ids=["ended", "rejected on demand", "rejected"],
)
def test_no_secret_passes_into_an_event(event: MaintenanceEvent) -> None:
    text = event.to_json().decode()
    assert [secret for secret in SECRETS if secret in text] == []
    assert "management.azure.com/subscriptions" in text


def test_a_thousand_instances_with_much_to_say_are_all_named() -> None:
    outcomes = {str(n): Outcome(Result.FAILED, "ü" * 300, 0) for n in range(1_000)}
    event = ended(finished(Status.FAILED, outcomes=outcomes))
    data = received(event).data
    assert data is not None
    assert len(event.to_json()) <= MAX_EVENT
    assert len(data["instances"]) == 1_000
    assert "instancesCut" not in data


def test_more_than_fit_are_counted() -> None:
    outcomes = {f"{n:0>80}": Outcome(Result.FAILED, None, 0) for n in range(3_000)}
    data = received(ended(finished(Status.FAILED, outcomes=outcomes))).data
    assert data is not None
    assert data["instances"]
    assert len(data["instances"]) + data["instancesCut"] == 3_000


def test_the_longest_errors_and_the_most_problems_fit_too() -> None:
    inner = ErrorDetail("字" * 200, "字" * 500, "字" * 200)
    worst = ErrorDetail("字" * 200, "字" * 2_000, "字" * 200, (inner,) * 20)
    outcomes = {str(n): Outcome(Result.FAILED, "字" * 2_200, 0) for n in range(1_000)}
    wrapped = ErrorDetail("DeadlineExceeded", "late", details=(worst,))
    problems = [Problem("字" * 120, "字" * 2_000, "字" * 200)] * 500
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


@settings(derandomize=True, max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.text(st.characters(), max_size=30),
    st.binary(max_size=50),
    st.text(st.characters(categories=["Cs", "Cc", "Lu"]), max_size=10),
)
def test_any_text_makes_an_event_that_subscribers_can_read(text: str, body: bytes, odd: str) -> None:
    outcomes = {"0": Outcome(Result.FAILED, text + odd, 0)}
    for event in (
        ended(finished(Status.FAILED, error=ErrorDetail(odd, text, odd), outcomes=outcomes, reason=text)),
        refusal(body, [Problem(odd or "x", text, odd)]),
    ):
        read = received(event)
        assert read.id == "req-1:ended"
        assert json.loads(event.to_json())["specversion"] == "1.0"
