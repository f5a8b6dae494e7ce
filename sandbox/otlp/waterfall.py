"""A trace as a waterfall in a terminal: a line for each span, below its parent, with a bar where it lies in time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.text import Text

from sandbox.otlp.signals import Span

_NANOSECONDS = 1_000_000_000
_STYLES = {"internal": "cyan", "client": "blue", "consumer": "magenta"}
_NAMES, _TIMES = 34, 9
_LEAST_BAR = 10


def draw(console: Console, spans: Sequence[Span]) -> None:
    """Draw the spans of one trace, which are in the order of their starts. Nothing where there are none."""
    if not spans:
        return
    start, end = min(span.start for span in spans), max(span.end for span in spans)
    width = max(console.width - _NAMES - 2 * _TIMES - 4, _LEAST_BAR)
    plain = not console.encoding.startswith("utf")
    console.print(Text(f"Trace {spans[0].trace_id}, {(end - start) / _NANOSECONDS:.1f} s", style="bold"))
    for depth, span in in_order(spans):
        name = f"{'  ' * depth}{span.name}"
        begun, lasted = (span.start - start) / _NANOSECONDS, (span.end - span.start) / _NANOSECONDS
        line = Text(f"{_fitted(name):<{_NAMES}}{begun:>{_TIMES - 2}.2f} s{lasted:>{_TIMES - 2}.2f} s  ")
        before = min(int((span.start - start) / max(end - start, 1) * width), width - 1)
        length = min(max(round((span.end - span.start) / max(end - start, 1) * width), 1), width - before)
        line.append(" " * before)
        line.append(("#" if plain else "█") * length, "red" if span.failed else _STYLES.get(span.kind, ""))
        console.print(line, no_wrap=True, overflow="ellipsis", highlight=False)
        if span.failed:
            console.print(Text(f"{'  ' * (depth + 1)}failed: {span.status}", "red"), highlight=False)


def in_order(spans: Sequence[Span]) -> Iterator[tuple[int, Span]]:
    """Each span after its parent, and how deep it is; one whose parent is not there is at the top."""
    known = {span.span_id for span in spans}
    below: dict[str, list[Span]] = defaultdict(list)
    for span in spans:
        below[span.parent_id if span.parent_id in known and span.parent_id != span.span_id else ""].append(span)
    left = [(0, span) for span in reversed(below[""])]
    shown: set[str] = set()
    while left:
        depth, span = left.pop()
        if span.span_id in shown:
            continue
        shown.add(span.span_id)
        yield depth, span
        left += [(depth + 1, child) for child in reversed(below[span.span_id])]


def _fitted(name: str) -> str:
    return name if len(name) < _NAMES else name[: _NAMES - 2] + "…"
