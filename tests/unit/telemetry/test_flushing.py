"""Waiting for an export is bounded, and a backend that does not respond is not waited for again."""

from __future__ import annotations

import threading

import pytest

from maintenance.telemetry.flushing import Flusher
from tests.support.limit import LIMIT


async def test_flush_returns_once_all_is_exported() -> None:
    exported: list[str] = []
    flusher = Flusher([lambda: exported.append("spans"), lambda: exported.append("logs")])
    await flusher.flush()
    assert exported == ["spans", "logs"]


async def test_backend_that_does_not_respond_is_waited_for_once_in_a_while(caplog: pytest.LogCaptureFixture) -> None:
    released, hanging, begun, time = threading.Event(), threading.Event(), [0], [0.0]

    def hang() -> None:
        begun[0] += 1
        hanging.set()
        released.wait()

    flusher = Flusher([hang], limit=0.01, quiet_for=60.0, monotonic=lambda: time[0])
    await flusher.flush()
    await flusher.flush()
    # Its thread may begin only after the flush has given it up.
    assert hanging.wait(LIMIT)
    assert begun == [1]
    assert "its backend does not respond" in caplog.text
    released.set()
    time[0] = 61.0
    await Flusher([hang], monotonic=lambda: time[0]).flush()
    assert begun == [2]


async def test_export_that_fails_raises_nothing_and_shows_no_text(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise ValueError("https://x.example/?sig=c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0")

    await Flusher([fail]).flush()
    assert "Exporting telemetry failed: ValueError" in caplog.text
    assert "c2VjcmV0" not in caplog.text
