"""Where everything that a command says goes: data to stdout in the chosen form, all else to stderr."""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from maintenance_cli.drawing.lines import Line, Row, as_table, in_ascii

# Columns, where nobody says how wide it is: a file, a pipe.
WIDE = 200


class ReaderGone(Exception):
    """Whoever reads stdout has enough, as with `vmss-maintenance list | head`."""


@dataclass(frozen=True, slots=True)
class Output:
    """`form` is table, json or jsonl. `terminal`: whether stdout is one; `interactive`: whether a person can be asked
    there. `width` in columns, None where lines are not cut."""

    form: str
    quiet: bool
    color: bool
    terminal: bool
    interactive: bool
    width: int | None
    out: TextIO
    err: TextIO

    @classmethod
    def of(cls, parsed: argparse.Namespace) -> Output:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                # A locale without a sign shows a question mark, and ends nothing.
                stream.reconfigure(errors="replace")
        terminal = sys.stdout.isatty()
        dumb = os.environ.get("TERM") == "dumb"
        plain = getattr(parsed, "no_color", False) or bool(os.environ.get("NO_COLOR"))
        return cls(
            form=getattr(parsed, "output", "table"),
            quiet=getattr(parsed, "quiet", False),
            color=terminal and not plain and not dumb,
            terminal=terminal and not dumb,
            interactive=sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty(),
            width=shutil.get_terminal_size().columns if terminal else None,
            out=sys.stdout,
            err=sys.stderr,
        )

    # -------------------------------------------------------------------------------------------- data

    def documents(self, documents: Sequence[Any]) -> None:
        """Several values: one array, or each on a line of its own."""
        if self.form == "jsonl":
            for document in documents:
                self._write(json.dumps(document, ensure_ascii=False))
        else:
            self._write(json.dumps(list(documents), ensure_ascii=False, indent=2))

    def document(self, document: Any) -> None:
        """One value."""
        self._write(json.dumps(document, ensure_ascii=False, indent=None if self.form == "jsonl" else 2))

    def text(self, text: str) -> None:
        """Text as it is."""
        self._write(text)

    def lines(self, lines: Iterable[Line]) -> None:
        """Styled lines. Folded to the terminal's width; whole where stdout is a file or a pipe."""
        for line in lines:
            for part in line.folded(self.width) if self.width else (line,):
                self._write(self.painted(part))

    def table(
        self, head: Sequence[str], rows: Sequence[Row], *, folded: int | None = None, most: int | None = None
    ) -> None:
        """A table. On a terminal the column `folded` takes the width that is left, and is continued below, in `most`
        lines of a row at the most."""
        self.lines(as_table(head, rows, self.width, folded=folded, most=most))

    def painted(self, line: Line, *, cut: bool = False) -> str:
        """A line as text for this stdout."""
        line = line.cut(self.width) if cut and self.width else line
        text = line.painted() if self.color else line.plain
        return text if self.shows_signs else in_ascii(text)

    @property
    def shows_signs(self) -> bool:
        """Whether stdout's encoding has the signs of trees and states."""
        return (getattr(self.out, "encoding", None) or "utf-8").lower().replace("-", "").startswith("utf")

    def _write(self, text: str) -> None:
        try:
            self.out.write(f"{text}\n")
        except BrokenPipeError:
            raise ReaderGone from None

    # ------------------------------------------------------------------------------------ all that is not data

    def note(self, text: str) -> None:
        """Something good to know."""
        if not self.quiet:
            self.err.write(f"{text}\n")
            self.err.flush()

    def note_lines(self, lines: Iterable[Line]) -> None:
        """Styled lines that are good to know."""
        if not self.quiet:
            for line in lines:
                self.err.write(f"{self.painted(line)}\n")

    def problem(self, text: str) -> None:
        """Something wrong, shown even with --quiet."""
        self.err.write(f"{text}\n")
        self.err.flush()

    def ask(self, question: str) -> bool:
        """Whether a person at the terminal says yes."""
        self.flush()
        self.err.write(f"{question} [y/N] ")
        self.err.flush()
        try:
            answer = input()
        except EOFError:
            self.err.write("\n")
            return False
        return answer.strip().lower() in ("y", "yes")

    def flush(self) -> None:
        try:
            self.out.flush()
        except BrokenPipeError:
            raise ReaderGone from None
        self.err.flush()
