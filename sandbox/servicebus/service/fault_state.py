"""Which faults are on order. Lives on the server's loop; :mod:`sandbox.servicebus.faults` sets it from outside."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from sandbox.servicebus.broker.errors import Refusal

Answer = TypeVar("Answer")


@dataclass(slots=True)
class RefusedEntity:
    """``times`` counts down; ``None`` is until further notice."""

    refusal: Refusal
    times: int | None


@dataclass(slots=True)
class FailingCalls:
    """A share of calls fails: before anything is done, or (``after``) with the work done and the answer lost."""

    rate: float
    random: Random
    refusal: Refusal
    after: bool

    def strikes(self) -> bool:
        """Whether this call is one that fails."""
        return self.random.random() < self.rate


class FaultState:
    """Nothing is wrong to begin with."""

    def __init__(self) -> None:
        self.silent = False
        self.max_message_size: int | None = None
        self.failing: FailingCalls | None = None
        self.refused: dict[str, RefusedEntity] = {}
        self.full: set[str] = set()

    def check(self, path: str) -> None:
        """Raises :class:`Refusal` if the entity is refused."""
        entry = self.refused.get(path.casefold())
        if entry is None:
            return
        if entry.times is not None:
            entry.times -= 1
            if entry.times <= 0:
                del self.refused[path.casefold()]
        raise entry.refusal

    def check_room(self, path: str) -> None:
        """Raises :class:`Refusal` if the entity takes no more messages."""
        if path.casefold() in self.full:
            raise Refusal(
                "amqp:resource-limit-exceeded", f"The maximum entity size has been reached for '{path}'.", 403
            )

    def call(self, operation: Callable[[], Answer]) -> Answer:
        """Do what a call asks for, unless it is one of those that fail. Raises :class:`Refusal`."""
        failing = self.failing
        if failing is None or not failing.strikes():
            return operation()
        if failing.after:
            operation()
        raise failing.refusal
