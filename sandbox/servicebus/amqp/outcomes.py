"""AMQP errors, and the states and outcomes of deliveries.

OASIS AMQP 1.0, part 2, section 2.8.14 (errors); part 3, section 3.4 (delivery states).
"""

from dataclasses import dataclass
from typing import Final

from sandbox.servicebus.amqp.codec import CodecError, Described, Symbol, Uint, Ulong
from sandbox.servicebus.amqp.composites import Composite, Map


@dataclass(frozen=True, slots=True)
class AmqpError(Composite):
    """Part 2, section 2.8.14. ``info`` is never empty: azure-servicebus hangs on an error of two fields."""

    code = 0x1D
    condition: Symbol
    description: str | None = None
    info: Map | None = None

    @classmethod
    def because(cls, condition: str, description: str) -> "AmqpError":
        """An error in the form that all clients read."""
        return cls(Symbol(condition), description, {Symbol("x-opt-origin"): "sandbox"})


@dataclass(frozen=True, slots=True)
class Received(Composite):
    """A delivery that is on its way."""

    code = 0x23
    section_number: Uint
    section_offset: Ulong


@dataclass(frozen=True, slots=True)
class Accepted(Composite):
    """Sent: stored. Received: completed."""

    code = 0x24


@dataclass(frozen=True, slots=True)
class Rejected(Composite):
    """Sent: an error. Received: to be dead-lettered."""

    code = 0x25
    error: Described | AmqpError | None = None


@dataclass(frozen=True, slots=True)
class Released(Composite):
    """Received: unlocked, as if never delivered."""

    code = 0x26


@dataclass(frozen=True, slots=True)
class Modified(Composite):
    """Received: abandoned, or deferred if undeliverable here."""

    code = 0x27
    delivery_failed: bool | None = None
    undeliverable_here: bool | None = None
    message_annotations: Map | None = None


Outcome = Accepted | Rejected | Released | Modified
_STATES: Final[dict[int, type[Composite]]] = {c.code: c for c in (Received, Accepted, Rejected, Released, Modified)}


def delivery_state(value: object) -> Composite | None:
    """The delivery state that a transfer or disposition carries. Raises :class:`CodecError` if it is unknown."""
    if value is None:
        return None
    if isinstance(value, Described) and isinstance(value.descriptor, int):
        kind = _STATES.get(value.descriptor)
        if kind is not None:
            return kind.of(value.value)
    raise CodecError("an unknown delivery state")


def error_of(value: object) -> AmqpError | None:
    """The error in a detach, close or rejected outcome, if there is one."""
    if isinstance(value, AmqpError):
        return value
    if isinstance(value, Described) and value.descriptor == AmqpError.code:
        return AmqpError.of(value.value)
    return None
