"""AMQP encoder: values to bytes, in the smallest encoding of each type (OASIS AMQP 1.0, part 1, section 1.6)."""

import struct
from typing import Final
from uuid import UUID

from sandbox.servicebus.amqp.types import (
    Array,
    Byte,
    Char,
    CodecError,
    Decimal32,
    Decimal64,
    Decimal128,
    Described,
    Float,
    Int,
    Long,
    Short,
    Symbol,
    Timestamp,
    Ubyte,
    Uint,
    Ulong,
    Ushort,
)

_U32: Final = struct.Struct(">I")


# Numbers of a fixed width: type -> (code, layout).
_NUMBERS: Final[dict[type, tuple[int, struct.Struct]]] = {
    Ubyte: (0x50, struct.Struct(">B")),
    Ushort: (0x60, struct.Struct(">H")),
    Uint: (0x70, _U32),
    Ulong: (0x80, struct.Struct(">Q")),
    Byte: (0x51, struct.Struct(">b")),
    Short: (0x61, struct.Struct(">h")),
    Int: (0x71, struct.Struct(">i")),
    Long: (0x81, struct.Struct(">q")),
    Timestamp: (0x83, struct.Struct(">q")),
    Float: (0x72, struct.Struct(">f")),
    float: (0x82, struct.Struct(">d")),
}
# The one-byte forms: type -> (code, lowest value, highest value, one byte's mask).
_SHORT: Final[dict[type, tuple[int, int, int]]] = {
    Uint: (0x52, 0, 255),
    Ulong: (0x53, 0, 255),
    Int: (0x54, -128, 127),
    Long: (0x55, -128, 127),
}
_ZERO: Final[dict[type, int]] = {Uint: 0x43, Ulong: 0x44}
_DECIMALS: Final[dict[type, tuple[int, int]]] = {
    Decimal32: (0x74, 4),
    Decimal64: (0x84, 8),
    Decimal128: (0x94, 16),
}
# What carries its size: type -> code of the form with four bytes of size; that with one is 0x10 lower.
_SIZED: Final[dict[type, int]] = {bytes: 0xB0, str: 0xB1, Symbol: 0xB3, list: 0xD0, dict: 0xD1, Array: 0xF0}
# What an array's element constructor makes of its elements.
KINDS_BY_CODE: Final[dict[int, type]] = {
    **{code: kind for kind, (code, _) in _NUMBERS.items()},
    **{code: kind for kind, (code, _, _) in _SHORT.items()},
    **{code: kind for kind, code in _ZERO.items()},
    **{code: kind for kind, (code, _) in _DECIMALS.items()},
    **{code - narrower: kind for kind, code in _SIZED.items() for narrower in (0, 0x10)},
    0x40: type(None),
    0x41: bool,
    0x42: bool,
    0x45: list,
    0x56: bool,
    0x73: Char,
    0x98: UUID,
}
_COMPOUND: Final = frozenset((list, dict, Array))


def encode(value: object) -> bytes:
    """The smallest encoding of ``value``. Raises :class:`CodecError` if it has none."""
    out = bytearray()
    write(out, value)
    return bytes(out)


def write(out: bytearray, value: object) -> None:
    """Append the smallest encoding of ``value``, constructor first, to ``out``."""
    kind = type(value)
    if value is None:
        out.append(0x40)
    elif value is True:
        out.append(0x41)
    elif value is False:
        out.append(0x42)
    elif kind in _SHORT and _SHORT[kind][1] <= value <= _SHORT[kind][2]:  # type: ignore[operator]  # an int
        if value == 0 and kind in _ZERO:
            out.append(_ZERO[kind])
        else:
            out += bytes((_SHORT[kind][0], value & 0xFF))  # type: ignore[operator]  # an int
    elif kind in _SIZED:
        _write_sized(out, kind, value)
    elif kind is Described:
        assert isinstance(value, Described)  # noqa: S101  narrows the type
        out.append(0)
        write(out, value.descriptor)
        write(out, value.value)
    else:
        out.append(_code(kind))
        _write_bare(out, kind, value)


def _write_sized(out: bytearray, kind: type, value: object) -> None:
    if kind is list and not value:
        out.append(0x45)
        return
    count, body = _contents(kind, value)
    compound = kind in _COMPOUND
    size = len(body) + compound  # a compound's size includes its count
    if size <= 255 and count <= 255:
        out.append(_SIZED[kind] - 0x10)
        out += bytes((size, count)) if compound else bytes((size,))
        out += body
    else:
        out.append(_SIZED[kind])
        _write_wide(out, compound, count, body)


def _write_wide(out: bytearray, compound: bool, count: int, body: bytes | bytearray) -> None:
    out += _U32.pack(len(body) + 4 * compound)
    if compound:
        out += _U32.pack(count)
    out += body


def _contents(kind: type, value: object) -> tuple[int, bytes | bytearray]:
    """The number of items and the encoded items of what carries its size."""
    if isinstance(value, bytes):
        return 0, value
    if isinstance(value, str):
        try:
            return 0, value.encode("ascii" if kind is Symbol else "utf-8")
        except UnicodeEncodeError as error:
            raise CodecError(f"{kind.__name__} {value!r} cannot be encoded: {error.reason}") from error
    out = bytearray()
    if isinstance(value, Array):
        if value.descriptor is not None:
            out.append(0)
            write(out, value.descriptor)
        out.append(_code(value.of))
        for item in value.items:
            if type(item) is not value.of:
                raise CodecError(f"an array of {value.of.__name__} cannot hold a {type(item).__name__}")
            _write_bare(out, value.of, item)
        return len(value.items), out
    if isinstance(value, dict):
        for key, item in value.items():
            write(out, key)
            write(out, item)
        return 2 * len(value), out
    assert isinstance(value, list)  # noqa: S101  _SIZED holds nothing else
    for item in value:
        write(out, item)
    return len(value), out


def _code(kind: type) -> int:
    """The constructor of the widest form of a type: the one that every value of the type fits."""
    if kind in _NUMBERS:
        return _NUMBERS[kind][0]
    if kind in _SIZED:
        return _SIZED[kind]
    if kind in _DECIMALS:
        return _DECIMALS[kind][0]
    try:
        return {bool: 0x56, Char: 0x73, UUID: 0x98, type(None): 0x40}[kind]
    except KeyError:
        raise CodecError(f"{kind.__name__} is not an AMQP type") from None


def _write_bare(out: bytearray, kind: type, value: object) -> None:
    """Append a value in the widest form of its type, without constructor (as the elements of arrays are)."""
    if kind in _NUMBERS:
        try:
            out += _NUMBERS[kind][1].pack(value)
        except (struct.error, OverflowError) as error:
            raise CodecError(f"{value!r} is out of the range of {kind.__name__}") from error
    elif kind in _SIZED:
        count, body = _contents(kind, value)
        _write_wide(out, kind in _COMPOUND, count, body)
    elif isinstance(value, Decimal32 | Decimal64 | Decimal128):
        if len(value) != _DECIMALS[kind][1]:
            raise CodecError(f"{kind.__name__} takes {_DECIMALS[kind][1]} bytes, not {len(value)}")
        out += value
    elif isinstance(value, UUID):
        out += value.bytes
    elif isinstance(value, Char):
        if len(value) != 1:
            raise CodecError(f"a char is one character, not {value!r}")
        out += _U32.pack(ord(value))
    elif kind is bool:
        out.append(bool(value))
