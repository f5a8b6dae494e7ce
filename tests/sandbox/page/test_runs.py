"""Runs by their records."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sandbox.page.runs import Run, follow, run_id_of, trace_id

START = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def record(number: int, **fields: Any) -> bytes:
    document = {
        "schemaVersion": 2,
        "run_id": "r1",
        "request_id": "rolling",
        "scale_set": {"subscription_id": "s", "resource_group_name": "shop", "name": "web"},
        "requested_at": START.isoformat(),
        "deadline": at(3600).isoformat(),
        "waves": [["0", "1"], ["2"]],
        "number": number,
        **fields,
    }
    return json.dumps(document).encode()


def told(*records: tuple[float, bytes]) -> Run:
    run: Run | None = None
    for seconds, body in records:
        run = follow(run, body, at(seconds), None)
    assert run is not None
    return run


def spans(run: Run) -> list[tuple[str, int, float, float | None]]:
    return [
        (
            each.kind,
            each.wave,
            (each.begun - START).total_seconds(),
            None if each.ended is None else (each.ended - START).total_seconds(),
        )
        for each in run.spans
    ]


def test_rollout_is_told_wave_by_wave() -> None:
    run = told(
        (1, record(0)),
        (2, record(1, phase="post")),
        (2, record(2, phase="judge")),
        (3, record(3, phase="track")),
        (4, record(4, phase="track")),
        (8, record(5, phase="track", recovering_since=at(8).isoformat())),
        (9, record(6, wave=1, resume_at=at(20).isoformat())),
        (20, record(7, wave=1, phase="post")),
        (21, record(8, wave=1, phase="track")),
        (25, record(9, wave=1, phase="end", status="Succeeded")),
    )
    assert spans(run) == [
        ("plan", 0, 0, 2),
        ("post", 0, 2, 3),
        ("work", 0, 3, 8),
        ("health", 0, 8, 9),
        ("pause", 1, 9, 20),
        ("post", 1, 20, 21),
        ("work", 1, 21, 25),
    ]
    assert (run.status, run.why, run.waves) == ("Succeeded", "", (("0", "1"), ("2",)))


def test_record_that_a_later_one_replaced_changes_nothing() -> None:
    run = told((1, record(0)), (2, record(1, phase="post")), (3, record(3, phase="track")))
    assert follow(run, record(2, phase="judge"), at(20), None) == run


def test_waiting_run_says_why() -> None:
    error = {"code": "TooManyRequests", "message": "Slow down."}
    assert told((1, record(4, transient_error=error))).why == "TooManyRequests: Slow down."
    assert "lease" in told((1, record(4))).why
    assert "healthy" in told((1, record(4, phase="track", recovering_since=at(1).isoformat()))).why


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"[]",
        b"1",
        b"[" * 100_000,
        b'{"schemaVersion": 3, "run_id": "r1", "scale_set": {}}',
        b'{"schemaVersion": 2, "run_id": 1, "scale_set": {}}',
        b'{"schemaVersion": 2, "run_id": "r1"}',
    ],
)
def test_what_is_no_record_is_passed_over(body: bytes) -> None:
    assert follow(None, body, START, None) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"number": "1"},
        {"waves": "x", "wave": -1, "scale_set": [], "deadline": "never", "requested_at": "2026-01-01"},
        {"waves": [1, ["a", 2]], "wave": 1e9, "trace": {"traceparent": 5}, "transient_error": {"code": None}},
        {"phase": {}, "resume_at": 5, "status": []},
    ],
)
def test_record_that_nobody_wrote_raises_nothing(fields: dict[str, Any]) -> None:
    follow(None, record(1) if not fields else json.dumps({**json.loads(record(1)), **fields}).encode(), START, None)


def test_run_is_known_by_its_message_id() -> None:
    assert run_id_of("abc:s12") == "abc"
    assert [run_id_of(other) for other in ("abc", "abc:sx", ":s1", "lease:abc")] == [None] * 4


def test_trace_is_that_of_the_traceparent() -> None:
    assert trace_id(f"00-{'a' * 32}-{'b' * 16}-01") == "a" * 32
    assert trace_id("00-short-b-01") == trace_id("") == ""
