"""Trace and span ids: whose they are, and that they are the same whoever makes them."""

from __future__ import annotations

import pytest

from maintenance.telemetry.trace_context import SpanContext, read_traceparent, run_trace
from tests.support.samples import RUN

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize("flags", ["00", "01", "03", "ff", "a9"])
def test_traceparent_with_any_flags_is_read(flags: str) -> None:
    assert read_traceparent(f" 00-{TRACE}-{SPAN}-{flags} ") == SpanContext(
        int(TRACE, 16), int(SPAN, 16), int(flags, 16)
    )


def test_traceparent_of_a_later_version_is_read_by_what_is_known_of_it() -> None:
    assert read_traceparent(f"01-{TRACE}-{SPAN}-01-what-comes") == SpanContext(int(TRACE, 16), int(SPAN, 16), 1)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "00-a",
            f"00-{TRACE}-{SPAN}",
            f"00-{TRACE}-{SPAN}-0",
            f"00-{TRACE}-{SPAN}-01-more",
            f"ff-{TRACE}-{SPAN}-01",
        ),
        *(f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01", f"00-{TRACE.upper()}-{SPAN}-01", "|abc.1.", None, 7),
        f"00-{TRACE}-{SPAN}-0١",
    ],
)
def test_what_is_no_traceparent_is_none(text: object) -> None:
    assert read_traceparent(text) is None


def test_run_without_sender_has_its_run_id_as_trace_id() -> None:
    trace = run_trace(RUN, {})
    assert (trace.sender, f"{trace.trace_id:032x}") == (None, RUN)
    assert trace.maintenance.flags is None
    assert run_trace("0" * 32, {}).trace_id == 1


def test_spans_of_a_run_have_ids_of_their_own_that_are_the_same_in_every_process() -> None:
    trace = run_trace(RUN, {"traceparent": f"00-{TRACE}-{SPAN}-03"})
    spans = [trace.maintenance, trace.wave(0), trace.wave(1), trace.post(3, ""), trace.post(3, "web_1")]
    assert {span.trace_id for span in spans} == {int(TRACE, 16)}
    assert {span.flags for span in spans} == {3}
    assert len({span.span_id for span in spans}) == 5
    # Written down: another version of this app, which runs beside this one, must make the same.
    assert f"{trace.maintenance.span_id:016x}" == "cabcf3bbaccbed20"
    assert f"{trace.wave(0).span_id:016x}" == "bb5bcc45f1bf7f5f"
