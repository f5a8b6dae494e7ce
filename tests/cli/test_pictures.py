"""What records and events show: pure values, so without any service."""

from __future__ import annotations

import json
from datetime import timedelta

from maintenance.coordination.documents import write_entry
from maintenance.coordination.entries import CancellationMarker, Lease
from maintenance.domain.calendars import Deferral
from maintenance.domain.messages import MaintenanceEvent
from maintenance.domain.observations import ErrorDetail
from maintenance.domain.operation import Call, Operation, Outcome, Owed, Phase, Result, Status
from maintenance.lifecycle.events import owed_events, replied
from maintenance.operations.records import to_record
from maintenance.requests.controls import KINDS
from maintenance_cli.drawing.documents import run_document
from maintenance_cli.drawing.lines import LEAST, Line, Span, as_table
from maintenance_cli.drawing.tree import tree
from maintenance_cli.exits import Code, of_status
from maintenance_cli.picture.board import Snapshot, board_of
from maintenance_cli.picture.messages import Entity, Peeked, Unknown
from maintenance_cli.picture.runs import State
from tests.support.samples import NOW, RUN, SCALE_SET, new_operation

OTHER = "f" * 32
WAVES = (("0", "1"), ("2",))


def peeked(operation: Operation, *, due: timedelta | None = timedelta(seconds=30), number: int = 1) -> Peeked:
    record = to_record(operation, NOW + due if due is not None else None)
    return Peeked(
        number=number,
        message_id=record.message_id,
        body=record.body,
        subject=record.subject,
        properties=record.properties,
        enqueued_at=NOW,
        due=record.due,
    )


def published(*events: MaintenanceEvent) -> tuple[Peeked, ...]:
    return tuple(
        Peeked(number=at, message_id=event.event_id, body=event.to_json(), subject=event.type)
        for at, event in enumerate(events, 1)
    )


def snapshot(*operations: Peeked, coordination: tuple[Peeked, ...] = (), audit: tuple[Peeked, ...] = ()) -> Snapshot:
    return Snapshot((), operations, coordination, audit, NOW)


def tracking(**changes: object) -> Operation:
    return new_operation(
        phase=Phase.TRACK,
        planned=True,
        waves=WAVES,
        batch=("0", "1"),
        calls=(Call(("0", "1"), "https://management.azure.com/x"),),
        started_at=NOW,
        posted_at=NOW,
        number=4,
        **changes,
    )


def lease(request_id: str, run_id: str, number: int) -> Peeked:
    until = NOW + timedelta(hours=12)
    entry = Lease(run_id=run_id, request_id=request_id, scale_set=SCALE_SET.key, until=until)
    return Peeked(number=number, message_id=entry.message_id, body=write_entry(entry), due=until)


def test_newer_of_two_records_of_a_run_counts_in_any_order() -> None:
    old, new = peeked(new_operation(number=9)), peeked(new_operation(number=10, phase=Phase.TRACK))
    for pair in ((old, new), (new, old)):
        (run,) = board_of(snapshot(*pair)).runs
        assert (run.record, run.state) == (10, State.TRACKING)


def test_run_under_way_shows_its_waves_and_what_each_instance_does() -> None:
    done = {"0": Outcome(Result.COMPLETED, wave=0)}
    (run,) = board_of(snapshot(peeked(tracking(outcomes=done)))).runs
    assert [(wave.number, wave.state) for wave in run.waves] == [(1, "under way"), (2, "planned")]
    assert [each.state for each in run.instances] == ["Completed", "InMaintenance", "Planned"]
    assert (run.waves[0].posted_at, run.next_at, run.done) == (NOW, NOW + timedelta(seconds=30), 1)
    text = "\n".join(line.plain for line in tree(run, NOW))
    assert "next poll 12:00:30Z (in 30 s)" in text
    assert "wave 1 of 2  under way  posted 12:00:00  1/2" in text


