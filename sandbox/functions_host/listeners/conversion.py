"""Conversion of triggers to function arguments, and of results to responses, as the real host and worker do it.

The host turns a trigger into a datum and *trigger metadata*; the worker's converters (in `azure.functions`)
make objects of them. The keys sent, and those never sent, are those of the Service Bus extension
(`ServiceBusTriggerBindingStrategy.AddBindingData` in Azure/azure-sdk-for-net).
"""

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast

import azure.functions as func
from aiohttp import web
from azure.functions.http import HttpRequestConverter, HttpResponseConverter
from azure.functions.meta import Datum
from azure.functions.servicebus import ServiceBusMessageInConverter
from azure.functions.timer import TimerRequestConverter
from azure.servicebus import ServiceBusReceivedMessage
from azure.servicebus.amqp import AmqpMessageBodyType


def service_bus_message(received: ServiceBusReceivedMessage, *, binary: bool) -> func.ServiceBusMessage:
    """What a function with a Service Bus trigger is handed.

    Args:
        received: as the SDK hands it out, under peek lock.
        binary: the binding's `data_type` is BINARY: the body is handed over byte by byte. Otherwise the real
            host decodes it to text: invalid UTF-8 becomes U+FFFD, a byte order mark is dropped.

    Raises:
        NotImplementedError: the body is an AMQP sequence, or an AMQP value other than text.
    """
    decoded = ServiceBusMessageInConverter.decode(
        _body(received, binary=binary), trigger_metadata=trigger_metadata(received)
    )
    return cast(func.ServiceBusMessage, decoded)


def trigger_metadata(received: ServiceBusReceivedMessage) -> dict[str, Datum]:
    """What the host sends along with a message's body. The host serialises all but texts, numbers too, as JSON."""
    metadata = {
        # The SDK counts deliveries that came before this one, the host this one too.
        "DeliveryCount": _number((received.delivery_count or 0) + 1),
        "SequenceNumber": _number(received.sequence_number),
        "LockToken": Datum(str(received.lock_token), "string"),
        "EnqueuedTimeUtc": _naive(received.enqueued_time_utc),
        "EnqueuedTime": _aware(received.enqueued_time_utc),
        "ExpiresAtUtc": _naive(received.expires_at_utc),
        "ExpiresAt": _aware(received.expires_at_utc),
        "ApplicationProperties": (properties := _properties(received)),
        "UserProperties": properties,
        "DeadLetterSource": _text(received.dead_letter_source),
        "MessageId": _text(received.message_id),
        "ContentType": _text(received.content_type),
        "ReplyTo": _text(received.reply_to),
        "To": _text(received.to),
        "Subject": _text(received.subject),
        "Label": _text(received.subject),
        "CorrelationId": _text(received.correlation_id),
        "SessionId": _text(received.session_id),
        "ReplyToSessionId": _text(received.reply_to_session_id),
        "PartitionKey": _text(received.partition_key),
        "TransactionPartitionKey": None,
    }
    # An absent value is an absent datum: the worker finds nothing under that key.
    return {key: datum for key, datum in metadata.items() if datum is not None}


def timer_request(*, past_due: bool) -> func.TimerRequest:
    """What a function with a timer trigger is handed. Without a monitor the host sends no schedule status."""
    info = {"Schedule": {"AdjustForDST": True}, "ScheduleStatus": None, "IsPastDue": past_due}
    return cast(func.TimerRequest, TimerRequestConverter.decode(Datum(json.dumps(info), "json"), trigger_metadata={}))


def http_request(request: web.Request, body: bytes) -> func.HttpRequest:
    """What a function with an HTTP trigger is handed. Header names are looked up in any letter case."""
    datum = Datum(
        {
            "method": _text(request.method),
            "url": _text(str(request.url)),
            "headers": {name: _text(value) for name, value in request.headers.items()},
            "query": {name: _text(",".join(request.query.getall(name))) for name in request.query},
            "params": {name: _text(value) for name, value in request.match_info.items()},
            "body": Datum(body, "bytes"),
        },
        "http",
    )
    return cast(func.HttpRequest, HttpRequestConverter.decode(datum, trigger_metadata={}))


def http_response(result: object) -> web.Response:
    """What a client gets for what an HTTP function returned; None becomes a 204.

    Raises:
        NotImplementedError: it returned neither a func.HttpResponse nor text.
    """
    if result is None:
        return web.Response(status=204)
    datum = HttpResponseConverter.encode(result, expected_type=None)
    if datum.type == "string":
        return web.Response(text=datum.value)
    headers = {name: value.value for name, value in datum.value["headers"].items()}
    return web.Response(status=int(datum.value["status_code"].value), headers=headers, body=datum.value["body"].value)


def traceparent(received: ServiceBusReceivedMessage) -> str:
    """The W3C trace parent that the sender's SDK left in the message, or an empty string."""
    properties = _decoded(received.application_properties or {})
    return str(properties.get("traceparent") or properties.get("Diagnostic-Id") or "")


def _body(received: ServiceBusReceivedMessage, *, binary: bool) -> Datum:
    if received.body_type == AmqpMessageBodyType.DATA:
        raw = received.body
        data = raw if isinstance(raw, bytes) else b"".join(raw)
        return Datum(data, "bytes") if binary else Datum(_as_text(data), "string")
    if received.body_type == AmqpMessageBodyType.VALUE and isinstance(received.body, bytes | str) and not binary:
        return Datum(received.body.decode() if isinstance(received.body, bytes) else received.body, "string")
    raise NotImplementedError(f"a message body of kind {received.body_type} can't be bound")


def _as_text(data: bytes) -> str:
    """As .NET reads it: the mark is taken off valid text only, and invalid UTF-8 is replaced."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("utf-8", errors="replace")


def _text(value: object) -> Datum | None:
    return None if value is None else Datum(str(value), "string")


def _number(value: int | None) -> Datum | None:
    return None if value is None else Datum(json.dumps(value), "json")


def _naive(moment: datetime | None) -> Datum | None:
    """UTC, but it does not say so: .NET serialises `DateTimeOffset.DateTime` without an offset."""
    if moment is None:
        return None
    return Datum(json.dumps(moment.astimezone(UTC).replace(tzinfo=None).isoformat()), "json")


def _aware(moment: datetime | None) -> Datum | None:
    return None if moment is None else Datum(json.dumps(moment.astimezone(UTC).isoformat()), "json")


def _properties(received: ServiceBusReceivedMessage) -> Datum:
    return Datum(json.dumps(_decoded(received.application_properties or {}), default=str), "json")


def _decoded(properties: Mapping[Any, Any]) -> dict[str, object]:
    """The SDK hands out keys and texts as bytes."""
    return {_str(key): _str(value) if isinstance(value, bytes) else value for key, value in properties.items()}


def _str(value: bytes | str) -> str:
    if isinstance(value, str):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:  # AMQP binary: .NET writes it to JSON so
        return base64.b64encode(value).decode()
