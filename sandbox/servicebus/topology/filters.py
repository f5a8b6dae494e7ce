"""Subscription filters: all messages, by correlation, or by SQL."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from sandbox.servicebus.topology.expressions import Expression, Facts, FilterError
from sandbox.servicebus.topology.sql import parse

__all__ = ["CorrelationFilter", "Facts", "FalseFilter", "Filter", "FilterError", "SqlFilter", "TrueFilter"]


class Filter(Protocol):
    """A test of messages."""

    def takes(self, facts: Facts) -> bool:
        """Whether the message that the facts are of passes."""


@dataclass(frozen=True, slots=True)
class TrueFilter:
    """Takes every message."""

    def takes(self, facts: Facts) -> bool:
        """See :class:`Filter`."""
        return True


@dataclass(frozen=True, slots=True)
class FalseFilter:
    """Takes no message."""

    def takes(self, facts: Facts) -> bool:
        """See :class:`Filter`."""
        return False


@dataclass(frozen=True, slots=True)
class CorrelationFilter:
    """Takes messages that have all of the given properties with equal values; strings compare with case.

    ``system`` is keyed by AMQP names (``subject``, ``correlation_id`` …).
    """

    system: Mapping[str, object]
    user: Mapping[str, object] = field(default_factory=dict)

    def takes(self, facts: Facts) -> bool:
        """See :class:`Filter`."""
        return all(_equal(facts.system(name), value) for name, value in self.system.items()) and all(
            _equal(facts.user(name), value) for name, value in self.user.items()
        )


def _equal(actual: object, wanted: object) -> bool:
    if isinstance(actual, bool) or isinstance(wanted, bool):
        return actual is wanted
    return actual == wanted or (isinstance(wanted, str) and actual is not None and str(actual) == wanted)


@dataclass(frozen=True, slots=True)
class SqlFilter:
    """Takes messages of which the expression is true, not merely unknown. Raises :class:`FilterError`."""

    expression: str
    _condition: Expression = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_condition", parse(self.expression))

    def takes(self, facts: Facts) -> bool:
        """See :class:`Filter`."""
        return self._condition(facts) is True
