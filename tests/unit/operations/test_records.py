"""Operations as they stand in the queue."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maintenance.arm.responses import ArmResponse, read_error
from maintenance.arm.views import read_instance
from maintenance.domain.calendars import Deferral, Gate, Window
from maintenance.domain.errors import UnreadableRecord
from maintenance.domain.instances import Baseline
from maintenance.domain.observations import ErrorDetail
from maintenance.domain.operation import Call, Operation, Outcome, Owed, Phase, Reply, Result, Rollout, Status
from maintenance.operations.records import (
    MAX_RECORD,
    read_record,
    read_reply,
    to_record,
    to_reply_record,
    write_record,
)
from tests.support.samples import NOW, OPERATION_URL, RUN, SCALE_SET, new_operation

NAMES = st.text("0123456789_ab", min_size=1, max_size=6)
TEXTS = st.one_of(st.text(max_size=12), st.text(st.characters(categories=["Cc"]), max_size=3))
TIMES = st.datetimes(datetime(2025, 1, 1), datetime(2025, 1, 30), timezones=st.just(UTC))  # noqa: DTZ001
BASELINES = st.builds(
    Baseline,
    planned=st.booleans(),
    allowed=st.booleans(),
    last_result=st.sampled_from(["none", "maintenancecompleted"]),
    window=st.sampled_from(["", "abcdef01"]),
    changed_at=st.none() | TIMES,
    power=st.sampled_from(["running", "stopped"]),
)
ERRORS = st.builds(
    ErrorDetail,
    TEXTS,
    TEXTS,
    st.none() | TEXTS,
    st.lists(st.builds(ErrorDetail, TEXTS, TEXTS), max_size=2).map(tuple),
)
CALLS = st.builds(
    Call,
    st.lists(NAMES, max_size=3).map(tuple),
    st.sampled_from([None, OPERATION_URL]),
    st.sampled_from(["async-operation", "location"]),
    st.sampled_from([None, "succeeded", "failed", "canceled", "unknown", "unreported", "gone"]),
    st.none() | ERRORS,
)
WINDOWS = st.builds(
    Window,
    st.sampled_from(("0 22 * * SAT", "*/5 * 1 JAN *")),
    st.timedeltas(min_value=timedelta(minutes=1), max_value=timedelta(days=7)),
    st.sampled_from(("UTC", "Europe/Berlin")),
)
GATES = st.builds(
    Gate,
    st.sampled_from(("first", "everyWave")),
    st.timedeltas(timedelta(0), timedelta(days=7)),
    st.sampled_from(("stop", "proceed")),
)
DEFERRALS = st.builds(Deferral, st.sampled_from(("Window", "Blackout")), TEXTS, st.none() | TIMES)
OPERATION_FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "run_id": st.just(RUN),
    "request_id": NAMES,
    "scale_set": st.just(SCALE_SET),
    "requested_at": TIMES,
    "deadline": TIMES,
    "targets": st.none() | st.lists(NAMES, max_size=3).map(tuple),
    "rollout": st.builds(
        Rollout,
        max_instances_per_wave=st.sampled_from([None, 1, 50, "20%"]),
        by_update_domain=st.booleans(),
        pause_between_waves=st.timedeltas(timedelta(0), timedelta(days=7)),
        max_failed_instances=st.integers(0, 9),
    ),
    "reject_ineligible": st.booleans(),
    "dry_run": st.booleans(),
    "reason": st.none() | st.text(max_size=5),
    "correlation_id": st.none() | NAMES,
    "trace": st.dictionaries(st.sampled_from(["traceparent", "tracestate"]), NAMES),
    "phase": st.sampled_from(Phase),
    "waves": st.lists(st.lists(NAMES, max_size=3).map(tuple), max_size=3).map(tuple),
    "wave": st.just(0),
    "number": st.integers(0, 9),
    "owed": st.lists(
        st.builds(
            Owed,
            st.sampled_from(["accepted", "progressed", "awaiting"]),
            TIMES,
            st.integers(0, 3),
            began_at=st.none() | TIMES,
            confirmed_at=st.none() | TIMES,
        ),
        max_size=2,
    ).map(tuple),
    "planned": st.booleans(),
    "batch": st.lists(NAMES, max_size=3).map(tuple),
    "baseline": st.dictionaries(NAMES, BASELINES, max_size=2),
    "updating": st.lists(NAMES, max_size=2).map(tuple),
    "refused": st.lists(NAMES, max_size=2).map(tuple),
    "one_by_one": st.booleans(),
    "resume_at": st.none() | TIMES,
    "leased_at": st.none() | TIMES,
    "final_at": st.none() | TIMES,
    "views_read_at": st.none() | TIMES,
    "blocked_since": st.none() | TIMES,
    "recovering_since": st.none() | TIMES,
    "strikes": st.integers(0, 3),
    "at_work": st.booleans(),
    "windows": st.lists(WINDOWS, max_size=2).map(tuple),
    "tag_windows": st.lists(WINDOWS, max_size=2).map(tuple),
    "gate": st.none() | GATES,
    "awaiting_since": st.none() | TIMES,
    "gate_open": st.booleans(),
    "deferral": st.none() | DEFERRALS,
    "deferred": st.lists(st.sampled_from(("w0:Window", "w1:Blackout")), max_size=2).map(tuple),
    "duplicate_of": st.none() | st.just("f" * 32),
    "calls": st.lists(CALLS, max_size=2).map(tuple),
    "outcomes": st.dictionaries(
        NAMES, st.builds(Outcome, st.sampled_from(Result), st.none() | TEXTS, st.none() | st.integers(0, 3)), max_size=3
    ),
    "started_at": st.none() | TIMES,
    "posted_at": st.none() | TIMES,
    "failures": st.integers(0, 9),
    "error": st.none() | ERRORS,
    "transient_error": st.none() | ERRORS,
    "status": st.none() | st.sampled_from(Status),
    "ended_at": st.none() | TIMES,
    "wave_began_at": st.none() | TIMES,
    "wave_taken": st.booleans(),
    "wave_confirmed_at": st.none() | TIMES,
}


OPERATIONS = st.builds(Operation, **OPERATION_FIELDS)


@settings(derandomize=True, max_examples=150, suppress_health_check=list(HealthCheck))
@given(OPERATIONS)
def test_operation_is_read_as_it_was_written(operation: Operation) -> None:
    read = read_record(write_record(operation))
    assert read == operation
    assert for_spans(read) == for_spans(operation)


def for_spans(operation: Operation) -> list[object]:
    """What does not count when operations are compared."""
    owed = [each for owed in operation.owed for each in (owed.began_at, owed.confirmed_at)]
    return [operation.wave_began_at, operation.wave_taken, operation.wave_confirmed_at, *owed]


def test_strategy_covers_every_field() -> None:
    named = {field.name for field in fields(Operation)}
    drawn = {"number", "content", "flexible", "extra"}
    assert named - drawn <= set(OPERATION_FIELDS)


def test_half_a_surrogate_pair_does_not_make_a_record_unreadable() -> None:
    error = read_error(
        ArmResponse(409, body=b'{"code": "A\\ud83d", "message": "b\\ude00", "details": [{"target": "\\ud83d"}]}')
    )
    status = {"lastOperationMessage": "\ud83d!"}
    view = {"instanceId": "0", "properties": {"instanceView": {"maintenanceRedeployStatus": status}}}
    outcome = Outcome(Result.SKIPPED, read_instance(view).why)
    operation = new_operation(error=error, outcomes={"0": outcome})
    assert read_record(write_record(operation)) == operation
    for text in (error.code, outcome.message or ""):
        assert "?" in text


def test_new_operation_is_small_and_a_signed_url_stays_as_it_is() -> None:
    operation = new_operation(calls=(Call(("0",), OPERATION_URL),))
    body = write_record(operation)
    assert len(body) < 1_000
    assert OPERATION_URL.encode() in body
    assert json.loads(body)["schemaVersion"] == 2


def test_record_says_beside_its_body_whose_it_is() -> None:
    record = to_record(new_operation(number=7, phase=Phase.TRACK), NOW)
    assert (record.message_id, record.due, record.subject) == (f"{RUN}:s7", NOW, "track")
    assert record.correlation_id == "req-1"
    assert to_record(new_operation(correlation_id="c"), NOW).correlation_id == "c"
    told = " ".join(str(value) for value in record.properties.values())
    for what in ("req-1", SCALE_SET.resource_id, new_operation().deadline.isoformat()):
        assert what in told


@pytest.mark.parametrize(
    "change",
    [
        {"run_id": "../../x"},
        {"run_id": "F" * 32},
        {"request_id": "with space"},
        {"request_id": "x" * 101},
        {"scale_set": {"subscription_id": "x/../y", "resource_group_name": "g", "name": "n"}},
        {"scale_set": {**asdict(SCALE_SET), "resource_group_name": "g/providers"}},
        {"scale_set": {**asdict(SCALE_SET), "name": "a?b"}},
        {"targets": ["0/../1"]},
        {"waves": [["web_0/runCommand?api-version=2024-07-01&x="]]},
        {"scale_set": {**asdict(SCALE_SET), "name": "web%2f..%2fother"}},
        {"outcomes": {"0\n": {"result": "Completed"}}},
        {"waves": [["0"], ["a b"]]},
        {"batch": ["0", "?x"]},
        {"outcomes": {"../x": {"result": "Failed"}}},
        {"calls": [{"instance_ids": ["a#b"]}]},
        {"targets": ["0\n1"]},
        {"number": -1},
        {"wave": 2, "waves": [["0"]]},
        {"wave": -1},
        {"requested_at": "2026-01-31T12:00:00"},
        {"requested_at": "1999-01-31T12:00:00Z"},
        {"deadline": "2026-01-31T12:00:00"},
        {"deadline": "2300-01-31T12:00:00Z"},
        {"deadline": (NOW + timedelta(days=37)).isoformat()},
    ],
    ids=str,
)
def test_record_this_app_cannot_have_written_is_not_acted_on(change: dict[str, Any]) -> None:
    document = {**json.loads(write_record(new_operation())), **change}
    with pytest.raises(UnreadableRecord) as unreadable:
        read_record(json.dumps(document).encode())
    assert unreadable.value.reason == "InvalidRecord"


def test_reply_is_read_as_it_was_written() -> None:
    reply = Reply(
        run_id=RUN,
        request_id="r",
        at=NOW,
        source="/q",
        scale_set=SCALE_SET,
        problems=(("a", "b", None), ("c", "d", "e")),
        quoted="ä",
        size=9,
        cancels="req-1",
        reason="why",
        trace={"traceparent": "t"},
        number=3,
    )
    record = to_reply_record(reply, NOW)
    assert (record.message_id, record.subject, record.due) == (f"{RUN}:s3", "reply", NOW)
    assert read_reply(record.body) == reply


@pytest.mark.parametrize(
    "change",
    [{"run_id": "x"}, {"request_id": "with space"}, {"scale_set": {**asdict(SCALE_SET), "name": "a/b"}}, {"at": "now"}],
)
def test_reply_this_app_cannot_have_written_is_not_published(change: dict[str, Any]) -> None:
    body = to_reply_record(Reply(run_id=RUN, request_id="r", at=NOW, source="/q", scale_set=SCALE_SET), None).body
    with pytest.raises(UnreadableRecord):
        read_reply(json.dumps({**json.loads(body), **change}).encode())


BAD_RECORDS: dict[str, tuple[bytes, str]] = {
    "garbage": (b"\x00\xff", "NotJson"),
    "nothing": (b"", "NotJson"),
    "nested deeply": (b"[" * 50_000, "NotJson"),
    "a list": (b"[]", "NotARecord"),
    "no version": (b"{}", "UnknownSchemaVersion"),
    "a newer version": (b'{"schemaVersion": 4}', "UnknownSchemaVersion"),
    "an older version": (b'{"schemaVersion": 1}', "UnknownSchemaVersion"),
    "true for a version": (b'{"schemaVersion": true}', "UnknownSchemaVersion"),
    "a version as text": (b'{"schemaVersion": "2"}', "UnknownSchemaVersion"),
    "a long version": (b'{"schemaVersion": "' + b"9" * 5_000 + b'"}', "UnknownSchemaVersion"),
    "the version of bound records as text": (b'{"schemaVersion": "3"}', "UnknownSchemaVersion"),
    "a version and nothing else": (b'{"schemaVersion": 2}', "InvalidRecord"),
}


@pytest.mark.parametrize(("body", "reason"), BAD_RECORDS.values(), ids=BAD_RECORDS.keys())
def test_record_that_cannot_be_read_says_why(body: bytes, reason: str) -> None:
    with pytest.raises(UnreadableRecord) as unreadable:
        read_record(body)
    assert unreadable.value.reason == reason
    assert 10 < len(unreadable.value.description) < 1_000


@pytest.mark.parametrize(
    ("field", "value"),
    [("phase", "dreaming"), ("waves", "0"), ("requested_at", "yesterday"), ("number", "x"), ("calls", [{"url": 1}])],
)
def test_invalid_field_is_named(field: str, value: object) -> None:
    document = {**json.loads(write_record(new_operation())), field: value}
    with pytest.raises(UnreadableRecord, match=field):
        read_record(json.dumps(document).encode())


@settings(derandomize=True, max_examples=150, suppress_health_check=list(HealthCheck))
@given(
    st.dictionaries(
        st.sampled_from(sorted(json.loads(write_record(new_operation(number=3, failures=1))))),
        st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), st.lists, max_leaves=4),
        max_size=3,
    )
)
def test_any_record_is_read_or_unreadable_with_a_reason(changes: dict[str, Any]) -> None:
    document = {**json.loads(write_record(new_operation(number=3, failures=1))), **changes}
    try:
        operation = read_record(json.dumps(document).encode())
    except UnreadableRecord as unreadable:
        assert unreadable.reason
        assert unreadable.description
        return
    for moment in (operation.requested_at, operation.deadline):
        assert moment.tzinfo is not None


def test_fields_of_a_newer_version_are_carried_through() -> None:
    newer = {**json.loads(write_record(new_operation())), "healthTimeout": {"at": [1, 2]}, "lane": "fast"}
    operation = read_record(json.dumps(newer).encode())
    assert operation.extra == {"healthTimeout": {"at": [1, 2]}, "lane": "fast"}
    again = json.loads(write_record(replace(operation, number=4)))
    assert (again["healthTimeout"], again["lane"]) == ({"at": [1, 2]}, "fast")


def test_extra_field_overrides_no_known_one() -> None:
    assert json.loads(write_record(new_operation(extra={"schemaVersion": 3, "number": 5}, number=1)))["number"] == 1
    assert json.loads(write_record(new_operation(extra={"schemaVersion": 3})))["schemaVersion"] == 2


def uniform(count: int) -> tuple[str, ...]:
    return tuple(str(n) for n in range(count))


def test_thousand_instances_with_long_messages_fit_without_them() -> None:
    ids = uniform(1_000)
    outcomes = {i: Outcome(Result.FAILED, "x" * 300, 0) for i in ids}
    operation = new_operation(waves=(ids,), calls=(Call(ids, OPERATION_URL),), outcomes=outcomes)
    body = write_record(operation)
    assert len(body) <= MAX_RECORD
    read = read_record(body)
    assert set(read.outcomes) == set(ids)
    assert {outcome.message for outcome in read.outcomes.values()} == {None}


def test_post_of_a_whole_scale_set_of_a_thousand_fits() -> None:
    ids = uniform(1_000)
    baseline = Baseline(
        last_result="maintenancecompleted", window="01234567", changed_at=NOW + timedelta(microseconds=123_456)
    )
    operation = new_operation(
        targets=ids,
        planned=True,
        waves=(ids,),
        batch=ids,
        baseline=dict.fromkeys(ids, baseline),
        calls=(Call(ids, OPERATION_URL + "y" * 4_000),),
        outcomes={i: Outcome(Result.COMPLETED, None, 0) for i in ids},
    )
    assert len(write_record(operation)) <= MAX_RECORD


def test_longest_errors_fit() -> None:
    ids = uniform(1_000)
    worst = ErrorDetail("字" * 200, "字" * 2_000, "字" * 200, (ErrorDetail("字" * 200, "字" * 500, "字" * 200),) * 20)
    calls = (Call(ids[:500], ended="unknown", error=worst), Call(ids[500:], "https://x/" + "y" * 4_000, error=worst))
    outcomes = {i: Outcome(Result.FAILED, "字" * 2_200, 0) for i in ids}
    operation = new_operation(
        targets=None,
        waves=(ids,),
        calls=calls,
        outcomes=outcomes,
        error=worst,
        transient_error=worst,
        reason="字" * 1_000,
    )
    body = write_record(operation)
    assert len(body) <= MAX_RECORD
    read = read_record(body)
    assert read.error is not None
    assert read.error.code == worst.code
    assert [call.instance_ids for call in read.calls] == [ids[:500], ids[500:]]


def test_record_that_cannot_fit_raises() -> None:
    ids = tuple(f"{n:0>80}" for n in range(3_000))
    with pytest.raises(ValueError, match=r"s0 has .* bytes; at most 200,000 fit"):
        write_record(new_operation(waves=(ids,)))


@settings(derandomize=True, max_examples=150, suppress_health_check=list(HealthCheck))
@given(OPERATIONS, st.sampled_from([{}, {"lane": "fast", "healthTimeout": {"at": [1, 2]}}]))
def test_unchanged_operation_is_written_as_it_was_read(operation: Operation, extra: dict[str, Any]) -> None:
    body = write_record(replace(operation, extra=extra))
    following = read_record(body).with_next_number()
    assert read_record(write_record(following)) == replace(operation, extra=extra, number=operation.number + 1)
    assert write_record(following).rpartition(b'"number"')[0] == body.rpartition(b'"number"')[0]


@settings(derandomize=True, max_examples=150, suppress_health_check=list(HealthCheck))
@given(OPERATIONS, OPERATIONS)
def test_changed_operation_is_written_anew(before: Operation, after: Operation) -> None:
    changes = {field.name: getattr(after, field.name) for field in fields(Operation) if field.name != "number"}
    changed = replace(read_record(write_record(before)), **changes)
    assert read_record(write_record(changed.with_next_number())) == replace(after, number=before.number + 1)


def test_extra_field_in_a_call_survives_a_poll() -> None:
    newer = json.loads(write_record(new_operation(number=0, calls=(Call(("0",), OPERATION_URL),))))
    newer["calls"][0]["priority"] = "low"
    body = json.dumps(newer, separators=(",", ":")).encode()
    assert json.loads(write_record(read_record(body).with_next_number())) == {**newer, "number": 1}


@pytest.mark.parametrize(("depth", "readable"), [(60, True), (66, False), (190, False), (5_000, False)])
@pytest.mark.parametrize("place", ["lane", "call"])
def test_unknown_field_that_is_nested_too_deeply_makes_a_record_unreadable(
    place: str, depth: int, readable: bool
) -> None:
    body = write_record(new_operation(calls=(Call(("0",), OPERATION_URL),)))
    nested = b'"lane":' + b"[" * depth + b"]" * depth + b","
    start = body.index(b'"calls":[{') + len(b'"calls":[{') if place == "call" else 1
    body = body[:start] + nested + body[start:]
    if readable:
        read_record(body)
        return
    with pytest.raises(UnreadableRecord):
        read_record(body)


def test_record_with_two_numbers_is_followed_by_a_higher_one() -> None:
    first, last = (write_record(new_operation(number=number)) for number in (3, 9))
    twice = first[:-1] + last[last.rindex(b",") :]
    assert twice.endswith(b',"number":3,"number":9}')
    assert read_record(write_record(read_record(twice).with_next_number())).number == 10


@pytest.mark.parametrize(
    "ending",
    [b',"number":3 }', b',"number":3}\n', b',"number": 3}', b',"number":3,"lane":1}'],
)
def test_record_written_otherwise_is_followed_by_the_same(ending: bytes) -> None:
    body = write_record(new_operation(number=3, failures=2)).removesuffix(b',"number":3}') + ending
    operation = read_record(body)
    assert read_record(write_record(operation.with_next_number())) == replace(operation, number=operation.number + 1)


WINDOW = Window("0 22 * * SAT", timedelta(hours=6), "Europe/Berlin")


def test_record_with_windows_has_a_version_that_older_apps_pass_on_unread() -> None:
    body = write_record(new_operation(windows=(WINDOW,)))
    assert json.loads(body)["schemaVersion"] == 3
    assert read_record(body).windows == (WINDOW,)
    # And so does what follows from it, also where only the number changes.
    assert json.loads(write_record(read_record(body).with_next_number()))["schemaVersion"] == 3


def test_record_with_a_gate_has_a_version_that_older_apps_pass_on_unread() -> None:
    gate = Gate("everyWave", timedelta(minutes=5), "proceed")
    body = write_record(new_operation(gate=gate))
    assert json.loads(body)["schemaVersion"] == 3
    assert read_record(body).gate == gate
    assert read_record(write_record(new_operation())).gate is None


@pytest.mark.parametrize(
    "window",
    [
        Window("0 22 * *", timedelta(hours=1)),
        Window("0 0 30 2 *", timedelta(hours=1)),
        Window("0 22 * * SAT", timedelta(hours=1), "../UTC"),
    ],
)
def test_record_with_a_window_that_is_none_cannot_be_read(window: Window) -> None:
    with pytest.raises(UnreadableRecord, match="a window of it must be"):
        read_record(write_record(new_operation(windows=(window,))))
