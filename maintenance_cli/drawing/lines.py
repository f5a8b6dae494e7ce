"""Lines and tables of styled text, for a terminal of any width and for none. Pure."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

# SGR parameters (ECMA-48).
STYLES = {
    "bold": "1",
    "dim": "2",
    "green": "32",
    "yellow": "33",
    "red": "31",
    "blue": "34",
    "cyan": "36",
    "magenta": "35",
}
_ASCII = str.maketrans(
    {"├": "|", "└": "`", "│": "|", "─": "-", "…": "~", "✓": "+", "✗": "x", "▶": ">", "□": ".", "–": "-", "·": "-"}
)
GAP = 2
_BRANCHES = re.compile(r"[├└│─ ]*")
_WORDS = re.compile(r"\s*\S+\s*|\s+")
# Columns: of the one that is folded, while others are wider; and of any.
LEAST, NARROWEST = 24, 6


@dataclass(frozen=True, slots=True)
class Span:
    """Text of one style."""

    text: str
    style: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """A line: spans one after the other."""

    spans: tuple[Span, ...] = ()

    @classmethod
    def of(cls, *parts: str | Span) -> Line:
        return cls(tuple(part if isinstance(part, Span) else Span(part) for part in parts))

    @property
    def plain(self) -> str:
        return "".join(span.text for span in self.spans).rstrip()

    def painted(self) -> str:
        """With the escape sequences of a terminal."""
        return "".join(
            f"\x1b[{STYLES[span.style]}m{span.text}\x1b[0m" if span.style and span.text else span.text
            for span in self.spans
        ).rstrip()

    def cut(self, width: int) -> Line:
        """No wider than so many columns."""
        if len(self.plain) <= width:
            return self
        left, kept = width - 1, []
        for span in self.spans:
            kept.append(Span(span.text[:left], span.style))
            left -= len(kept[-1].text)
        return Line((*kept, Span("…")))

    def folded(self, width: int) -> list[Line]:
        """The same in lines no wider than so many columns, broken between words. The branches of a tree go on."""
        if len(self.plain) <= width:
            return [self]
        prefix = _BRANCHES.match(self.plain)
        lead = prefix[0] if prefix else ""
        hang = lead.replace("├─", "│ ").replace("└─", "  ") + "  "
        words = [Span(word, span.style) for span in self.spans for word in _WORDS.findall(span.text)]
        lines: list[list[Span]] = [[]]
        used = 0
        for word in words:
            if used + len(word.text.rstrip()) > width and used > len(hang):
                lines[-1][-1] = Span(lines[-1][-1].text.rstrip(), lines[-1][-1].style)
                lines.append([Span(hang, "dim")])
                used = len(hang)
                lines[-1].append(Span(word.text.lstrip(), word.style))
            else:
                lines[-1].append(word)
            used += len(lines[-1][-1].text)
        return [Line(tuple(spans)) for spans in lines]


Cell = str | Span
Row = Sequence[Cell]


def as_table(
    head: Sequence[str],
    rows: Sequence[Row],
    width: int | None,
    *,
    folded: int | None = None,
    most: int | None = None,
) -> list[Line]:
    """A table without frame. `width`: columns of the terminal, None for no limit. `folded`: the column that gives way
    first; where that does not suffice, the widest does. `most`: how many lines its text may take; what is left out is
    shown as an ellipsis."""
    cells = [[_span(name, "dim") for name in head], *([_span(cell) for cell in row] for row in rows)]
    widths = [max(len(row[at].text) for row in cells) for at in range(len(head))]
    if width is not None:
        _narrow(widths, width - GAP * (len(widths) - 1), folded)
    limits = [most if at == folded else None for at in range(len(head))]
    return [line for row in cells for line in _lines(row, widths, limits)]


def _narrow(widths: list[int], room: int, folded: int | None) -> None:
    """Take from the folded column, then from whichever is the widest, until all fit."""
    if folded is not None and (over := sum(widths) - room) > 0:
        widths[folded] = max(widths[folded] - over, min(widths[folded], LEAST))
    while sum(widths) > room and max(widths) > NARROWEST:
        widths[widths.index(max(widths))] -= 1


def _lines(row: Sequence[Span], widths: Sequence[int], limits: Sequence[int | None]) -> Iterator[Line]:
    wrapped = [_wrapped(span.text, width, most) for span, width, most in zip(row, widths, limits, strict=True)]
    for number in range(max(len(parts) for parts in wrapped)):
        spans = []
        for at, (span, width) in enumerate(zip(row, widths, strict=True)):
            part = wrapped[at][number] if number < len(wrapped[at]) else ""
            padding = " " * (width - len(part) + (GAP if at < len(widths) - 1 else 0))
            spans += [Span(part, span.style), Span(padding)]
        yield Line(tuple(spans))


def _wrapped(text: str, width: int, most: int | None) -> list[str]:
    if len(text) <= width:
        return [text]
    return textwrap.wrap(text, max(width, 2), max_lines=most, placeholder="…") or [""]


def _span(cell: Cell, style: str = "") -> Span:
    span = cell if isinstance(cell, Span) else Span(cell, style)
    return Span(" ".join(span.text.split()), span.style)


def in_ascii(text: str) -> str:
    """The same with signs that every encoding has."""
    return text.translate(_ASCII)
