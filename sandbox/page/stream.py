"""Numbered changes for any number of pages: each begins with a snapshot, or goes on after the number it has seen.

A number counts within one life of the sandbox, whose name stands before it: `3f9c21ab-17`. Whoever comes back with a
number of another life, or with one that is no longer kept, gets a snapshot.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections import deque
from collections.abc import Mapping
from typing import Any, Protocol

Section = Mapping[str, Any]
Picture = Mapping[str, Section]

_LOG = logging.getLogger(__name__)
_KEPT = 500
# Grouped: a page that draws more often than this is no easier to read.
INTERVAL = 0.15
"""Seconds between two readings, while anybody looks."""


def changes(before: Picture, after: Picture) -> dict[str, dict[str, Any]]:
    """What has changed from one picture to the next.

    A picture has sections, and each section entries by key: `{"entities": {"maintenance-requests": {…}}}`. By section:
    `set`, the entries that are new or other ones, and `gone`, the keys of those that are no more.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, section in after.items():
        old = before.get(name, {})
        if section is old:
            continue
        changed: dict[str, Any] = {}
        if new := {key: entry for key, entry in section.items() if key not in old or old[key] != entry}:
            changed["set"] = new
        if gone := [key for key in old if key not in section]:
            changed["gone"] = gone
        if changed:
            found[name] = changed
    return found


class Source(Protocol):
    """What is streamed."""

    def read(self, *, thoroughly: bool = False) -> dict[str, Any] | None:
        """What has changed since the last time; None: nothing."""

    def whole(self) -> dict[str, Any]:
        """All there is as of the last `read`."""


class Stream:
    """The changes of a source, read only while somebody is there to see them. Used on one event loop."""

    def __init__(self, source: Source, *, interval: float = INTERVAL, kept: int = _KEPT) -> None:
        """`interval`: seconds between two readings. `kept`: how many batches of changes can still be sent again."""
        self._source = source
        self._interval = interval
        self._life = secrets.token_hex(4)
        self._batches: deque[tuple[int, bytes]] = deque(maxlen=kept)
        self._number = 0
        self._watchers = 0
        self._watched = asyncio.Event()
        self._moved = asyncio.Event()

    @property
    def watchers(self) -> int:
        """How many look."""
        return self._watchers

    async def run(self) -> None:
        """Read as long as anybody looks, until cancelled."""
        while True:
            await self._watched.wait()
            try:
                self._read()
            except Exception:
                # One reading that fails must not end them all.
                _LOG.exception("The sandbox's page could not be read")
            await asyncio.sleep(self._interval)

    def enter(self, last_seen: str) -> tuple[int, bytes]:
        """Begin to look: what is sent first, and the number it ends with. `last_seen`: an id that was sent, or "".

        Whoever enters must `leave`.
        """
        self._watchers += 1
        self._watched.set()
        self._read(thoroughly=True)
        life, _, number = last_seen.partition("-")
        if life == self._life and number.isdecimal() and (missed := self._after(int(number))) is not None:
            return self._number, b"".join(missed)
        return self._number, self._snapshot()

    def leave(self) -> None:
        """The opposite of `enter`."""
        self._watchers -= 1
        if not self._watchers:
            self._watched.clear()

    async def after(self, number: int) -> tuple[int, bytes]:
        """Wait for what comes after a number: what is to be sent, and the number it ends with."""
        while number == self._number:
            await self._moved.wait()
        missed = self._after(number)
        return self._number, self._snapshot() if missed is None else b"".join(missed)

    def _read(self, *, thoroughly: bool = False) -> None:
        batch = self._source.read(thoroughly=thoroughly)
        if batch is None:
            return
        self._number += 1
        self._batches.append((self._number, self._frame("changes", batch)))
        self._moved.set()
        self._moved = asyncio.Event()

    def _after(self, number: int) -> list[bytes] | None:
        """The batches after a number; None if they are not all kept."""
        missing = self._number - number
        if missing < 0 or missing > len(self._batches):
            return None
        return [frame for at, frame in self._batches if at > number]

    def _snapshot(self) -> bytes:
        return self._frame("snapshot", self._source.whole())

    def _frame(self, event: str, content: dict[str, Any]) -> bytes:
        """One server-sent event. JSON in ASCII has no line breaks, and half a surrogate pair does no harm in it."""
        return f"event: {event}\nid: {self._life}-{self._number}\ndata: {json.dumps(content)}\n\n".encode()
