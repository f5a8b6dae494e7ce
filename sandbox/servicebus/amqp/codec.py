"""The AMQP 1.0 type system: values to bytes and back, every type kept (OASIS AMQP 1.0, part 1: Types).

| AMQP                                            | Python                                                |
|-------------------------------------------------|-------------------------------------------------------|
| null, boolean, double, string, binary, uuid     | ``None``, ``bool``, ``float``, ``str``, ``bytes``, ``UUID`` |
| ubyte … ulong, byte … long                      | the ``int`` subclasses below                          |
| float, timestamp (ms since 1970), char, symbol  | :class:`Float`, :class:`Timestamp`, :class:`Char`, :class:`Symbol` |
| decimal32/64/128                                | their bits: :class:`Decimal32` …                      |
| list, map, array, described                     | ``list``, ``dict``, :class:`Array`, :class:`Described` |

A plain ``int`` has no AMQP type, so it is an error: a peer that asked for a *uint* must never get a *long*.
Keys of a map that are equal as Python numbers count as equal, whatever their types.
"""

from sandbox.servicebus.amqp.decoding import decode, read
from sandbox.servicebus.amqp.encoding import encode, write
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

__all__ = [
    "Array",
    "Byte",
    "Char",
    "CodecError",
    "Decimal32",
    "Decimal64",
    "Decimal128",
    "Described",
    "Float",
    "Int",
    "Long",
    "Short",
    "Symbol",
    "Timestamp",
    "Ubyte",
    "Uint",
    "Ulong",
    "Ushort",
    "decode",
    "encode",
    "read",
    "write",
]