def test_whoever_holds_the_scale_set_is_named_and_so_is_a_cancellation() -> None:
    marker = CancellationMarker(
        run_id=OTHER, request_id="req-1", scale_set=SCALE_SET.key, enqueued_at=NOW, until=NOW + timedelta(days=30)
    )
    cancels = Peeked(number=3, message_id=marker.message_id, body=write_entry(marker), due=marker.until)
    held = ErrorDetail("LeaseHeld", "Not started: request other holds the lease of this scale set.")
    waits = new_operation(transient_error=held, failures=1)  # which says the same as the lease
    entries = (lease("other", OTHER, 1), lease("req-1", RUN, 2), cancels)
    (run,) = board_of(snapshot(peeked(waits), coordination=entries)).runs
    assert (run.held_by, run.canceled) == ("other", True)
    assert [sentence.split(":")[0].split(",")[0] for sentence in run.why] == [
        "A cancellation was accepted",
        "Request other holds the scale set",
    ]


def test_record_that_nobody_took_is_overdue() -> None:
    (run,) = board_of(snapshot(peeked(new_operation(), due=timedelta(minutes=-6)))).runs
    assert run.overdue
    assert run.why[0].startswith("Overdue")


def test_record_of_another_version_is_called_unreadable_and_its_waves_unknown() -> None:
    message = peeked(new_operation())
    strange = Peeked(
        number=1, message_id=message.message_id, body=b'{"schemaVersion":99}', subject="plan",
        properties=message.properties, due=message.due,
    )  # fmt: skip
    (run,) = board_of(snapshot(strange)).runs
    assert (run.state, run.request_id, run.scale_set) == (State.UNREADABLE, "req-1", SCALE_SET)
    assert "waves: unknown" in "\n".join(line.plain for line in tree(run, NOW))


def test_ended_run_is_rebuilt_from_its_events() -> None:
    over = {"0": Outcome(Result.COMPLETED, wave=0), "1": Outcome(Result.FAILED, "lost", wave=0),
            "2": Outcome(Result.NOT_ATTEMPTED, wave=1), "7": Outcome(Result.SKIPPED, "not planned")}  # fmt: skip
    end = tracking(
        outcomes=over, status=Status.PARTIALLY_SUCCEEDED, ended_at=NOW + timedelta(minutes=9),
        error=ErrorDetail("TooManyFailures", "1 failed"),
    )  # fmt: skip
    from dataclasses import replace

    accepted = owed_events(replace(end, status=None, owed=(Owed("accepted", NOW),)))
    events = (*accepted, *owed_events(replace(end, phase=Phase.END)))
    (run,) = board_of(snapshot(audit=published(*events))).runs
    assert (run.state, run.status, run.started_at) == (State.ENDED, "PartiallySucceeded", NOW)
    assert [(wave.state, wave.ended_at) for wave in run.waves] == [
        ("failed", NOW + timedelta(minutes=9)),
        ("not started", None),
    ]
    assert [each.instance_id for each in run.others] == ["7"]
    assert run_document(run)["error"] == "TooManyFailures: 1 failed"
    assert run.done == 3


def test_end_in_the_audit_counts_more_than_an_older_record() -> None:
    end = owed_events(new_operation(phase=Phase.END, status=Status.NOTHING_TO_DO, ended_at=NOW))
    board = board_of(snapshot(peeked(new_operation()), audit=published(*end)))
    assert [(run.state, run.status) for run in board.of("req-1")] == [(State.ENDED, "NothingToDo")]


def test_newest_end_of_a_request_is_shown_unless_a_run_is_under_way() -> None:
    ends = [
        owed_events(new_operation(run_id=run_id, phase=Phase.END, status=status, ended_at=NOW + timedelta(hours=at)))
        for at, (run_id, status) in enumerate(((RUN, Status.FAILED), (OTHER, Status.SUCCEEDED)))
    ]
    audit = published(*(event for events in ends for event in events))
    assert [run.status for run in board_of(snapshot(audit=audit)).of("req-1")] == ["Succeeded"]
    third = peeked(new_operation(run_id="e" * 32))
    assert [run.run_id for run in board_of(snapshot(third, audit=audit)).of("req-1")] == ["e" * 32]


