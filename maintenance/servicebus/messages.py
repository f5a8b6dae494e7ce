"""What messages are to the SDK and to this app: bodies in whichever section, deliveries, records to send."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from azure.servicebus import ServiceBusMessage, ServiceBusReceivedMessage
from azure.servicebus.amqp import AmqpMessageBodyType

from maintenance.domain.messages import Delivery, Record

SCHEDULED = b"x-opt-scheduled-enqueue-time"
# As many as a tick may have sent in its last batches, and more.
MOST_EXPECTED = 5_000


def body_of(message: ServiceBusReceivedMessage) -> bytes:
    """The data sections one after the other. Of an AMQP value its text as UTF-8, or its bytes; of any other value, and
    of a sequence, its form in JSON, for people to read. Never raises: one body must not keep a queue from being read.
    """
    if message.body_type == AmqpMessageBodyType.DATA:
        return b"".join(message.body)
    value = list(message.body) if message.body_type == AmqpMessageBodyType.SEQUENCE else message.body
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode(errors="replace")
    return json.dumps(_plain(value), ensure_ascii=False, default=str).encode(errors="replace")


def section_of(message: ServiceBusReceivedMessage) -> str:
    """Which kind of section holds the body: `data`, `value` or `sequence`."""
    return str(message.body_type.value)


def _plain(value: Any) -> Any:
    """With texts as text, which the SDK gives as bytes, and names that JSON can hold."""
    match value:
        case bytes():
            return value.decode(errors="replace")
        case Mapping():
            return {str(_plain(name)): _plain(each) for name, each in value.items()}
        case str():
            return value
        case Iterable():
            return [_plain(each) for each in value]
    return value


def to_message(record: Record) -> ServiceBusMessage:
    """The message that keeps a record until it is due."""
    return ServiceBusMessage(
        record.body,
        application_properties={name: record.properties[name] for name in record.properties},
        message_id=record.message_id,
        content_type="application/json",
        subject=record.subject,
        correlation_id=record.correlation_id,
        scheduled_enqueue_time_utc=record.due,
    )


def encoded(record: Record) -> bytes:
    """What the SDK makes of `to_message`: AMQP 1.0, part 3.2. A batch holds its messages in this form.

    The SDK encodes each message that it adds to a batch twice, once for its size. That took a sixth of a tick.
    """
    sections = []
    if record.due is not None:
        sections.append(_DUE + ((record.due - _EPOCH) // _MILLISECOND).to_bytes(8, "big", signed=True))
    correlation_id = _NULL if record.correlation_id is None else _string(record.correlation_id)
    known = (_string(record.message_id), _NULL, _NULL, _string(record.subject), _NULL, correlation_id, _JSON)
    sections.append(_section(0x73, _compound(0xC0, b"".join(known) + 6 * _NULL, 13)))
    if record.properties:
        pairs = b"".join(_string(text) for pair in record.properties.items() for text in pair)
        sections.append(_section(0x74, _compound(0xC1, pairs, 2 * len(record.properties))))
    sections.append(_section(0x75, _sized(0xA0, record.body)))
    return b"".join(sections)


def _section(code: int, content: bytes) -> bytes:
    return bytes((0x00, 0x53, code)) + content


def _sized(code: int, content: bytes) -> bytes:
    """`code` of the type whose length is one byte; that of four bytes is 16 more."""
    if len(content) <= 0xFF:
        return bytes((code, len(content))) + content
    return bytes((code + 0x10,)) + len(content).to_bytes(4, "big") + content


def _string(text: str) -> bytes:
    return _sized(0xA1, text.encode())


def _compound(code: int, items: bytes, count: int) -> bytes:
    """A list or a map: its size counts the count, too."""
    if count <= 0xFF and len(items) < 0xFF:
        return bytes((code, len(items) + 1, count)) + items
    return bytes((code + 0x10,)) + (len(items) + 4).to_bytes(4, "big") + count.to_bytes(4, "big") + items


_NULL = b"\x40"
_JSON = _sized(0xA3, b"application/json")
_EPOCH, _MILLISECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(milliseconds=1)
# All of the annotations but for the milliseconds themselves.
_DUE = _section(0x72, _compound(0xC1, _sized(0xA3, SCHEDULED) + b"\x83" + bytes(8), 2))[:-8]


def to_delivery(message: ServiceBusReceivedMessage) -> Delivery:
    """A received message as values."""
    properties = message.application_properties or {}
    return Delivery(
        body=body_of(message),
        section=section_of(message),
        message_id=str(message.message_id or ""),
        subject=str(message.subject or ""),
        delivery_count=int(message.delivery_count or 0) + 1,
        sequence_number=message.sequence_number,
        enqueued_at=message.enqueued_time_utc,
        correlation_id=str(message.correlation_id) if message.correlation_id else None,
        properties={_text(name): _text(value) for name, value in properties.items()},
        dead_letter_reason=_reason(message),
        handle=message,
    )


def _reason(message: ServiceBusReceivedMessage) -> str | None:
    reasons = (message.dead_letter_reason, message.dead_letter_error_description)
    return ": ".join(str(each) for each in reasons if each) or None


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def up_to(moment: datetime, whole: timedelta) -> datetime:
    """That moment, or the next that is a multiple of `whole`: what is scheduled for one time goes in one call."""
    over = (moment - datetime.min.replace(tzinfo=moment.tzinfo)) % whole
    return moment + (whole - over) if over else moment


class Expected:
    """Records that this process has sent for now and has not received: as long as some are missing, it is worth waiting
    for more than has come."""

    def __init__(self) -> None:
        self._ids: set[str] = set()

    def now(self) -> set[str]:
        """Their message ids."""
        return set(self._ids)

    def sent(self, records: Iterable[Record]) -> None:
        """These are about to be sent."""
        if len(self._ids) > MOST_EXPECTED:
            # A process of alerts alone sends, and receives nothing.
            self._ids.clear()
        self._ids.update(record.message_id for record in records if record.due is None)

    def received(self, messages: Iterable[ServiceBusReceivedMessage]) -> None:
        if self._ids:
            self._ids.difference_update(str(message.message_id) for message in messages)

    def has_come(self, expected: set[str]) -> bool:
        """Whether all of these were received, and there were any."""
        return bool(expected) and self._ids.isdisjoint(expected)

    def missed(self, expected: set[str]) -> None:
        """What of these did not come is another process's, or was dropped by duplicate detection."""
        self._ids -= expected
