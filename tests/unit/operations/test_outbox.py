"""What is told and what is kept after a run."""

from __future__ import annotations

from dataclasses import replace

from maintenance.operations.outbox import RETRY_AFTER, dispatch

from maintenance.domain.messages import MaintenanceEvent
from maintenance.domain.operation import Operation, Phase, Status
from maintenance.lifecycle.actions import End, Wait
from maintenance.lifecycle.events import accepted, ended, progressed
from tests.support.samples import NOW, new_operation, seconds

DUE = NOW + seconds(60)
WAITING = new_operation(phase=Phase.TRACKING, waves=(("0",), ("1",)), revision=2)
FINISHED = new_operation(phase=Phase.FINISHED, status=Status.FAILED, ended_at=NOW, revision=3)
STARTED = accepted(WAITING, NOW)
PROGRESS = progressed(WAITING, NOW)
ENDED = ended(FINISHED)


def ids(events: tuple[MaintenanceEvent, ...]) -> list[str]:
    return [event.event_id for event in events]


def kept(operation: Operation | None) -> tuple[str, list[str]]:
    assert operation is not None
    return operation.message_id, ids(operation.outbox)


def test_what_waits_is_told_about_and_kept_until_due() -> None:
    sent = dispatch(Wait(WAITING, DUE, (PROGRESS,)), NOW)
    assert ids(sent.events) == ["req-1:progressed:w0"]
    assert sent.persist == (WAITING, DUE)
    assert sent.publish_after == ()


def test_what_could_not_be_told_is_kept_in_the_record_and_told_before_anything_newer() -> None:
    sent = dispatch(Wait(replace(WAITING, outbox=(STARTED,)), DUE, (PROGRESS,)), NOW)
    assert ids(sent.events) == ["req-1:accepted", "req-1:progressed:w0"]
    assert sent.persist == (WAITING, DUE)
    operation, due = sent.persist_if_unpublished
    assert kept(operation) == (WAITING.message_id, ["req-1:accepted", "req-1:progressed:w0"])
    assert due == DUE


def test_an_end_that_touched_instances_is_told_and_nothing_is_kept() -> None:
    sent = dispatch(End(FINISHED, (STARTED, ENDED)), NOW)
    assert ids(sent.events) == ["req-1:accepted", "req-1:ended"]
    assert sent.persist is None


def test_an_end_that_could_not_be_told_comes_again_under_another_id() -> None:
    operation, due = dispatch(End(FINISHED, (STARTED, ENDED)), NOW).persist_if_unpublished
    assert kept(operation) == ("req-1:w0:p4", ["req-1:accepted"])
    assert due == NOW + RETRY_AFTER


def test_an_end_that_leaves_instances_untouched_is_kept_before_it_is_told() -> None:
    sent = dispatch(End(replace(FINISHED, outbox=(STARTED,)), (ENDED,), commit=True), NOW)
    assert ids(sent.events) == ["req-1:accepted"]
    assert sent.persist == (FINISHED, NOW)
    assert ids(sent.publish_after) == ["req-1:ended"]
    operation, due = sent.persist_if_unpublished
    assert kept(operation) == (FINISHED.message_id, ["req-1:accepted"])
    assert due == NOW
