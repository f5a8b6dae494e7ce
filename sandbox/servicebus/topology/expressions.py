"""Expressions of SQL filters: functions from a message's properties to a value, and how they combine.

Three-valued logic as in SQL-92: what is absent is unknown, unknown spreads. Operands that cannot be compared (a string
with a number) give unknown.
"""

import operator
import re
from collections.abc import Callable
from typing import Any, Final, Protocol


class FilterError(ValueError):
    """The filter cannot be understood; the message says where."""


class Facts(Protocol):
    """What a filter may ask about a message. Names are compared without case; absent is ``None``."""

    def system(self, name: str) -> object:
        """A system property such as ``messageid``. Raises :class:`KeyError` if there is none of that name."""

    def user(self, name: str) -> object:
        """A user (application) property."""


Expression = Callable[[Facts], object]  # gives a str, int, float, bool, or None for unknown

COMPARISONS: Final[dict[str, Callable[[Any, Any], bool]]] = {  # of two values of one kind
    "=": operator.eq,
    "<>": operator.ne,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
ARITHMETIC: Final[dict[str, Callable[[Any, Any], object]]] = {  # of two numbers
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "%": operator.mod,
}


def _truth(value: object) -> bool | None:
    """A condition's value; anything but a boolean is unknown as a condition."""
    return value if isinstance(value, bool) else None


def both_of(left: Expression, right: Expression) -> Expression:
    """``left AND right``; unknown, where neither is false and one is unknown."""

    def both(facts: Facts) -> object:
        first = _truth(left(facts))
        if first is False:
            return False
        second = _truth(right(facts))
        return second if first or second is False else None

    return both


def either_of(left: Expression, right: Expression) -> Expression:
    """``left OR right``; unknown, where neither is true and one is unknown."""

    def either(facts: Facts) -> object:
        first = _truth(left(facts))
        if first:
            return True
        second = _truth(right(facts))
        return second if first is False or second else None

    return either


def negation_of(inner: Expression) -> Expression:
    """``NOT inner``; unknown, where that is."""

    def negated(facts: Facts) -> object:
        value = _truth(inner(facts))
        return None if value is None else not value

    return negated


def _kind(value: object) -> type | None:
    """Values of the same kind can be compared; a boolean is not a number here."""
    if value is None or isinstance(value, bool):
        return None if value is None else bool
    return float if isinstance(value, int | float) else str


def comparable(value: object) -> object:
    """A property's value as one of the types the language has: anything else compares as its text."""
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def comparison(compare: Callable[[object, object], bool], left: Expression, right: Expression) -> Expression:
    """One of :data:`COMPARISONS`; unknown for values of different kinds."""

    def compared(facts: Facts) -> object:
        first, second = left(facts), right(facts)
        kind = _kind(first)
        return compare(first, second) if kind is not None and kind is _kind(second) else None

    return compared


def calculation(calculate: Callable[[object, object], object], left: Expression, right: Expression) -> Expression:
    """One of :data:`ARITHMETIC`; unknown for anything but numbers, and where it has no result."""

    def calculated(facts: Facts) -> object:
        first, second = left(facts), right(facts)
        if _kind(first) is not float or _kind(second) is not float:
            return None
        try:
            return calculate(first, second)
        except (ZeroDivisionError, OverflowError):
            return None

    return calculated


def like_pattern(pattern: str, escape: str | None) -> re.Pattern[str]:
    """``%`` any text, ``_`` any character, the escape character before either takes it literally.

    Raises :class:`FilterError` for a pattern that ends with its escape character.
    """
    parts, literal = [], False
    for character in pattern:
        if literal:
            parts.append(re.escape(character))
            literal = False
        elif character == escape:
            literal = True
        else:
            parts.append({"%": ".*", "_": "."}.get(character) or re.escape(character))
    if literal:
        raise FilterError(f"the pattern {pattern!r} ends with its escape character")
    return re.compile("".join(parts), re.DOTALL)
