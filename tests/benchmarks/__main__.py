"""`python -m tests.benchmarks`: one table; each row compares two sides, measured in turn on the same services."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import logging
import os
import statistics
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table

from maintenance.worker import relax_garbage_collection
from tests.benchmarks.comparison import Options, Row

FAMILIES = (
    "arm_client",
    "tick",
    "growth",
    "requests",
    "latencies",
    "cold_start",
    "arm_calls",
    "telemetry",
    "fast_paths",
)
WIDTH = 168


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--only", action="append", choices=FAMILIES, help="only this family of rows; may be repeated")
    parser.add_argument("--runs", type=int, default=5, help="of each side (default 5)")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, to check that it runs")
    arguments = parser.parse_args()
    # Warnings of the SDKs (a closed link, a retried poll) do not belong into the table.
    logging.getLogger("azure").setLevel(logging.ERROR)
    logging.getLogger("maintenance").setLevel(logging.ERROR)
    options = Options(runs=arguments.runs, quick=arguments.quick)
    console = Console(width=WIDTH)
    rows: list[Row] = []
    for family in arguments.only or FAMILIES:
        console.print(f"[dim]{datetime.now(UTC):%H:%M:%S} {family} …[/dim]")
        measured = importlib.import_module(f"tests.benchmarks.{family}")
        # As the worker does, once all is imported; here it applies to both sides.
        relax_garbage_collection()
        found: list[Row] = asyncio.run(measured.rows(options))
        console.print(table(found))
        rows += found
    if not arguments.only:
        console.print(table(rows))
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    python = sys.version.split()[0]
    console.print(f"{os.cpu_count()} processors, load {load}; Python {python}; {options.runs} runs of each side.")
    missed = [row.name for row in rows if row.met is False]
    if missed:
        console.print(f"Not met: {'; '.join(missed)}")
    return 1 if missed else 0


def table(rows: Sequence[Row]) -> Table:
    shown = Table(title="Medians, with minimum and maximum in brackets")
    for name in ("what", "against", "unit", "ours", "theirs", "ratio", "required", ""):
        shown.add_column(name, justify="right" if name in ("ours", "theirs", "ratio", "required") else "left")
    for row in rows:
        shown.add_row(
            row.name,
            row.against,
            row.unit,
            spread(row.ours),
            spread(row.theirs),
            spread(row.ratios),
            str(row.required or ""),
            {True: "met", False: "[red]not met[/red]", None: ""}[row.met],
        )
    return shown


def spread(numbers: Sequence[float]) -> str:
    median = number(statistics.median(numbers))
    if len(set(numbers)) == 1:
        return median
    return f"{median} ({number(min(numbers))} – {number(max(numbers))})"


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main())
