"""Comparison of two sides, measured in turn."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Options:
    """Options of a measurement: `runs` of each side; `quick`: a tenth of the work, to check that it runs."""

    runs: int = 5
    quick: bool = False

    def sized(self, number: int) -> int:
        return max(number // 10, 1) if self.quick else number


@dataclass(frozen=True, slots=True)
class Bound:
    """Required ratio of ours to theirs."""

    kind: Literal["at least", "at most"]
    ratio: float

    def holds(self, ratio: float) -> bool:
        return ratio >= self.ratio if self.kind == "at least" else ratio <= self.ratio

    def __str__(self) -> str:
        return f"{'≥' if self.kind == 'at least' else '≤'} {self.ratio:.3g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Row of the table: `ours` and `theirs` hold one number per run.

    Runs are made in pairs, so that noise of the machine affects both sides.
    """

    name: str
    against: str
    unit: str
    ours: tuple[float, ...]
    theirs: tuple[float, ...]
    required: Bound | None = None
    note: str = ""

    @property
    def ratios(self) -> list[float]:
        return [mine / other for mine, other in zip(self.ours, self.theirs, strict=True) if other]

    @property
    def ratio(self) -> float:
        """The median of the pairs' ratios."""
        return statistics.median(self.ratios)

    @property
    def met(self) -> bool | None:
        return self.required.holds(self.ratio) if self.required else None


@dataclass(slots=True)
class Cost:
    """Cost of a piece of work: wall and processor seconds of this process, for `count` items."""

    count: int
    wall: float = 0.0
    cpu: float = 0.0
    _started: tuple[float, float] = field(default=(0.0, 0.0), repr=False)

    def __enter__(self) -> Cost:
        gc.collect()
        self._started = (time.perf_counter(), time.process_time())
        return self

    def __exit__(self, *_: object) -> None:
        self.wall = time.perf_counter() - self._started[0]
        self.cpu = time.process_time() - self._started[1]

    @property
    def per_second(self) -> float:
        return self.count / self.wall

    @property
    def cpu_each(self) -> float:
        """Processor milliseconds per item."""
        return self.cpu / self.count * 1000


async def alternate(runs: int, *sides: Callable[[], Awaitable[Cost]]) -> list[list[Cost]]:
    """Run each side in turn, `runs` times after a run that does not count; return the costs of each side."""
    costs: list[list[Cost]] = [[] for _ in sides]
    for number in range(runs + 1):
        # In reverse order every second time, so that no side profits from its place.
        order = list(enumerate(sides))
        for at, side in order if number % 2 else reversed(order):
            cost = await side()
            if number:
                costs[at].append(cost)
    return costs


def values(costs: Sequence[Cost], read: Callable[[Cost], float]) -> tuple[float, ...]:
    return tuple(read(cost) for cost in costs)
