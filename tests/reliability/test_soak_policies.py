"""The soak's checks of its policies find what breaks them, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from tests.reliability.soak_plan import Plan, PlannedRequest
from tests.reliability.soak_policies import (
    INSTANCES,
    LOOKED_BEFORE,
    SCALE_SETS,
    Hold,
    Post,
    limit_errors,
    pause_errors,
    window_errors,
)

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)
TARGET = ("set000", "0")


def post(at: timedelta) -> Post:
    return Post(NOON + at, "sub", (TARGET,))


def plan(*, windowed: bool) -> Plan:
    made = Plan(requests=[PlannedRequest("one", b"", "sub", (TARGET,), windowed=windowed)])
    made.named[TARGET] = 1
    return made


def test_posts_outside_of_windows_are_found() -> None:
    seconds = [0, 1, 49, 51, 53, 59, 61, 65, 113]
    posted = [post(timedelta(seconds=each)) for each in seconds]

    def found(windowed: bool) -> set[str]:
        return {error.split(" at ")[1][:8] for error in window_errors(plan(windowed=windowed), posted)}

    assert found(windowed=False) == {"12:00:53", "12:00:59", "12:01:53"}
    assert found(windowed=True) == {"12:00:53", "12:00:59", "12:01:05", "12:01:53"}


def test_posts_in_a_pause_are_found_once_every_look_is_too_old() -> None:
    hold = Hold("control-hold-0", "sub", NOON + timedelta(minutes=5))
    moments = [LOOKED_BEFORE - timedelta(seconds=1), LOOKED_BEFORE + timedelta(seconds=1), timedelta(minutes=5)]
    accepted = {"control-hold-0": NOON}
    assert len(pause_errors([hold], accepted, (), [post(each) for each in moments])) == 1
    assert pause_errors([hold], {}, (), []) == ["control-hold-0 was neither accepted nor rejected"]
    assert pause_errors([hold], {}, {"control-hold-0"}, []) == []


def operation(name: str, *ids: str, start: int = 0, end: int | None = 10) -> dict[str, Any]:
    ended = None if end is None else (NOON + timedelta(seconds=end)).isoformat()
    started = (NOON + timedelta(seconds=start)).isoformat()
    return {"vmNames": [f"{name}_{each}" for each in ids], "started": started, "ended": ended}


def test_more_at_once_than_the_limits_allow_is_found() -> None:
    kept_to = [operation("a", "0", "1"), operation("a", "2", start=10), operation("b", "0", start=3, end=None)]
    assert limit_errors(kept_to) == ([], 2)
    assert len(limit_errors([*kept_to, operation("a", "3", start=9)])[0]) == INSTANCES - 1
    many = [operation(f"set{number}", "0") for number in range(SCALE_SETS + 1)]
    assert limit_errors(many) == ([f"{SCALE_SETS + 1} scale sets were under way at once"], SCALE_SETS + 1)
