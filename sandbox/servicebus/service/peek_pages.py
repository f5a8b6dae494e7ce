"""How many messages a peek returns: Service Bus promises no least number of them."""

from random import Random


class PeekPages:
    """Cuts pages short, but never to nothing: at random, the same way for the same seed and entity, or at a limit.

    Azure returns fewer messages than were asked for and are there as it likes (azure-sdk-for-java#21168,
    azure-sdk-for-net#17702): a client is at the end only where a page is empty.
    """

    def __init__(self, limit: int | None, seed: int) -> None:
        self.limit = limit
        self._seed = seed
        self._random: dict[str, Random] = {}

    @property
    def limit(self) -> int | None:
        """Messages on one page; ``None`` = any number of them, at random. Raises :class:`ValueError` for none."""
        return self._limit

    @limit.setter
    def limit(self, limit: int | None) -> None:
        if limit is not None and limit < 1:
            raise ValueError(f"a page that is peeked has at least one message, not {limit}")
        self._limit = limit

    def size(self, entity: str, found: int) -> int:
        """The length of a page, of ``found`` messages that could be on it."""
        if self.limit is not None:
            return min(found, self.limit)
        if found < 2:
            return found
        name = entity.casefold()
        if name not in self._random:  # for each entity its own: what is peeked elsewhere changes nothing here
            self._random[name] = Random(f"{self._seed}/{name}")
        return self._random[name].randint(1, found)
