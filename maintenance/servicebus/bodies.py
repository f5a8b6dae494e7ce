"""Bodies of received messages as bytes, whichever section of an AMQP message holds them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from azure.servicebus import ServiceBusReceivedMessage
from azure.servicebus.amqp import AmqpMessageBodyType


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
