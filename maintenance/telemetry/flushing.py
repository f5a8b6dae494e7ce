"""Exports what was recorded, now and not when a timer says so: for what must not be lost with the process.

A backend that does not respond holds nothing up: each wait is bounded, and after one that was in vain there is none for
a minute.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence

logger = logging.getLogger(__name__)

LIMIT = 1.0  # seconds
QUIET_FOR = 60.0  # seconds


class Flusher:
    """Calls `exports`, which block, in a thread of their own: a daemon, since one that hangs must not keep a process
    from ending. `limit`, `quiet_for`: see the constants."""

    def __init__(
        self,
        exports: Sequence[Callable[[], object]],
        *,
        limit: float = LIMIT,
        quiet_for: float = QUIET_FOR,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._exports = exports
        self._limit = limit
        self._quiet_for = quiet_for
        self._monotonic = monotonic
        self._quiet_until = monotonic()
        self._flushing: asyncio.Future[None] | None = None

    async def flush(self) -> None:
        """Returns once all is exported, or not in time."""
        if self._monotonic() < self._quiet_until:
            return
        try:
            async with asyncio.timeout(self._limit):
                # One that is under way may have begun before what is to be exported was recorded.
                while self._flushing is not None and not self._flushing.done():
                    await asyncio.wait([self._flushing])
                self._flushing = flushing = self._start()
                await asyncio.wait([flushing])
        except TimeoutError:
            self._quiet_until = self._monotonic() + self._quiet_for
            logger.warning(
                "Telemetry was not exported within %.0f s: its backend does not respond. Nothing waits for it for %.0f "
                "s; what is not exported when the process ends is lost",
                self._limit,
                self._quiet_for,
            )

    def _start(self) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def finish() -> None:
            if not done.done():
                done.set_result(None)

        def run() -> None:
            try:
                for export in self._exports:
                    export()
            except Exception as error:
                # No text: what is unexpected may hold anything.
                logger.warning("Exporting telemetry failed: %s", type(error).__name__)
            finally:
                try:
                    loop.call_soon_threadsafe(finish)
                except RuntimeError:
                    # The loop was closed meanwhile, and nobody waits any more.
                    logger.debug("Telemetry was exported after the event loop was closed")

        threading.Thread(target=run, name="telemetry-flush", daemon=True).start()
        return done
