"""What the worker is told becomes spans and metrics; what is missing or fails does not keep it from its work."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.trace import SpanKind

from maintenance.domain.messages import Delivery, Envelope
from maintenance.domain.observations import Accepted, ErrorDetail, Refused
from maintenance.domain.operation import Operation, Outcome, Owed, Phase, Result, Status
from maintenance.lifecycle import ending
from maintenance.lifecycle.actions import Continue
from maintenance.operations.units import Unit
from maintenance.telemetry import guarding
from maintenance.telemetry.spans import OLDEST, owed_spans
from maintenance.telemetry.trace_context import run_trace
from tests.support.machine import RULES
from tests.support.samples import NOW, RUN, new_operation, seconds
from tests.support.telemetry import Recorded, ids_of

SENDER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
HOST = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01"
SECRET = "https://x.example/?sig=c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"
COUNTS = {"taken": 1, "persisted": 1, "ended": 0, "unreadable": 0, "failed": 0}


@pytest.fixture
def recorded() -> Recorded:
    return Recorded(lambda: NOW)


def ended(**changes: Any) -> Operation:
    """An END record of two waves: the first owed, the second ended with the run."""
    operation = new_operation(
        trace={"traceparent": SENDER},
        phase=Phase.END,
        status=Status.SUCCEEDED,
        waves=(("0",), ("1", "2")),
        wave=1,
        outcomes={"0": Outcome(Result.COMPLETED, wave=0), "1": Outcome(Result.COMPLETED, wave=1)},
        owed=(Owed("progressed", NOW + seconds(60), 0, NOW, NOW + seconds(50)),),
        wave_began_at=NOW + seconds(70),
        wave_confirmed_at=NOW + seconds(90),
        ended_at=NOW + seconds(100),
    )
    return replace(operation, **changes)


def unit(operation: Operation) -> Unit:
    return Unit(Delivery(body=b"", enqueued_at=NOW - seconds(7)), operation)


def test_end_of_a_run_is_its_span_and_those_of_the_waves_that_are_owed() -> None:
    first, second, run = owed_spans(ended())
    assert [(span.name, span.start, span.end) for span in (first, second, run)] == [
        ("wave 1", NOW, NOW + seconds(60)),
        ("wave 2", NOW + seconds(70), NOW + seconds(100)),
        ("maintenance web", NOW, NOW + seconds(100)),
    ]
    assert [name for name, _ in second.events] == ["posted", "confirmed", "healthy"]
    assert first.parent == second.parent == run.context
    assert run.attributes["vmss.maintenance.instances.completed"] == 2
    assert run.error is None


def test_wave_whose_instances_failed_or_are_not_healthy_does_not_say_healthy() -> None:
    unhealthy = ended(status=Status.FAILED, recovering_since=NOW, error=ErrorDetail("InstancesUnhealthy", SECRET))
    wave, run = owed_spans(unhealthy)[1:]
    assert [name for name, _ in wave.events] == ["posted", "confirmed"]
    assert (run.error, run.attributes["vmss.maintenance.error_code"]) == ("InstancesUnhealthy", "InstancesUnhealthy")
    failed = ended(outcomes={"1": Outcome(Result.FAILED, wave=1), "2": Outcome(Result.NOT_ATTEMPTED, wave=1)})
    assert owed_spans(failed)[1].error == "1 of 2 instances failed"


def test_run_that_is_older_than_the_backend_takes_has_the_spans_of_its_waves_alone() -> None:
    old = ended(requested_at=NOW + seconds(99) - OLDEST)
    assert [span.name for span in owed_spans(old)] == ["wave 1", "wave 2"]
    assert len(owed_spans(ended(requested_at=NOW + seconds(100) - OLDEST))) == 3


def test_wave_in_which_nothing_was_posted_has_no_span() -> None:
    assert [span.name for span in owed_spans(ended(owed=(), wave_began_at=None))] == ["maintenance web"]


async def test_redelivered_record_emits_the_same_spans_again(recorded: Recorded) -> None:
    await recorded.watch.ending([unit(ended())])
    await recorded.watch.ending([unit(ended())])
    spans = recorded.spans()
    assert len(spans) == 6
    assert [span.to_json() for span in spans[:3]] == [span.to_json() for span in spans[3:]]


async def test_what_ends_is_exported_before_its_events_are_published(recorded: Recorded) -> None:
    await recorded.watch.ending([unit(ended())])
    assert len(recorded.exported.spans) == 3


async def test_sampler_that_drops_a_run_drops_its_waves() -> None:
    dropping = Recorded(lambda: NOW, sampler=ParentBased(ALWAYS_OFF))
    await dropping.watch.ending([unit(ended(trace={}))])
    assert dropping.spans() == []
    await dropping.watch.ending([unit(ended())])
    assert len(dropping.spans()) == 3


def test_metrics_of_a_run_are_counted_when_its_end_was_published(recorded: Recorded) -> None:
    recorded.watch.published(ended())
    numbers = recorded.metrics()
    assert numbers["vmss.maintenance.operations.ended", "Succeeded"] == 1
    assert numbers["vmss.maintenance.operation.duration", "Succeeded"] == 100
    assert numbers["vmss.maintenance.wave.duration",] == 60 + 30
    assert numbers["vmss.maintenance.instances", "Completed"] == 2


def test_message_is_a_consumer_span_below_the_host_and_linked_to_its_sender(recorded: Recorded) -> None:
    envelope = Envelope(body=b"", message_id=SECRET, sequence_number=1, properties={"traceparent": SENDER})
    with recorded.watch.receiving(envelope, HOST):
        recorded.watch.request("taken", "req-1")
        # What is worked off at once is emitted after its parent: a process may be killed between the two.
        tick = recorded.watch.tick()
        tick.received([unit(ended())], NOW)
        tick.ended(COUNTS)
        assert recorded.spans() == []
    process, ticked = recorded.spans()
    assert (process.name, process.kind) == ("process maintenance-requests", SpanKind.CONSUMER)
    assert process.parent is not None and f"{process.parent.span_id:016x}" == "00f067aa0ba902b7"
    assert [f"{link.context.span_id:016x}" for link in process.links] == ["b7ad6b7169203331"]
    attributes = process.attributes or {}
    assert attributes["vmss.maintenance.request_id"] == "req-1"
    assert "c2VjcmV0" not in str(attributes["messaging.message.id"])
    assert ticked.parent is not None and ticked.parent.span_id == ids_of(process).span_id
    assert [link.context.span_id for link in ticked.links] == [
        run_trace(RUN, {"traceparent": SENDER}).maintenance.span_id
    ]


def test_message_without_trace_or_host_begins_the_trace_of_its_run(recorded: Recorded) -> None:
    envelope = Envelope(body=b"", sequence_number=1)
    with recorded.watch.receiving(envelope, ""):
        pass
    (process,) = recorded.spans()
    assert (process.parent, f"{ids_of(process).trace_id:032x}") == (None, envelope.run_id)


def test_message_that_fails_says_so_and_still_raises(recorded: Recorded) -> None:
    with pytest.raises(KeyError), recorded.watch.receiving(Envelope(body=b"", sequence_number=1), None):
        raise KeyError(SECRET)
    (process,) = recorded.spans()
    assert (process.status.is_ok, process.status.description) == (False, "KeyError")
    assert process.events == ()


def test_tick_without_a_host_has_metrics_and_no_span(recorded: Recorded) -> None:
    tick = recorded.watch.tick()
    tick.received([unit(ended())], NOW)
    tick.ended(COUNTS)
    assert recorded.spans() == []
    numbers = recorded.metrics()
    assert numbers["vmss.maintenance.operation.overdue",] == 7
    assert numbers["vmss.maintenance.operations.active", "end"] == 1
    with recorded.watch.invoked(HOST):
        recorded.watch.tick().ended(COUNTS)
    (span,) = recorded.spans()
    assert (span.name, (span.attributes or {})["vmss.maintenance.tick.taken"]) == ("tick", 1)
    # An idle phase is shown as none, not as it was.
    assert recorded.metrics()["vmss.maintenance.operations.active", "end"] == 0


async def test_post_is_a_client_span_below_its_wave_with_what_arm_responded(recorded: Recorded) -> None:
    record = new_operation(phase=Phase.POST, number=4, waves=(("0",),), batch=("0",))
    refused = Refused(ErrorDetail("OperationNotAllowed", SECRET), 409)
    # Nothing was sent: the subscription is paused.
    recorded.watch.posted(record, ("0",), refused, NOW, NOW)
    assert recorded.spans() == []
    recorded.watch.called("POST", 409, {"x-ms-request-id": "arm-1"})
    recorded.watch.posted(record, ("0",), refused, NOW, NOW + seconds(1))
    (span,) = recorded.spans()
    attributes = span.attributes or {}
    assert span.kind is SpanKind.CLIENT
    assert span.parent is not None and span.parent.span_id == run_trace(RUN, {}).wave(0).span_id
    assert attributes["http.response.status_code"] == 409
    assert attributes["vmss.maintenance.error_code"] == "OperationNotAllowed"
    assert attributes["error.type"] == "409"
    assert not span.status.is_ok


def test_post_whose_response_was_lost_is_reported_when_the_views_show_it(recorded: Recorded) -> None:
    judged = new_operation(phase=Phase.JUDGE, number=5, waves=(("0",),), batch=("0",), posted_at=NOW)
    posted = replace(judged, phase=Phase.POST, number=4)
    recorded.watch.decided(judged, ending.proceed(replace(judged, phase=Phase.TRACK), NOW))
    recorded.watch.called("POST", 202, {})
    recorded.watch.posted(posted, ("0",), Accepted(None), NOW, NOW)
    found, itself = recorded.spans()
    assert ids_of(found) == ids_of(itself)


def test_calls_are_counted_by_method_and_class_and_limits_by_name(recorded: Recorded) -> None:
    limits = {"x-ms-ratelimit-remaining-resource": "Microsoft.Compute/GetOperationResource;44,<script>;1,bad"}
    recorded.watch.called("GET", 200, limits)
    recorded.watch.called("GET", 429, {"x-ms-ratelimit-remaining-subscription-reads": "1٢"})
    recorded.watch.called("GET", None, {})
    numbers = {name: value for name, value in recorded.metrics().items() if ".arm." in name[0]}
    assert numbers == {
        ("vmss.maintenance.arm.calls", "GET", "2xx"): 1,
        ("vmss.maintenance.arm.calls", "GET", "4xx"): 1,
        ("vmss.maintenance.arm.calls", "GET", "none"): 1,
        ("vmss.maintenance.arm.throttled",): 1,
        ("vmss.maintenance.arm.remaining", "Microsoft.Compute/GetOperationResource"): 44,
    }


def test_hold_is_counted_and_dead_letters_by_bounded_reasons(recorded: Recorded) -> None:
    before = new_operation()
    held = ending.retry(RULES, before, ErrorDetail("LeaseHeld", "Not started."), NOW)
    assert isinstance(held, Continue)
    recorded.watch.decided(before, held)
    recorded.watch.dead_lettered("operations", "MaxDeliveryCountExceeded: Message could not be consumed")
    recorded.watch.dead_lettered("requests", SECRET)
    numbers = recorded.metrics()
    assert numbers["vmss.maintenance.holds",] == 1
    assert numbers["vmss.maintenance.dead_lettered", "operations", "MaxDeliveryCountExceeded"] == 1
    assert numbers["vmss.maintenance.dead_lettered", "requests", "other"] == 1


def test_log_of_a_run_belongs_to_its_trace(recorded: Recorded) -> None:
    with recorded.watch.within(ended()):
        context = trace.get_current_span().get_span_context()
    assert context.span_id == run_trace(RUN, {"traceparent": SENDER}).maintenance.span_id
    assert not trace.get_current_span().get_span_context().is_valid


def test_telemetry_that_fails_is_logged_once_and_raises_nothing(
    recorded: Recorded, caplog: pytest.LogCaptureFixture
) -> None:
    guarding._failed.clear()
    broken = replace(ended(), ended_at=NOW + timedelta.max / 9_999, outcomes=None)  # type: ignore[arg-type] # broken
    for _ in range(2):
        recorded.watch.published(broken)
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "Telemetry failed unexpectedly and is incomplete: AttributeError at watch.py" in caplog.text
