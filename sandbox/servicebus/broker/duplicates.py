"""Duplicate detection: the message ids seen within a window of time."""

from array import array
from collections.abc import Iterator
from hashlib import blake2b
from typing import Final

DIGEST: Final = 16  # bytes
_FREE: Final = -1


class DuplicateHistory:
    """Ids first seen less than ``window`` milliseconds ago.

    Two generations of ids instead of a timer per id: an id is looked up in both, and when the younger one is as
    old as the window, nothing in the older can count any more and it is thrown away whole. So the history holds
    the ids of at most two windows.
    """

    __slots__ = ("_began", "_older", "_window", "_younger")

    def __init__(self, window: int) -> None:
        self._window = window
        self.clear()

    def __len__(self) -> int:
        return len(self._younger) + len(self._older)

    def seen(self, message_id: object, now: int) -> bool:
        """Whether the id was seen in the window; if not, from now on it was. The first sight starts the window."""
        self._age(now)
        digest = blake2b(f"{type(message_id).__name__}:{message_id}".encode(), digest_size=DIGEST).digest()
        first = self._younger.get(digest)
        if first is None:
            first = self._older.get(digest)
        if first is not None and now - first < self._window:
            return True
        self._younger.put(digest, now)
        return False

    def clear(self) -> None:
        """Nothing was ever seen."""
        self._began: int | None = None
        self._younger, self._older = Sightings(), Sightings()

    def _age(self, now: int) -> None:
        if self._began is None or now - self._began >= 2 * self._window:
            self._began, self._younger, self._older = now, Sightings(), Sightings()
        elif now - self._began >= self._window:
            self._began, self._younger, self._older = now, Sightings(), self._younger


class Sightings:
    """A hash table from digest to time in two flat arrays: 24 bytes a place, up to four in five of them taken.

    A dict of 100,000 digests takes three times as much; worse, its small objects lie between those of messages
    and keep the memory of these from being freed long after they have gone.
    """

    __slots__ = ("_count", "_digests", "_mask", "_times")

    def __init__(self, places: int = 64) -> None:
        self._count = 0
        self._mask = places - 1  # places are a power of two
        self._times = array("q", [_FREE]) * places
        self._digests = bytearray(DIGEST * places)

    def __len__(self) -> int:
        return self._count

    def _place(self, digest: bytes) -> int:
        """Where the digest is, or the free place where it would go."""
        place = int.from_bytes(digest[:8], "big") & self._mask
        while self._times[place] != _FREE and self._digests[DIGEST * place : DIGEST * (place + 1)] != digest:
            place = (place + 1) & self._mask
        return place

    def get(self, digest: bytes) -> int | None:
        """When the digest was put, or ``None``."""
        at = self._times[self._place(digest)]
        return None if at == _FREE else at

    def put(self, digest: bytes, at: int) -> None:
        """Note the time of a digest."""
        place = self._place(digest)
        if self._times[place] == _FREE:
            self._count += 1
            self._digests[DIGEST * place : DIGEST * (place + 1)] = digest
        self._times[place] = at
        if 5 * self._count > 4 * self._mask:
            self._grow()

    def _items(self) -> Iterator[tuple[bytes, int]]:
        for place, at in enumerate(self._times):
            if at != _FREE:
                yield bytes(self._digests[DIGEST * place : DIGEST * (place + 1)]), at

    def _grow(self) -> None:
        larger = Sightings(2 * (self._mask + 1))
        for digest, at in self._items():
            place = larger._place(digest)
            larger._times[place] = at
            larger._digests[DIGEST * place : DIGEST * (place + 1)] = digest
        self._mask, self._times, self._digests = larger._mask, larger._times, larger._digests
