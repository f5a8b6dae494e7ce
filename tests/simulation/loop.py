"""A deterministic asyncio event loop: virtual time, no input or output, and an order of what is ready by a seed.

What belongs to a simulated process carries its `Life` in its context: of a dead process nothing runs any more, not even
a `finally`; of a frozen one everything runs later.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import heapq
import random
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar
from typing import Any, TypeVar

T = TypeVar("T")


class Life:
    """Whether what a process does still happens. `frozen_until` is a time of the loop."""

    __slots__ = ("dead", "frozen_until", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.dead = False
        self.frozen_until = 0.0


class Numbered(asyncio.Task[Any]):
    """A task whose place in a set does not follow from its address: the product waits for sets of them."""

    def __init__(self, coro: Coroutine[Any, Any, Any], number: int, *, loop: Loop, context: Context | None) -> None:
        self.number = number
        super().__init__(coro, loop=loop, name="", context=context)

    def __hash__(self) -> int:
        return self.number


LIFE: ContextVar[Life | None] = ContextVar("LIFE", default=None)


class Loop(asyncio.BaseEventLoop):
    """Runs until nothing is left to do. `shuffled`: ready callbacks run in an order that `draw` gives, else in turn."""

    def __init__(self, draw: random.Random, *, shuffled: bool) -> None:
        super().__init__()
        self._draw = draw.random
        self._shuffled = shuffled
        self._moment = 0.0
        self._tie = 0
        self._due: list[tuple[float, int, asyncio.Handle]] = []
        self._soon: list[asyncio.Handle] = []
        self._tasks: list[asyncio.Task[Any]] = []
        self._stopped = False
        self._unwinding = False
        self.steps = 0
        self.unexpected: list[str] = []

    def time(self) -> float:
        return self._moment

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._soon.append(handle)
        return handle

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._tie += 1
        heapq.heappush(self._due, (when, self._tie, handle))
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._moment + delay, callback, *args, context=context)

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, T], *, name: object = None, context: Context | None = None
    ) -> asyncio.Task[T]:
        # Held, since a pending task that nobody holds would be collected at some time, and run its `finally` then.
        task = Numbered(coro, len(self._tasks), loop=self, context=context)
        self._tasks.append(task)
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self._unwinding:
            self.unexpected.append(f"{context.get('message')}: {context.get('exception')!r}")

    def get_debug(self) -> bool:
        return False

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Canceled timers are passed over when they are due."""

    def stop(self) -> None:
        self._stopped = True

    def run(self, until: float, most_steps: int) -> bool:
        """Run until nothing is left or `stop` is called; false where it is `until` before, or took so many steps."""
        due, soon, draw = self._due, self._soon, self._draw
        asyncio._set_running_loop(self)
        try:
            while not self._stopped and self.steps < most_steps:
                if not soon:
                    if not due:
                        return True
                    if due[0][0] > until:
                        return False
                    self._moment = max(self._moment, due[0][0])
                    while due and due[0][0] <= self._moment:
                        soon.append(heapq.heappop(due)[2])
                if self._shuffled and len(soon) > 1:
                    place = int(draw() * len(soon))
                    soon[place], soon[-1] = soon[-1], soon[place]
                    handle = soon.pop()
                else:
                    handle = soon.pop(0)
                if not handle.cancelled():
                    self._step(handle)
        finally:
            asyncio._set_running_loop(None)
        return self._stopped

    def _step(self, handle: asyncio.Handle) -> None:
        context: Context = handle._context  # type: ignore[attr-defined]
        life = context.get(LIFE)
        if life is not None:
            if life.dead:
                return
            if life.frozen_until > self._moment:
                self._tie += 1
                heapq.heappush(self._due, (life.frozen_until, self._tie, handle))
                return
        self.steps += 1
        context.run(handle._callback, *handle._args)  # type: ignore[attr-defined]

    def unwind(self) -> None:
        """Cancel what is left, so that nothing of this simulation is alive when the next one runs. Nothing that happens
        here counts."""
        self._unwinding = True
        asyncio._set_running_loop(self)
        try:
            for _ in range(20):
                pending = [task for task in self._tasks if not task.done()]
                if not pending:
                    break
                for task in pending:
                    task.cancel()
                for _ in range(2_000):
                    if not self._soon:
                        break
                    handle = self._soon.pop(0)
                    if not handle.cancelled():
                        handle._context.run(handle._callback, *handle._args)  # type: ignore[attr-defined]
        finally:
            asyncio._set_running_loop(None)
        for task in self._tasks:
            if not task.done():
                # Its process died before it took its first step, or its next one.
                with contextlib.suppress(BaseExceptionGroup, RuntimeError):
                    # A group of tasks wraps what ends it, or would wait for its tasks.
                    task.get_coro().close()
            if task.done() and not task.cancelled():
                task.exception()
            task._log_destroy_pending = False  # type: ignore[attr-defined]
        self._tasks.clear()
        self._due.clear()
        self._soon.clear()
        self.close()


def result_of(coroutine: Coroutine[Any, Any, T], loop: Loop | None = None) -> T:
    """The result of a coroutine whose waits take no time: it must end by itself, within an hour of the loop's time."""
    if loop is None:
        loop = Loop(random.Random(0), shuffled=False)
    task = loop.create_task(coroutine)
    try:
        loop.run(until=3_600, most_steps=1_000_000)
        assert task.done(), "it waits for what never comes"
        assert not loop.unexpected
        return task.result()
    finally:
        loop.unwind()


def belonging_to(life: Life) -> Context:
    """A context for what a process does."""
    context = contextvars.copy_context()
    context.run(LIFE.set, life)
    return context
