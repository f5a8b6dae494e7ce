"""Returns freed memory to the operating system once the server is idle.

After a burst of messages most of what they took stays with the process: Python keeps a few thousand freed tuples for
reuse, one of which is enough to hold a megabyte (a full collection lets them go), and the C library keeps what is
free as long as anything lies above it (glibc gives it back when asked, malloc_trim(3)).
"""

import ctypes
import gc
from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable
from typing import Final

QUIET: Final = 1.0  # seconds without a change
WORTH_IT: Final = 10_000  # changes since the last time; it takes some tens of milliseconds


def _trimmer() -> Callable[[], None]:
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):  # another C library, or none that can be asked by name
        return lambda: None
    return lambda: trim(0)


class FreedMemory:
    """Called at each change; returns memory once many changes have been followed by none."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._loop = loop
        self._trim = _trimmer()
        self._changes = self._seen = 0
        self._timer: TimerHandle | None = None

    def changed(self) -> None:
        """Memory may have been taken or freed."""
        self._changes += 1
        if self._timer is None:
            self._timer = self._loop.call_later(QUIET, self._check)

    def _check(self) -> None:
        self._timer = None
        if self._changes != self._seen:
            self._seen = self._changes
            self._timer = self._loop.call_later(QUIET, self._check)
        elif self._changes >= WORTH_IT:
            self._changes = self._seen = 0
            gc.collect()
            self._trim()

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
