"""The codec: every AMQP type comes back as itself, and no bytes whatever bring anything but a CodecError."""

import math
import string
from uuid import UUID

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sandbox.servicebus.amqp.codec import (
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
    decode,
    encode,
)


def whole(kind: type[int], low: int, high: int) -> st.SearchStrategy[object]:
    """Numbers of a type, the edges of its encodings among them."""
    edges = [edge for edge in (low, -129, -128, -1, 0, 127, 128, 255, 256, high) if low <= edge <= high]
    return st.one_of(st.sampled_from(edges), st.integers(low, high)).map(kind)


NUMBERS: dict[type, st.SearchStrategy[object]] = {
    Ubyte: whole(Ubyte, 0, 2**8 - 1),
    Ushort: whole(Ushort, 0, 2**16 - 1),
    Uint: whole(Uint, 0, 2**32 - 1),
    Ulong: whole(Ulong, 0, 2**64 - 1),
    Byte: whole(Byte, -(2**7), 2**7 - 1),
    Short: whole(Short, -(2**15), 2**15 - 1),
    Int: whole(Int, -(2**31), 2**31 - 1),
    Long: whole(Long, -(2**63), 2**63 - 1),
    Timestamp: whole(Timestamp, -(2**63), 2**63 - 1),
    Float: st.floats(width=32, allow_nan=False).map(Float),
    float: st.floats(allow_nan=False),
}
TEXTS: dict[type, st.SearchStrategy[object]] = {
    str: st.text(max_size=300),
    Symbol: st.text(string.ascii_letters + ":-.", max_size=300).map(Symbol),
    Char: st.characters(exclude_categories=["Cs"]).map(Char),
}
SIMPLE: dict[type, st.SearchStrategy[object]] = {
    **NUMBERS,
    **TEXTS,
    type(None): st.none(),
    bool: st.booleans(),
    bytes: st.binary(max_size=300),
    UUID: st.uuids(),
    Decimal32: st.binary(min_size=4, max_size=4).map(Decimal32),
    Decimal64: st.binary(min_size=8, max_size=8).map(Decimal64),
    Decimal128: st.binary(min_size=16, max_size=16).map(Decimal128),
}
simple = st.one_of(*SIMPLE.values())
# Numbers of different types are equal in Python, so a map here has keys of one type.
keys = st.sampled_from([kind for kind in SIMPLE if kind not in (type(None), float, Float)])


def compounds(inner: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    maps = keys.flatmap(lambda kind: st.dictionaries(SIMPLE[kind], inner, max_size=5))
    described = st.builds(Described, st.one_of(SIMPLE[Ulong], SIMPLE[Symbol]), inner)
    return st.one_of(st.lists(inner, max_size=5), maps, described, arrays(inner))


def arrays(inner: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    lists: dict[type, st.SearchStrategy[object]] = {list: st.lists(inner, max_size=3)}
    kinds = {**SIMPLE, **lists}

    def of(kind: type) -> st.SearchStrategy[Array]:
        items = st.lists(kinds[kind], max_size=5).map(tuple)
        return st.builds(Array, st.just(kind), items, st.one_of(st.none(), SIMPLE[Symbol]))

    return st.sampled_from(list(kinds)).flatmap(of)


values = st.recursive(simple, compounds, max_leaves=15)


def same(one: object, other: object) -> bool:
    """Equal, and of the same AMQP types all the way down."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return same([*one.keys()], [*other.keys()]) and same([*one.values()], [*other.values()])
    if isinstance(one, Described) and isinstance(other, Described):
        return same(one.descriptor, other.descriptor) and same(one.value, other.value)
    if isinstance(one, Array) and isinstance(other, Array):
        return (
            one.of is other.of and same(list(one.items), list(other.items)) and same(one.descriptor, other.descriptor)
        )
    return one == other


@given(values)
def test_every_value_comes_back_as_itself(value: object) -> None:
    assert same(decode(encode(value)), value)


@pytest.mark.parametrize("kind", [Float, float])
def test_not_a_number_comes_back(kind: type[float]) -> None:
    decoded = decode(encode(kind("nan")))
    assert type(decoded) is kind
    assert isinstance(decoded, float)
    assert math.isnan(decoded)


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        # The encodings that section 1.6 of the specification names for these values.
        (None, "40"),
        (True, "41"),
        (False, "42"),
        (Uint(0), "43"),
        (Uint(255), "52ff"),
        (Uint(256), "7000000100"),
        (Ulong(0), "44"),
        (Ulong(0x24), "5324"),
        (Int(-1), "54ff"),
        (Long(-129), "81ffffffffffffff7f"),
        (1.5, "823ff8000000000000"),
        (Timestamp(1), "830000000000000001"),
        (Char("€"), "73000020ac"),
        (b"\x01", "a00101"),
        ("é", "a102c3a9"),
        (Symbol("a"), "a30161"),
        ([], "45"),
        ([Uint(1)], "c003015201"),
        ({"k": True}, "c10502a1016b41"),
        (Array(Symbol, (Symbol("a"),)), "e00701b30000000161"),
        (Described(Ulong(0x24), []), "00532445"),
    ],
)
def test_values_have_the_bytes_of_the_specification(value: object, encoded: str) -> None:
    assert encode(value).hex() == encoded
    assert same(decode(bytes.fromhex(encoded)), value)


def test_a_value_of_256_bytes_takes_the_wide_form() -> None:
    assert encode(b"x" * 255)[:2] == b"\xa0\xff"
    assert encode(b"x" * 256)[:5] == b"\xb0\x00\x00\x01\x00"


@pytest.mark.parametrize(
    "value",
    [
        5,  # of which type?
        object(),
        Ubyte(256),
        Uint(-1),
        Long(2**63),
        Float(1e300),
        Symbol("é"),
        "\ud800",
        Char("ab"),
        Decimal32(b"123"),
        Array(Uint, (Ulong(1),)),
        Array(dict, (5,)),
    ],
)
def test_values_without_an_amqp_type_are_errors(value: object) -> None:
    with pytest.raises(CodecError):
        encode(value)


@given(st.binary(max_size=200))
@example(b"\x00" * 200)  # descriptors of descriptors
@example(b"\xc0\xff" * 100)
@example(b"\xf0\x00\x00\x00\x05\xff\xff\xff\xff\x40")  # four billion nulls in an array
@example(b"\xd0\x00\x00\x00\x04\xff\xff\xff\xff")  # four billion items in no bytes
@example(b"\xc1\x03\x02\x45\x40")  # a list as a key
@example(b"\xc1\x05\x04\x40\x40\x40\x40")  # the same key twice
@settings(max_examples=400)
def test_random_bytes_bring_a_value_or_a_wire_error(data: bytes) -> None:
    try:
        value = decode(data)
    except CodecError:
        return
    encode(value)  # and what could be read can be written


@given(values, st.data())
def test_a_value_cut_short_is_a_wire_error(value: object, data: st.DataObject) -> None:
    encoded = encode(value)
    cut = data.draw(st.integers(0, len(encoded) - 1))
    with pytest.raises(CodecError):
        decode(encoded[:cut])


def test_nesting_is_bounded() -> None:
    value: object = []
    for _ in range(60):
        value = [value]
    assert same(decode(encode(value)), value)
    for _ in range(10):
        value = [value]
    with pytest.raises(CodecError, match="nested"):
        decode(encode(value))
