"""Growth: the same tick with 1,000, 10,000 and 100,000 operations due, each in a process of its own."""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from maintenance.settings import read_settings
from maintenance.worker import Worker, relax_garbage_collection
from tests.benchmarks.comparison import Bound, Cost, Options, Row
from tests.benchmarks.services import ROOT, Services, services
from tests.benchmarks.workload import OPERATIONS, environment, fill, operation_urls, settings, under_way

SIZES = (1_000, 10_000, 100_000)
SCALE_SETS = 100


async def measure(at: Services, urls: list[str], count: int) -> dict[str, float]:
    """Run a worker process until it has persisted `count` operations; return milliseconds for each, and peak MB."""
    at.clear()
    await fill(at, OPERATIONS, under_way(urls, count))
    command = [sys.executable, "-m", "tests.benchmarks.growth", json.dumps(environment(at)), str(count)]
    process = await asyncio.to_thread(subprocess.run, command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    measured: dict[str, float] = json.loads(process.stdout)
    return measured


async def rows(options: Options) -> list[Row]:
    found: list[Row] = []
    sizes = [options.sized(size) for size in SIZES]
    with services(scale_sets=SCALE_SETS, instances=2, seconds=36_000) as at:
        worker = Worker(settings(at))
        urls = await operation_urls(worker.arm_client, at.arm, SCALE_SETS)
        await worker.close()
        for size in sizes[1:]:
            # A tick of the largest size takes a minute, and making its messages another.
            runs = 1 if size == sizes[-1] else options.runs
            pairs = [(await measure(at, urls, size), await measure(at, urls, sizes[0])) for _ in range(runs)]
            found += _compare(size, sizes[0], pairs)
    return found


def _compare(size: int, smallest: int, pairs: list[tuple[dict[str, float], dict[str, float]]]) -> list[Row]:
    def row(what: str, unit: str, name: str, required: Bound | None) -> Row:
        return Row(
            name=f"{what}, {size:,} due",
            against=f"{smallest:,} due",
            unit=unit,
            ours=tuple(mine[name] for mine, _ in pairs),
            theirs=tuple(other[name] for _, other in pairs),
            required=required,
        )

    memory = [other["mb"] for _, other in pairs]
    # 30 MB more than the smallest case.
    most = Bound("at most", (min(memory) + 30) / min(memory))
    return [
        row("time of a tick per operation", "ms", "wall", Bound("at most", 1.1)),
        row("processor time of a tick per operation", "CPU ms", "cpu", Bound("at most", 1.1)),
        row("peak memory", "MB", "mb", most),
    ]


async def _work(settings_of: dict[str, str], count: int) -> dict[str, Any]:
    relax_garbage_collection()
    worker = Worker(read_settings(settings_of))
    persisted = 0
    with Cost(count) as cost:
        while persisted < count:
            persisted += (await worker.poll()).persisted
    await worker.close()
    # Where a tick takes longer than a minute, the first of them fall due again in it.
    each = 1000 / persisted
    return {"wall": cost.wall * each, "cpu": cost.cpu * each, "mb": _peak_memory()}


def _peak_memory() -> float:
    """MB. Not from getrusage, which counts the memory of the parent at the fork."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("environment")
    parser.add_argument("count", type=int)
    options = parser.parse_args()
    measured = asyncio.run(_work(json.loads(options.environment), options.count))
    sys.stdout.write(json.dumps(measured))


if __name__ == "__main__":
    main()
