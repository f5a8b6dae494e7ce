"""The faults that are configured. Lives on the server's loop; :mod:`sandbox.servicebus.faults` sets it from outside."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from sandbox.servicebus.broker.errors import BrokerError

Result = TypeVar("Result")


@dataclass(slots=True)
class FailingEntity:
    """An entity whose calls fail. ``times`` counts down; ``None`` is until further notice."""

    error: BrokerError
    times: int | None


@dataclass(slots=True)
class Outage:
    """An entity is away until a time, in milliseconds; ``None`` is until further notice."""

    error: BrokerError
    until: int | None


@dataclass(slots=True)
class FailingCalls:
    """A share of calls fails: before anything is done, or (``after``) with the work done and the response lost."""

    rate: float
    random: Random
    error: BrokerError
    after: bool

    def strikes(self) -> bool:
        """Whether this call is one that fails."""
        return self.random.random() < self.rate


class FaultState:
    """No fault to begin with."""

    def __init__(self) -> None:
        self.unresponsive = False
        self.max_message_size: int | None = None
        self.failing: FailingCalls | None = None
        self.failing_entities: dict[str, FailingEntity] = {}
        self.outages: dict[str, Outage] = {}
        self.full: set[str] = set()

    def check_outage(self, path: str, now: int) -> None:
        """Raises :class:`BrokerError` if the entity, or the one it belongs to, is away."""
        name = path.casefold()
        for owner, outage in tuple(self.outages.items()):
            if outage.until is not None and outage.until <= now:
                del self.outages[owner]
            elif name == owner or name.startswith(owner + "/"):
                raise outage.error

    def check(self, path: str, now: int) -> None:
        """Raises :class:`BrokerError` if the entity is to fail."""
        self.check_outage(path, now)
        entry = self.failing_entities.get(path.casefold())
        if entry is None:
            return
        if entry.times is not None:
            entry.times -= 1
            if entry.times <= 0:
                del self.failing_entities[path.casefold()]
        raise entry.error

    def check_room(self, path: str) -> None:
        """Raises :class:`BrokerError` if the entity is full."""
        if path.casefold() in self.full:
            raise BrokerError(
                "amqp:resource-limit-exceeded", f"The maximum entity size has been reached for '{path}'.", 403
            )

    def call(self, operation: Callable[[], Result]) -> Result:
        """Do what a call asks for, unless it is one of those that fail. Raises :class:`BrokerError`."""
        failing = self.failing
        if failing is None or not failing.strikes():
            return operation()
        if failing.after:
            operation()
        raise failing.error
