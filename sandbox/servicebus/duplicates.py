"""Duplicate detection: which message ids were seen within the window."""

from hashlib import blake2b


class DuplicateHistory:
    """Ids first seen less than ``window`` milliseconds ago.

    Two generations of ids instead of a timer per id: an id is looked up in both, and when the younger one is as
    old as the window, nothing in the older can count any more and it is thrown away whole. So the history holds
    the ids of at most two windows. Ids are kept as 128-bit digests: long ids cost no more than short ones.
    """

    __slots__ = ("_began", "_older", "_window", "_younger")

    def __init__(self, window: int) -> None:
        self._window = window
        self._began: int | None = None
        self._younger: dict[bytes, int] = {}
        self._older: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._younger) + len(self._older)

    def seen(self, message_id: object, now: int) -> bool:
        """Whether the id was seen in the window; if not, from now on it was. The first sight starts the window."""
        self._age(now)
        digest = blake2b(f"{type(message_id).__name__}:{message_id}".encode(), digest_size=16).digest()
        first = self._younger.get(digest)
        if first is None:
            first = self._older.get(digest)
        if first is not None and now - first < self._window:
            return True
        self._younger[digest] = now
        return False

    def clear(self) -> None:
        """Nothing was ever seen."""
        self._began, self._younger, self._older = None, {}, {}

    def _age(self, now: int) -> None:
        if self._began is None or now - self._began >= 2 * self._window:
            self._began, self._younger, self._older = now, {}, {}
        elif now - self._began >= self._window:
            self._began, self._younger, self._older = now, {}, self._younger
