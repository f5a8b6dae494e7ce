"""Log of the calls that the Resource Manager received, for tests and for `/sandbox/calls`."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, overload


@dataclass(frozen=True, slots=True)
class Call:
    """One call as it was received. Nothing in it is secret: no token, and of the query only the keys.

    Attributes:
        time: when it came in, by the resource manager's clock.
        method: in capitals.
        path: as sent, without the query.
        query: the names of the query's parameters, in order.
        headers: all but Authorization, names in small letters.
        token_seen: whether a bearer token came with it.
        authorized: whether that token was accepted.
        body: as sent.
        status: of the response; None = connection reset, or no response yet.
    """

    time: datetime
    method: str
    path: str
    query: tuple[str, ...]
    headers: Mapping[str, str]
    token_seen: bool
    authorized: bool
    body: bytes
    status: int | None

    @property
    def json(self) -> Any:
        """The body read as JSON; None if there is none. Raises ValueError if it is something else."""
        return json.loads(self.body) if self.body else None


class Headers:
    """Calls' headers without the token, one object for all calls that have the same: a client's hardly differ."""

    _MOST = 256

    def __init__(self) -> None:
        self._seen: dict[tuple[tuple[str, str], ...], Mapping[str, str]] = {}

    def of(self, headers: Iterable[tuple[str, str]]) -> Mapping[str, str]:
        """The headers by name in small letters, all but Authorization."""
        kept = tuple([(name, value) for name, value in headers if name.lower() != "authorization"])
        found = self._seen.get(kept)
        if found is None:
            if len(self._seen) >= self._MOST:
                self._seen.clear()
            found = self._seen[kept] = MappingProxyType({name.lower(): value for name, value in kept})
        return found


class Calls(Sequence[Call]):
    """The last calls, oldest first. Safe to read from any thread."""

    def __init__(self, keep: int) -> None:
        """`keep`: how many are kept; of older ones only the count remains."""
        self._calls: deque[Call] = deque(maxlen=keep)
        self._lock = threading.Lock()
        self.total = 0
        """How many there were since the last `clear()`, kept or not."""

    def append(self, call: Call) -> int:
        """Add a call; the number returned is for `replace`."""
        with self._lock:
            self._calls.append(call)
            self.total += 1
            return self.total

    def replace(self, number: int, call: Call) -> None:
        """Put a call in the place of the one that was appended under this number, if that is still kept."""
        with self._lock:
            at = number - 1 - (self.total - len(self._calls))
            if 0 <= at < len(self._calls):
                self._calls[at] = call

    def clear(self) -> None:
        """Remove them all."""
        with self._lock:
            self._calls.clear()
            self.total = 0

    def matching(self, method: str = "", path: str = "") -> list[Call]:
        """The calls with this method and with this text in their path, in any letter case. "" matches all."""
        return [
            call
            for call in self
            if call.method == (method.upper() or call.method) and path.lower() in call.path.lower()
        ]

    @overload
    def __getitem__(self, index: int) -> Call: ...
    @overload
    def __getitem__(self, index: slice) -> list[Call]: ...
    def __getitem__(self, index: int | slice) -> Call | list[Call]:
        with self._lock:
            return list(self._calls)[index]

    def __len__(self) -> int:
        return len(self._calls)

    def __iter__(self) -> Iterator[Call]:
        with self._lock:
            return iter(list(self._calls))

    def __eq__(self, other: object) -> bool:
        return list(self) == other

    __hash__ = None  # type: ignore[assignment]  # it is mutable, like a list

    def __repr__(self) -> str:
        return f"Calls({list(self)!r})"
