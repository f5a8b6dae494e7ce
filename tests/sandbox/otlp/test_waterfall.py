"""A trace in a terminal: each span below its parent, with a bar where it lies in time."""

from __future__ import annotations

import io

from rich.console import Console

from sandbox.otlp import Span
from sandbox.otlp.waterfall import draw


def span(name: str, span_id: str, parent_id: str, start: int, end: int, **more: bool | str) -> Span:
    second = 1_000_000_000
    return Span("t" * 32, span_id, parent_id, name, "internal", start * second, end * second, {}, **more)  # type: ignore[arg-type] # `failed` or `status`


def drawn(*spans: Span) -> list[str]:
    console = Console(file=io.StringIO(), width=100, color_system=None)
    draw(console, spans)
    output = console.file
    assert isinstance(output, io.StringIO)
    return output.getvalue().splitlines()


def test_spans_are_drawn_below_their_parents_in_time() -> None:
    title, run, first, post, second, failed = drawn(
        span("maintenance web", "a", "sender", 0, 10),
        span("wave 1", "b", "a", 0, 5),
        span("wave 2", "c", "a", 5, 10, failed=True, status="1 of 2 instances failed"),
        span("POST", "d", "b", 0, 0),
    )
    assert title == f"Trace {'t' * 32}, 10.0 s"
    assert run.startswith("maintenance web")
    assert [line.index(name) for line, name in ((first, "wave 1"), (post, "POST"), (second, "wave 2"))] == [2, 4, 2]
    bars = [line.count("█") for line in (run, first, post, second)]
    assert bars == [44, 22, 1, 22]
    assert failed == "    failed: 1 of 2 instances failed"


def test_spans_that_are_their_own_parents_end_and_none_draw_nothing() -> None:
    assert len(drawn(span("x", "a", "a", 0, 1), span("y", "b", "c", 0, 1), span("z", "c", "b", 0, 1))) >= 2
    assert drawn() == []
