"""Messages as Service Bus stores them: split into sections, properties and body as the bytes received.

OASIS AMQP 1.0, part 3, section 3.2. Only the header and the message annotations change on the way through a
broker; the rest is decoded when something (a filter, duplicate detection) asks for it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, TypeVar
from uuid import UUID, uuid4

from sandbox.servicebus.amqp.codec import CodecError, Described, Symbol, Uint, Ulong, encode, read

_Section = TypeVar("_Section", list[object], dict[object, object], bytes)

HEADER, DELIVERY_ANNOTATIONS, ANNOTATIONS, PROPERTIES, APPLICATION_PROPERTIES = 0x70, 0x71, 0x72, 0x73, 0x74
DATA, SEQUENCE, VALUE, FOOTER = 0x75, 0x76, 0x77, 0x78
BATCH_FORMAT: Final = 0x80013700  # Service Bus: each data section is an encoded message

SCHEDULED_ENQUEUE_TIME: Final = Symbol("x-opt-scheduled-enqueue-time")

# Part 3, section 3.2.4: places in the list of properties.
_PLACES: Final = {
    "message_id": 0,
    "user_id": 1,
    "to": 2,
    "subject": 3,
    "reply_to": 4,
    "correlation_id": 5,
    "content_type": 6,
    "content_encoding": 7,
    "absolute_expiry_time": 8,
    "creation_time": 9,
    "group_id": 10,
    "group_sequence": 11,
    "reply_to_group_id": 12,
}


def section(code: int, value: object) -> bytes:
    """One encoded section of a message."""
    return encode(Described(Ulong(code), value))


@dataclass(frozen=True, slots=True)
class Message:
    """A message without a broker's annotations.

    ``properties``, ``application_properties`` and ``body`` are encoded sections (the last one or more of them).
    """

    ttl: int | None  # milliseconds
    durable: bool | None
    priority: object
    annotations: Mapping[object, object]
    message_id: object  # str, UUID, ulong or bytes
    properties: bytes
    application_properties: bytes
    body: bytes

    @property
    def size(self) -> int:
        """Bytes of what is stored as bytes: all but header and annotations."""
        return len(self.properties) + len(self.application_properties) + len(self.body)

    def property(self, name: str) -> object:
        """A property by its AMQP name in snake case, or ``None``."""
        values = _list(self.properties)
        place = _PLACES[name]
        return values[place] if place < len(values) else None

    def user_properties(self) -> dict[object, object]:
        """The application properties."""
        return _map(self.application_properties)

    def with_user_properties(self, changed: Mapping[object, object]) -> "Message":
        """The message with some application properties added or replaced."""
        if not changed:
            return self
        return replace(
            self,
            application_properties=section(APPLICATION_PROPERTIES, {**self.user_properties(), **changed}),
        )

    def with_annotations(self, changed: Mapping[object, object]) -> "Message":
        """The message with some annotations added or replaced; ``None`` takes one away."""
        merged = {**self.annotations, **changed}
        return replace(self, annotations={key: value for key, value in merged.items() if value is not None})

    def payload(self) -> bytes:
        """The bytes of the data sections one after the other; for any other body, the encoded value."""
        parts = list(sections(self.body))
        data = [value for code, value, _ in parts if code == DATA and isinstance(value, bytes)]
        if data:
            return b"".join(data)
        return b"".join(encode(value) for code, value, _ in parts if code in (SEQUENCE, VALUE))

    def encoded(self, delivery_count: int, annotations: Mapping[object, object]) -> bytes:
        """The message for the wire, with the broker's annotations added."""
        ttl = None if self.ttl is None else Uint(self.ttl)
        header = [self.durable, self.priority, ttl, None, Uint(delivery_count)]
        annotations = {**self.annotations, **annotations}
        return b"".join(
            (
                section(HEADER, header),
                section(ANNOTATIONS, annotations) if annotations else b"",
                self.properties,
                self.application_properties,
                self.body,
            )
        )


def sections(data: bytes) -> Iterator[tuple[int, object, bytes]]:
    """Code, decoded value and bytes of each section. Raises :class:`CodecError` for an invalid section."""
    at = 0
    while at < len(data):
        start = at
        value, at = read(data, at)
        if not isinstance(value, Described) or not isinstance(value.descriptor, int):
            raise CodecError("a message is a row of described sections")
        if not HEADER <= value.descriptor <= FOOTER:
            raise CodecError(f"0x{value.descriptor:x} is not a section of a message")
        yield value.descriptor, value.value, data[start:at]


def parse(data: bytes) -> Message:
    """One message. One without an id is given one, as Service Bus does. Raises :class:`CodecError`."""
    header: list[object] = []
    annotations: dict[object, object] = {}
    properties: list[object] | None = None
    raw_properties, application_properties, body = b"", b"", bytearray()
    for code, value, raw in sections(data):
        if code == HEADER:
            header = _expect(value, list)
        elif code == ANNOTATIONS:
            annotations = _expect(value, dict)
        elif code == PROPERTIES:
            properties, raw_properties = _expect(value, list), raw
        elif code == APPLICATION_PROPERTIES:
            _expect(value, dict)
            application_properties = raw
        elif code != DELIVERY_ANNOTATIONS:  # those end at the next node, which is here
            if code == DATA:
                _expect(value, bytes)
            body += raw
    message_id = properties[0] if properties else None
    if message_id is None:
        message_id = uuid4().hex
        raw_properties = section(PROPERTIES, [message_id, *(properties or [])[1:]])
    elif not isinstance(message_id, str | Ulong | UUID | bytes):
        raise CodecError(f"a message id cannot be a {type(message_id).__name__}")
    header += [None] * (5 - len(header))
    durable, priority, ttl = header[0], header[1], header[2]
    return Message(
        ttl=ttl if isinstance(ttl, Uint) else None,
        durable=durable if isinstance(durable, bool) else None,
        priority=priority,
        annotations=annotations,
        message_id=message_id,
        properties=raw_properties,
        application_properties=application_properties,
        body=bytes(body),
    )


def parse_batch(data: bytes) -> list[Message]:
    """The messages of a batch (message format 0x80013700). Raises :class:`CodecError`."""
    return [parse(_expect(value, bytes)) for code, value, _ in sections(data) if code == DATA]


def _expect(value: object, kind: type[_Section]) -> _Section:
    if not isinstance(value, kind):
        raise CodecError(f"a section of a message cannot be a {type(value).__name__}")
    return value


def _list(raw: bytes) -> list[object]:
    for _, value, _ in sections(raw):
        if isinstance(value, list):
            return value
    return []


def _map(raw: bytes) -> dict[object, object]:
    for _, value, _ in sections(raw):
        if isinstance(value, dict):
            return value
    return {}
