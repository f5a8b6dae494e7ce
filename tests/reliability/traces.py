"""What a collector received of one request, checked as a stranger would: by ids, names and times alone."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise

from sandbox.otlp import Span, Telemetry
from tests.reliability.environment import Environment

TRACE_ID, SENDER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE_ID}-{SENDER}-03"
SECOND = 1_000_000_000


def check_one_trace(services: Environment, telemetry: Telemetry, waves: int) -> None:
    """Assert that all spans are one whole trace: the sender's, a run, its waves, each with its POST, right in time."""
    assert {span.trace_id for span in telemetry.spans} == {TRACE_ID}
    spans = telemetry.trace(TRACE_ID)
    assert {span.parent_id for span in spans} <= {span.span_id for span in spans} | {SENDER}, _drawn(spans)
    runs = [span for span in spans if span.name.startswith("maintenance ")]
    waved = [span for span in spans if span.name.startswith("wave ")]
    posts = [span for span in spans if span.name == "POST performMaintenance"]
    assert [span.parent_id for span in runs] == [SENDER], _drawn(spans)
    assert [span.name for span in waved] == [f"wave {number}" for number in range(1, waves + 1)], _drawn(spans)
    assert {span.parent_id for span in waved} == {runs[0].span_id}
    assert {span.parent_id for span in posts} == {span.span_id for span in waved}, _drawn(spans)
    _check_times(services, runs[0], waved)


def _check_times(services: Environment, run: Span, waves: list[Span]) -> None:
    events = services.events()
    ends = [_at(event["time"]) for event in events if event["type"].split(".")[-2] in ("progressed", "completed")]
    posted = [call.time for call in services.arm.calls.matching("POST", "performMaintenance") if call.status == 202]
    assert services.sent_at is not None
    # Starting a process to send takes its time.
    assert services.sent_at <= _moment(run.start) <= min(posted)
    assert _moment(run.end) == ends[-1]
    # A wave begins when its first process asks for a token to post with, and ends when its event says.
    assert [_moment(wave.end) for wave in waves] == ends
    assert all(_moment(wave.start) <= at < _moment(wave.end) for wave, at in zip(waves, posted, strict=True))
    assert all(one.end <= other.start for one, other in pairwise(waves))


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _moment(nanoseconds: int) -> datetime:
    return datetime.fromtimestamp(nanoseconds / SECOND).astimezone()


def _drawn(spans: list[Span]) -> str:
    return "\n".join(f"{span.span_id} {span.parent_id} {span.name}" for span in spans)
