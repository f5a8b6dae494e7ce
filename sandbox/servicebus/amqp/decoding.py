"""AMQP decoder: bytes to values. Whatever a peer may send, the only error is :class:`CodecError`."""

import struct
from collections.abc import Callable
from typing import Final
from uuid import UUID

from sandbox.servicebus.amqp.encoding import KINDS_BY_CODE
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

MAX_DEPTH: Final = 64  # bounds recursion on hostile input; Azure's own clients use the same bound
MAX_EMPTY_ITEMS: Final = 255  # items that take no bytes (an array of nulls) are bounded by this alone
_U32: Final = struct.Struct(">I")


Read = Callable[[bytes, int, int], tuple[object, int]]


def decode(data: bytes) -> object:
    """The one value that ``data`` holds. Raises :class:`CodecError`, also if bytes are left over."""
    value, end = read(data, 0)
    if end != len(data):
        raise CodecError(f"{len(data) - end} bytes after the value")
    return value


def read(data: bytes, at: int, depth: int = 0) -> tuple[object, int]:
    """The value whose constructor stands at ``at``, and the place after it. Raises :class:`CodecError`."""
    try:
        code = data[at]
    except IndexError:
        raise CodecError("the bytes end where a value should begin") from None
    if code == 0:
        if depth >= MAX_DEPTH:
            raise CodecError(f"values nested deeper than {MAX_DEPTH}")
        descriptor, at = read(data, at + 1, depth + 1)
        value, at = read(data, at, depth + 1)
        return Described(descriptor, value), at
    return _read_bare(data, at + 1, code, depth)


def _read_bare(data: bytes, at: int, code: int, depth: int) -> tuple[object, int]:
    try:
        reader = _READERS[code]
    except KeyError:
        raise CodecError(f"0x{code:02x} is not an AMQP constructor") from None
    try:
        return reader(data, at, depth)
    except (struct.error, IndexError):
        raise CodecError("a value is cut short") from None


def _constant(value: object) -> Read:
    return lambda data, at, depth: (value, at)


def _number(kind: Callable[..., object], layout: str) -> Read:
    form = struct.Struct(layout)
    unpack, width = form.unpack_from, form.size
    return lambda data, at, depth: (kind(unpack(data, at)[0]), at + width)


def _cut(data: bytes, at: int, size: int) -> bytes:
    part = data[at : at + size]
    if len(part) != size:
        raise CodecError(f"a value of {size} bytes is cut short after {len(part)}")
    return part


def _bits(kind: Callable[[bytes], object], size: int) -> Read:
    return lambda data, at, depth: (kind(_cut(data, at, size)), at + size)


def _read_boolean(data: bytes, at: int, depth: int) -> tuple[object, int]:
    if data[at] > 1:
        raise CodecError(f"0x{data[at]:02x} is not a boolean")
    return data[at] == 1, at + 1


def _read_char(data: bytes, at: int, depth: int) -> tuple[object, int]:
    point = _U32.unpack_from(data, at)[0]
    if point > 0x10FFFF:
        raise CodecError(f"{point} is not a Unicode character")
    return Char(chr(point)), at + 4


def _text(kind: type[str], encoding: str) -> Callable[[bytes], str]:
    def text(data: bytes) -> str:
        try:
            decoded = data.decode(encoding)
        except UnicodeDecodeError as error:
            raise CodecError(f"a {kind.__name__} is not {encoding}: {error.reason}") from error
        return decoded if kind is str else kind(decoded)

    return text


def _sized(kind: Callable[[bytes], object], width: int) -> Read:
    def read_sized(data: bytes, at: int, depth: int) -> tuple[object, int]:
        size = data[at] if width == 1 else _U32.unpack_from(data, at)[0]
        at += width
        return kind(_cut(data, at, size)), at + size

    return read_sized


