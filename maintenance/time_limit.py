"""A bound in time for each of many calls at once, by one timer for all of them.

`asyncio.timeout` sets and cancels a timer for each call, a fiftieth of what a poll costs. Calls that all have the same
time end in the order in which they began, so it is enough to watch the oldest.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any


class TimeLimit:
    """A context around each call, for one event loop: one that takes longer than `seconds` is canceled, and its block
    raises TimeoutError, as that of `asyncio.timeout` does. A task has one such block open at a time."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        # The time of the loop at which each ends, oldest first, and how many others had canceled its task by then.
        self._open: dict[asyncio.Task[Any], tuple[float, int]] = {}
        self._overdue: dict[asyncio.Task[Any], int] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        task = _current_task()
        if task in self._open:
            raise RuntimeError("a call within a call has no time of its own")
        loop = asyncio.get_running_loop()
        end = loop.time() + self._seconds
        self._open[task] = (end, task.cancelling())
        if self._timer is None:
            self._timer = loop.call_at(end, self._ring, loop)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        task = _current_task()
        if self._open.pop(task, None) is not None:
            return
        canceled_before = self._overdue.pop(task)
        # Who else has canceled the task wants it to end, not to hear of a time-out.
        if task.uncancel() <= canceled_before and isinstance(error, asyncio.CancelledError):
            raise TimeoutError from error

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for task, (end, canceled_before) in list(self._open.items()):
            if end > now:
                self._timer = loop.call_at(end, self._ring, loop)
                return
            del self._open[task]
            self._overdue[task] = canceled_before
            task.cancel()
        self._timer = None


def _current_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("only a task can be given a time")
    return task