def test_waiting_request_is_named_as_the_worker_will_name_it() -> None:
    body = json.dumps({"resourceId": SCALE_SET.resource_id, "requestId": "mine"}).encode()
    waits = Peeked(number=5, message_id="m", body=body, enqueued_at=NOW)
    broken = Peeked(number=6, message_id="other", body=b"{", enqueued_at=NOW)
    cancels = Peeked(number=7, message_id="c", body=b'{"cancel": "mine"}', enqueued_at=NOW)
    board = board_of(Snapshot((waits, broken, cancels), (), (), None, NOW))
    assert [(run.request_id, run.scale_set) for run in board.runs] == [("mine", SCALE_SET), ("other", None)]


def test_what_cannot_be_read_is_unknown() -> None:
    missing = Unknown(Entity("maintenance-coordination"), "there is none", Code.NOT_FOUND)
    taken = Snapshot((), (peeked(new_operation()),), missing, None, NOW)
    board = board_of(taken)
    assert (board.leases, board.audited, taken.unknown) == (None, False, [missing])
    assert board.runs[0].held_by is None


def test_every_status_has_its_exit_code() -> None:
    codes = {status.value: of_status(status.value) for status in Status if status is not Status.DUPLICATE}
    assert codes == {
        "Succeeded": 0, "NothingToDo": 0, "PartiallySucceeded": 6, "TimedOut": 7,
        "Failed": 5, "Canceled": 5, "Rejected": 5,
    }  # fmt: skip


def test_table_fits_every_terminal_and_loses_no_word() -> None:
    rows = [
        ("a-long-request-id-0123456789", Span("tracking", "blue"), "Azure is at work, and has been for a long while.")
    ]
    for width in (60, 80, 120):
        lines = as_table(("REQUEST", "STATE", "WHY"), rows, width, folded=2)
        assert max(len(line.plain) for line in lines) <= width
        assert " ".join(" ".join(line.plain[-LEAST:] for line in lines).split()).endswith("while.")
    assert len(as_table(("REQUEST", "STATE", "WHY"), rows, None, folded=2)) == 2


def test_reason_in_a_list_takes_no_more_lines_than_asked_and_says_that_there_is_more() -> None:
    name = "a-long-request-id-0123456789"
    lines = as_table(("REQUEST", "WHY"), [(name, "Azure is at work. " * 20)], 60, folded=1, most=2)
    assert len(lines) == 3
    assert (lines[1].plain.startswith(name), lines[2].plain.endswith("…")) == (True, True)
    short = as_table(("REQUEST", "WHY"), [(name * 4, "Azure is at work.")], 60, folded=1, most=2)
    assert len(short) > 3, "an id is shown whole"


def test_line_is_cut_to_the_width_and_painted_only_where_wished() -> None:
    line = Line.of("wave 1  ", Span("under way", "blue"))
    assert line.cut(10).plain == "wave 1  u…"
    branch = Line.of(Span("│  ├─ ", "dim"), "why: ", Span("Request other holds the scale set.", "red"))
    assert [part.plain for part in branch.folded(30)] == ["│  ├─ why: Request other holds", "│  │    the scale set."]
    dim = Line.of(Span("requested just now, deadline tomorrow", "dim")).folded(22)
    assert not any(part.painted().endswith(" \x1b[0m") for part in dim)
    assert line.painted() == "wave 1  \x1b[34munder way\x1b[0m"


def test_reply_to_a_cancellation_is_no_end_of_a_run() -> None:
    from maintenance.domain.operation import Reply

    reply = Reply(run_id=OTHER, request_id="c-1", at=NOW, source="/queues/x", scale_set=SCALE_SET, cancels="req-1")
    board = board_of(snapshot(audit=published(replied(reply))), "req-1")
    assert (board.runs, [event.cancels for event in board.events]) == ((), ["req-1"])


def test_messages_that_start_nothing_are_no_waiting_requests() -> None:
    waiting = tuple(
        Peeked(number=at, message_id=f"m-{at}", body=json.dumps({kind: {"scope": "x"}}).encode())
        for at, kind in enumerate(KINDS, 1)
    )
    assert board_of(Snapshot(waiting, (), (), None, NOW)).runs == ()


def test_run_that_is_kept_waiting_says_for_what() -> None:
    kept = new_operation(planned=False, deferral=Deferral("Window", "Waits for its window, which opens at 22:00."))
    (run,) = board_of(snapshot(peeked(kept))).runs
    assert run.why == ("Waits for its window, which opens at 22:00.",)