def _compound(items: Callable[[bytes, int, int, int, int], tuple[object, int]], width: int) -> Read:
    """A reader of size, count and items; the items must take exactly the size they announce."""

    def read_compound(data: bytes, at: int, depth: int) -> tuple[object, int]:
        if depth >= MAX_DEPTH:
            raise CodecError(f"values nested deeper than {MAX_DEPTH}")
        size, count = (data[at], data[at + 1]) if width == 1 else struct.unpack_from(">II", data, at)
        end = at + width + size
        if end > len(data) or size < width:
            raise CodecError(f"a compound of {size} bytes is cut short")
        value, at = items(data, at + 2 * width, count, end, depth + 1)
        if at != end:
            raise CodecError(f"a compound ends at {at}, not at {end} as it announced")
        return value, at

    return read_compound


def _read_list(data: bytes, at: int, count: int, end: int, depth: int) -> tuple[object, int]:
    values = []
    if count > end - at:
        raise CodecError(f"{count} items cannot fit in {end - at} bytes")
    for _ in range(count):
        value, at = read(data, at, depth)
        values.append(value)
    return values, at


def _read_map(data: bytes, at: int, count: int, end: int, depth: int) -> tuple[object, int]:
    values, at = _read_list(data, at, count, end, depth)
    assert isinstance(values, list)  # noqa: S101  _read_list gives nothing else
    if count % 2:
        raise CodecError(f"a map of {count} items has a key without a value")
    try:
        pairs = dict(zip(values[::2], values[1::2], strict=True))
    except TypeError:
        raise CodecError("a list, a map or an array cannot be a key here") from None
    if len(pairs) != count // 2:
        raise CodecError("duplicate key in a map")
    return pairs, at


def _read_array(data: bytes, at: int, count: int, end: int, depth: int) -> tuple[object, int]:
    descriptor, code = None, data[at]
    if code == 0:
        descriptor, at = read(data, at + 1, depth)
        code = data[at]
    at += 1
    kind = KINDS_BY_CODE.get(code)
    if kind is None:
        raise CodecError(f"0x{code:02x} is not a constructor of an array's elements")
    if count > max(end - at, MAX_EMPTY_ITEMS):
        raise CodecError(f"{count} items cannot fit in {end - at} bytes")
    values = []
    for _ in range(count):
        value, at = _read_bare(data, at, code, depth)
        values.append(value)
    return Array(kind, tuple(values), descriptor), at


_symbol = _text(Symbol, "ascii")
_string = _text(str, "utf-8")
_READERS: Final[dict[int, Read]] = {
    0x40: _constant(None),
    0x41: _constant(True),
    0x42: _constant(False),
    0x43: _constant(Uint(0)),
    0x44: _constant(Ulong(0)),
    0x45: lambda data, at, depth: ([], at),  # a new list each time: the value is the receiver's to change
    0x50: _number(Ubyte, ">B"),
    0x51: _number(Byte, ">b"),
    0x52: _number(Uint, ">B"),
    0x53: _number(Ulong, ">B"),
    0x54: _number(Int, ">b"),
    0x55: _number(Long, ">b"),
    0x56: _read_boolean,
    0x60: _number(Ushort, ">H"),
    0x61: _number(Short, ">h"),
    0x70: _number(Uint, ">I"),
    0x71: _number(Int, ">i"),
    0x72: _number(Float, ">f"),
    0x73: _read_char,
    0x74: _bits(Decimal32, 4),
    0x80: _number(Ulong, ">Q"),
    0x81: _number(Long, ">q"),
    0x82: _number(float, ">d"),
    0x83: _number(Timestamp, ">q"),
    0x84: _bits(Decimal64, 8),
    0x94: _bits(Decimal128, 16),
    0x98: _bits(lambda data: UUID(bytes=data), 16),
    0xA0: _sized(bytes, 1),
    0xA1: _sized(_string, 1),
    0xA3: _sized(_symbol, 1),
    0xB0: _sized(bytes, 4),
    0xB1: _sized(_string, 4),
    0xB3: _sized(_symbol, 4),
    0xC0: _compound(_read_list, 1),
    0xC1: _compound(_read_map, 1),
    0xD0: _compound(_read_list, 4),
    0xD1: _compound(_read_map, 4),
    0xE0: _compound(_read_array, 1),
    0xF0: _compound(_read_array, 4),
}
