"""Reader of the tables in docs/reliability.md."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
CHAPTER = "## When the worker dies"


def chapter() -> str:
    """The chapter on a worker that dies."""
    text = (ROOT / "docs" / "reliability.md").read_text()
    return text.partition(CHAPTER)[2].partition("\n## ")[0]


def rows() -> list[list[str]]:
    """The rows of its tables, cell by cell."""
    lines = [line for line in chapter().splitlines() if line.startswith("| ") and "right after" not in line]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def steps() -> set[str]:
    """Every step that has a row."""
    return {step for cells in rows() for step in quoted(cells[0])}


def as_written(kind: str) -> str:
    """A step as the tables spell it: VMs are not numbered."""
    return re.sub(r"web_\d+", "web_…", kind)


def quoted(text: str) -> list[str]:
    """The texts in backticks."""
    return re.findall(r"`([^`]+)`", text)
