"""Faults: which calls they strike, and what they make of a response."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.resource_manager.faults import Fault, Faults, http_date
from sandbox.resource_manager.rest.messages import Request, Response
from tests.sandbox.resource_manager.samples import COMPUTE, START, VERSION


def request(method: str = "POST", target: str = f"{COMPUTE}/virtualMachineScaleSets/web/performMaintenance") -> Request:
    return Request(method, f"{target}?{VERSION}", "http://127.0.0.1")


def ordered(*faults: Fault) -> Faults:
    found = Faults()
    for each in faults:
        found.add(each)
    return found


@pytest.mark.parametrize(
    ("fault", "struck"),
    [
        (Fault(), True),
        (Fault(method="post"), True),
        (Fault(method="GET"), False),
        (Fault(path="*/performmaintenance"), True),
        (Fault(path="*/virtualMachineScaleSets/*/performMaintenance"), True),
        (Fault(path="/performMaintenance"), False),
        (Fault(path="*/perform"), False),
        (Fault(path=re.compile(r"/web/")), True),
        (Fault(path=re.compile(r"/api/")), False),
        (Fault(query="*2024-07-01"), True),
        (Fault(query="*monitor=true*"), False),
    ],
)
def test_strikes_what_matches(fault: Fault, struck: bool) -> None:
    assert (ordered(fault).strike(request()) is fault) == struck


def test_strikes_the_next_n_and_no_more() -> None:
    faults = ordered(Fault(times=2, skip=1))
    assert [faults.strike(request()) is not None for _ in range(5)] == [False, True, True, False, False]
    [report] = faults.reports()
    assert (report.hits, report.left) == (2, 0)


def test_strikes_until_it_is_taken_back() -> None:
    faults = Faults()
    number = faults.add(Fault(times=None))
    assert all(faults.strike(request()) for _ in range(50))
    faults.remove(number)
    assert faults.strike(request()) is None
    faults.add(Fault())
    faults.reset()
    assert faults.strike(request()) is None


def test_the_first_that_matches_strikes() -> None:
    first, second = Fault(status=500), Fault(status=503)
    faults = ordered(first, second)
    assert [faults.strike(request()) for _ in range(3)] == [first, second, None]


@given(seed=st.integers(0, 2**32), rate=st.floats(0.05, 0.95))
def test_a_random_share_is_the_same_each_time_for_a_seed(seed: int, rate: float) -> None:
    def strikes() -> list[bool]:
        faults = ordered(Fault(rate=rate, seed=seed, times=None))
        return [faults.strike(request()) is not None for _ in range(400)]

    once = strikes()
    assert once == strikes()
    assert rate - 0.2 < sum(once) / 400 < rate + 0.2


ACCEPTED = Response(202, {"Location": "http://a", "Azure-AsyncOperation": "http://b", "Retry-After": "10"})


@pytest.mark.parametrize(
    ("fault", "status", "headers", "body"),
    [
        (Fault(status=503), 503, None, b'{"error": {"code": "Sandbox503", "message": "Caused by a fault."}}'),
        (Fault(status=307, headers={"Location": "http://x"}), 307, {**ACCEPTED.headers, "Location": "http://x"}, b""),
        (
            Fault(headers={"location": "https://evil", "azure-asyncoperation": None}),
            202,
            {"location": "https://evil", "Retry-After": "10"},
            b"",
        ),
        (Fault(headers={"retry-after": None}), 202, {"Location": "http://a", "Azure-AsyncOperation": "http://b"}, b""),
        (Fault(headers={"Location": None, "Azure-AsyncOperation": None, "Retry-After": None}), 202, {}, b""),
        (Fault(status=200, json={"status": "Failed"}), 200, None, b'{"status": "Failed"}'),
        (Fault(body="<html>"), 202, {**ACCEPTED.headers, "Content-Type": "text/html; charset=utf-8"}, b"<html>"),
        (Fault(body_size=10), 202, None, b" " * 10),
    ],
)
def test_fault_changes_the_response(fault: Fault, status: int, headers: dict[str, str] | None, body: bytes) -> None:
    changed = fault.change(ACCEPTED)
    assert (changed.status, changed.body) == (status, body)
    if headers is not None:
        assert changed.headers == headers
    assert ACCEPTED.headers["Location"] == "http://a"


def test_forces_the_status_of_an_operation() -> None:
    running = Response.json(b'{"status": "InProgress", "name": "n"}')
    changed = Fault(operation_status="paused").change(running)
    assert json.loads(changed.body) == {"status": "paused", "name": "n"}


@pytest.mark.parametrize(
    ("fault", "does_work"),
    [
        (Fault(), True),
        (Fault(cut="before"), False),
        (Fault(cut="after"), True),
        (Fault(status=500), False),
        (Fault(status=500, work=True), True),
        (Fault(headers={"Retry-After": None}), True),
    ],
)
def test_whether_the_work_is_done(fault: Fault, does_work: bool) -> None:
    assert fault.does_work == does_work


@pytest.mark.parametrize(
    "wrong",
    [
        {"status": 99},
        {"status": 600},
        {"rate": 1.5},
        {"times": 0},
        {"body": "a", "json": {}},
        {"body_size": 10**9},
    ],
)
def test_invalid_faults_are_errors(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="|".join(wrong)):
        Fault(**wrong)


def test_http_dates() -> None:
    assert http_date(START) == "Sun, 01 Mar 2026 12:00:00 GMT"
    with pytest.raises(ValueError, match="UTC"):
        http_date(datetime(2026, 3, 1))  # noqa: DTZ001 - naive times are invalid
