"""A clock moved by hand, and a crash point at any awaited step."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tests.support.samples import NOW


class Killed(BaseException):
    """The process dies here."""


def pass_over_killed(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Handler of the loop's exceptions: a process that died asks none of its tasks how it ended."""
    match context.get("exception"):
        case Killed():
            return
        case BaseExceptionGroup() as group if group.split(Killed)[1] is None:
            return
    loop.default_exception_handler(context)


class HandClock:
    """The time, as worker, ARM and Service Bus all see it."""

    def __init__(self) -> None:
        self.time = NOW

    def __call__(self) -> datetime:
        return self.time

    def seconds(self) -> float:
        return (self.time - NOW).total_seconds()


@dataclass
class CrashPoint:
    """Counts the awaited steps, and strikes at one of them. `steps` holds every step by name. `dead`: the process is
    no more, so that none of its tasks takes a further step."""

    die_at: int | None = None
    then_at: int | None = None
    steps: list[str] = field(default_factory=list)
    dead: bool = False

    def step(self, name: str) -> None:
        if self.dead:
            raise Killed(name)
        self.steps.append(name)
        if len(self.steps) == self.die_at:
            self.die_at, self.then_at = self.then_at, None
            self.dead = True
            raise Killed(name)
