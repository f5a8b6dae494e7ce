"""The types of AMQP 1.0 that Python has no type for (OASIS AMQP 1.0, part 1, section 1.6)."""

from dataclasses import dataclass


class CodecError(ValueError):
    """Invalid bytes, or a value that has no AMQP type."""


class Ubyte(int):
    """0 … 2**8-1."""


class Ushort(int):
    """0 … 2**16-1."""


class Uint(int):
    """0 … 2**32-1."""


class Ulong(int):
    """0 … 2**64-1."""


class Byte(int):
    """-2**7 … 2**7-1."""


class Short(int):
    """-2**15 … 2**15-1."""


class Int(int):
    """-2**31 … 2**31-1."""


class Long(int):
    """-2**63 … 2**63-1."""


class Timestamp(int):
    """Milliseconds since the Unix epoch, UTC."""


class Float(float):
    """An IEEE 754 binary32."""


class Char(str):
    """One Unicode character."""

    __slots__ = ()


class Symbol(str):
    """ASCII text from a constrained domain."""

    __slots__ = ()


class Decimal32(bytes):
    """The four bytes of an IEEE 754 decimal32: kept, never calculated with."""


class Decimal64(bytes):
    """The eight bytes of an IEEE 754 decimal64."""


class Decimal128(bytes):
    """The sixteen bytes of an IEEE 754 decimal128."""


@dataclass(frozen=True, slots=True)
class Described:
    """A value annotated with a descriptor, most often a ulong code or a symbol."""

    descriptor: object
    value: object


@dataclass(frozen=True, slots=True)
class Array:
    """Values of one type. ``of`` is that type; ``descriptor`` is set if every element is described by it."""

    of: type
    items: tuple[object, ...]
    descriptor: object = None
