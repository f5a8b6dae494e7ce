"""What the log says between the start and the end of a request."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta

import pytest

from maintenance.domain.observations import ErrorDetail
from maintenance.lifecycle import ending
from maintenance.lifecycle.actions import Continue, LeaveToJudge
from maintenance.operations.progress_log import log_retry, log_submission
from tests.support.machine import RULES, planned, posting
from tests.support.samples import NOW, RUN

THROTTLED = ErrorDetail("TooManyRequests", "Slow down: https://x.example/?sig=c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0")


def test_request_put_off_says_why_at_warning_without_a_secret(caplog: pytest.LogCaptureFixture) -> None:
    before = planned(("0", "1"))
    action = ending.retry(RULES, before, THROTTLED, NOW)
    assert isinstance(action, Continue)
    log_retry(before, action)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    expected = f"Retry scheduled for request req-1 (run {RUN}) at {action.due.isoformat()}: TooManyRequests: Slow down"
    assert record.getMessage().startswith(expected)
    assert "c2VjcmV0" not in caplog.text


def test_request_that_waits_as_planned_is_not_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    before = replace(planned(("0", "1")), failures=2, transient_error=THROTTLED)
    log_retry(before, ending.wait(RULES, before, NOW, NOW + timedelta(minutes=1)))
    log_retry(before, LeaveToJudge(before))
    assert caplog.records == []


def test_wave_is_logged_with_its_id_and_when_it_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    record = posting("0", "1")
    log_submission(record, Continue(record, NOW))
    log_submission(record, LeaveToJudge(record))
    first, second = (each.getMessage() for each in caplog.records)
    wave = f"Wave 1 of 1 submitted for request req-1 (run {RUN}) on {record.scale_set}"
    assert first == f"{wave}, due at {NOW.isoformat()}"
    assert second == f"{wave}, judged after the settle time"
