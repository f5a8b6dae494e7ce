"""AMQP composite types: lists of typed fields behind a code. Performatives, outcomes and errors are such.

OASIS AMQP 1.0, part 1, section 1.4. Trailing fields may be left out by a sender, so fields have defaults. All
fields are always sent: older clients index them by position.
"""

from dataclasses import fields
from types import UnionType
from typing import ClassVar, Self

from sandbox.servicebus.amqp.codec import CodecError, Described, Ulong, encode

Map = dict[object, object]


class Composite:
    """A described list. Subclasses are dataclasses of their fields in wire order; ``None`` is an absent one."""

    __slots__ = ()
    code: ClassVar[int]

    @classmethod
    def of(cls, values: object) -> Self:
        """From the decoded list. Raises :class:`CodecError` for a missing, wrong or surplus field."""
        declared = _declared(cls)
        if not isinstance(values, list) or len(values) > len(declared):
            raise CodecError(f"{cls.__name__} is a list of up to {len(declared)} fields")
        given: dict[str, object] = {}
        for (name, kind), value in zip(declared, values, strict=False):
            if value is None:
                continue  # absent: the default holds
            if not isinstance(value, kind):
                raise CodecError(f"{cls.__name__}.{name} cannot be a {type(value).__name__}")
            given[name] = value
        try:
            return cls(**given)
        except TypeError as error:
            raise CodecError(f"{cls.__name__} lacks a mandatory field: {error}") from error

    def described(self) -> Described:
        """The described list, all fields of it."""
        values = [getattr(self, name) for name, _ in _declared(type(self))]
        return Described(Ulong(self.code), [_described(value) for value in values])

    def encoded(self) -> bytes:
        """The bytes of :meth:`described`."""
        return encode(self.described())


def _described(value: object) -> object:
    return value.described() if isinstance(value, Composite) else value


_known: dict[type[Composite], tuple[tuple[str, type | UnionType], ...]] = {}


def _declared(cls: type[Composite]) -> tuple[tuple[str, type | UnionType], ...]:
    """Name and accepted types of each field. The annotations are the wire types: no second list to keep."""
    if cls not in _known:
        kinds: dict[str, type | UnionType] = {}
        for declared in fields(cls):  # type: ignore[arg-type]  # every subclass is a dataclass
            kind = declared.type
            assert not isinstance(kind, str)  # noqa: S101  this module has no postponed annotations
            kinds[declared.name] = dict if kind == Map | None else kind
        _known[cls] = tuple(kinds.items())
    return _known[cls]
