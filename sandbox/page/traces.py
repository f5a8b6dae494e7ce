"""The trace of a request as the page draws it: its spans, each below its parent, and where it lies in time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from sandbox.page.redaction import shown, shown_values

if TYPE_CHECKING:
    from sandbox.otlp import Span

    Traces = Callable[[str], Sequence[Span]]

# More than a screen shows, and than a request of a hundred waves has.
MOST = 500
_NANOSECONDS_PER_MILLISECOND = 1_000_000


def trace(spans: Sequence[Span]) -> dict[str, Any]:
    """The spans of one trace, by their start, in the order in which they are drawn. Times are milliseconds, from the
    first span's start on; `left`: how many are left out."""
    if not spans:
        return {"spans": [], "lasts": 0, "left": 0}
    # Whoever has spans has imported it; for all others, protobuf takes as long as all else.
    from sandbox.otlp.waterfall import in_order  # noqa: PLC0415

    first, last = min(each.start for each in spans), max(each.end for each in spans)
    rows = [
        {
            "depth": depth,
            "name": shown(each.name),
            "kind": each.kind,
            "from": (each.start - first) / _NANOSECONDS_PER_MILLISECOND,
            "lasts": (each.end - each.start) / _NANOSECONDS_PER_MILLISECOND,
            "failed": each.failed,
            "status": shown(each.status),
            "attributes": shown_values(each.attributes),
        }
        for depth, each in in_order(spans[:MOST])
    ]
    return {"spans": rows, "lasts": (last - first) / _NANOSECONDS_PER_MILLISECOND, "left": max(len(spans) - MOST, 0)}
