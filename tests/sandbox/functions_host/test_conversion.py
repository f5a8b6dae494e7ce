"""What a function is handed, as the real host and worker make it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import azure.functions as func
import pytest
from azure.servicebus import ServiceBusMessage, ServiceBusReceivedMessage
from azure.servicebus.amqp import AmqpAnnotatedMessage

from sandbox.functions_host.listeners.conversion import (
    service_bus_message,
    timer_request,
    traceparent,
    trigger_metadata,
)

ENQUEUED = datetime(2024, 5, 1, 10, 0, 0, 123_000, tzinfo=UTC)


class Received(ServiceBusReceivedMessage):
    """What the SDK would have received, without a connection: its properties read from what was sent."""

    def __init__(self, sent: ServiceBusMessage, *, deliveries_before: int = 0) -> None:
        self._raw_amqp_message = sent.raw_amqp_message
        self._deliveries_before = deliveries_before

    delivery_count = property(lambda self: self._deliveries_before)
    sequence_number = property(lambda self: 42)
    lock_token = property(lambda self: "11111111-2222-3333-4444-555555555555")
    enqueued_time_utc = property(lambda self: ENQUEUED)
    expires_at_utc = property(lambda self: ENQUEUED + timedelta(days=14))
    dead_letter_source = property(lambda self: None)


def convert(
    body: bytes = b"{}", *, binary: bool = False, deliveries_before: int = 0, **sent: Any
) -> func.ServiceBusMessage:
    received = Received(ServiceBusMessage(body, **sent), deliveries_before=deliveries_before)
    return service_bus_message(received, binary=binary)


def test_what_the_sender_set_arrives() -> None:
    message = convert(
        b'{"a": 1}',
        message_id="r-1",
        correlation_id="c-1",
        content_type="application/json",
        subject="maintenance",
        reply_to="there",
        application_properties={"text": "x", "number": 3, b"bytes": b"y", "yes": True},
    )
    assert message.get_body() == b'{"a": 1}'
    assert (message.message_id, message.correlation_id) == ("r-1", "c-1")
    assert (message.content_type, message.subject, message.label) == (
        "application/json",
        "maintenance",
        "maintenance",
    )
    assert message.reply_to == "there"
    assert message.application_properties == {"text": "x", "number": 3, "bytes": "y", "yes": True}
    assert message.user_properties == message.application_properties


def test_what_the_broker_set_arrives() -> None:
    message = convert(deliveries_before=2)
    assert message.delivery_count == 3
    assert message.sequence_number == 42
    assert message.lock_token == "11111111-2222-3333-4444-555555555555"
    assert message.enqueued_time_utc == ENQUEUED.replace(tzinfo=None), "naive, and in UTC, as in Azure"
    assert message.expires_at_utc == (ENQUEUED + timedelta(days=14)).replace(tzinfo=None)


def test_the_first_delivery_is_number_one() -> None:
    assert convert().delivery_count == 1


@pytest.mark.parametrize(
    "name",
    [
        "correlation_id",
        "content_type",
        "subject",
        "reply_to",
        "session_id",
        "partition_key",
        "dead_letter_source",
        # The host never sends these, whatever the message holds.
        "locked_until",
        "dead_letter_reason",
        "dead_letter_error_description",
        "scheduled_enqueue_time_utc",
        "time_to_live",
        "state",
        "enqueued_sequence_number",
    ],
)
def test_what_is_none_in_azure_is_none(name: str) -> None:
    message = convert(time_to_live=timedelta(hours=1), scheduled_enqueue_time_utc=ENQUEUED)
    assert getattr(message, name) is None


@pytest.mark.parametrize(
    ("sent", "handed"),
    [
        (b"", b""),
        ("größer ☂".encode(), "größer ☂".encode()),
        (b"\xff{}", "\ufffd{}".encode()),
        (b"\xef\xbb\xbf{}", b"{}"),
    ],
)
def test_without_a_data_type_the_body_goes_through_text(sent: bytes, handed: bytes) -> None:
    assert convert(sent).get_body() == handed


@pytest.mark.parametrize("sent", [b"", b"\xff{}", b"\xef\xbb\xbf{}", bytes(range(256))])
def test_with_the_data_type_binary_the_body_is_verbatim(sent: bytes) -> None:
    assert convert(sent, binary=True).get_body() == sent


def test_a_body_of_another_kind() -> None:
    text = Received.__new__(Received)
    Received.__init__(text, ServiceBusMessage(b""))
    text._raw_amqp_message = AmqpAnnotatedMessage(value_body="text")
    assert service_bus_message(text, binary=False).get_body() == b"text"
    text._raw_amqp_message = AmqpAnnotatedMessage(sequence_body=[1, 2])
    with pytest.raises(NotImplementedError, match="SEQUENCE"):
        service_bus_message(text, binary=False)


def test_a_trace_parent_is_read_from_the_message() -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    assert traceparent(Received(ServiceBusMessage(b"", application_properties={b"Diagnostic-Id": parent}))) == parent
    assert traceparent(Received(ServiceBusMessage(b""))) == ""


@pytest.mark.parametrize("past_due", [True, False])
def test_a_timer(past_due: bool) -> None:
    timer = timer_request(past_due=past_due)
    assert isinstance(timer, func.TimerRequest)
    assert timer.past_due is past_due


def test_numbers_are_passed_as_json_as_the_real_host_passes_them() -> None:
    passed = trigger_metadata(Received(ServiceBusMessage(b"{}"), deliveries_before=2))
    assert (passed["DeliveryCount"].type, passed["DeliveryCount"].value) == ("json", "3")
    assert (passed["SequenceNumber"].type, passed["SequenceNumber"].value) == ("json", "42")
    assert {datum.type for datum in passed.values()} == {"json", "string"}
