"""Records as messages, which of them a process expects, and for which time calls are made together."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.servicebus import ServiceBusMessage
from azure.servicebus._common.utils import transform_outbound_messages
from azure.servicebus._pyamqp._encode import encode_payload
from azure.servicebus._transport._pyamqp_transport import PyamqpTransport
from hypothesis import given
from hypothesis import strategies as st

from maintenance.domain.messages import Record
from maintenance.servicebus.messages import MOST_EXPECTED, Expected, encoded, to_message, up_to

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


def record(number: int, due: datetime | None = None) -> Record:
    return Record(f"{number}", b"{}", due, "plan")


def on_the_wire(message: Any) -> bytes:
    """What the SDK sends of a message."""
    sent: Any = transform_outbound_messages(message, ServiceBusMessage, PyamqpTransport.to_outgoing_amqp_message)
    output = bytearray()
    encode_payload(output, sent._message)
    return bytes(output)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)


RECORDS = st.builds(
    Record,
    message_id=TEXTS,
    body=st.binary(max_size=400),
    due=st.none() | st.datetimes(datetime(2001, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - hypothesis adds the zone
    subject=TEXTS,
    correlation_id=st.none() | TEXTS,
    properties=st.dictionaries(TEXTS, TEXTS, max_size=4),
)


@given(RECORDS)
def test_record_is_sent_as_the_sdk_sends_a_message_of_its_own_kind(record: Record) -> None:
    assert encoded(record) == on_the_wire(to_message(record))


@pytest.mark.parametrize("length", range(200, 260))
def test_record_whose_parts_take_a_longer_form_is_sent_as_the_sdk_sends_it(length: int) -> None:
    text = "x" * length
    for long in (
        Record("id", b"", None, text),
        Record("id", b"", None, "plan", properties={"name": text}),
        Record("id", bytes(length), None, "plan"),
    ):
        assert encoded(long) == on_the_wire(to_message(long))


@given(st.datetimes(min_value=datetime(2000, 1, 1), timezones=st.just(UTC)), st.sampled_from([SECOND, MINUTE]))  # noqa: DTZ001 - hypothesis adds the zone
def test_time_for_many_is_never_earlier_and_less_than_one_whole_later(moment: datetime, whole: timedelta) -> None:
    together = up_to(moment, whole)
    assert timedelta(0) <= together - moment < whole
    assert together.microsecond == 0
    assert up_to(together, whole) == together


def test_only_what_is_sent_for_now_is_expected() -> None:
    expected = Expected()
    expected.sent([record(1), record(2, datetime.now(UTC)), record(3)])
    assert expected.now() == {"1", "3"}


def test_what_another_process_has_is_expected_no_longer_but_what_was_sent_meanwhile_is() -> None:
    expected = Expected()
    expected.sent([record(1)])
    waited_for = expected.now()
    expected.sent([record(2)])
    assert not expected.has_come(waited_for)
    expected.missed(waited_for)
    assert expected.now() == {"2"}


def test_nothing_expected_has_not_come() -> None:
    assert not Expected().has_come(set())


def test_process_that_sends_and_never_receives_keeps_few() -> None:
    expected = Expected()
    for number in range(3 * MOST_EXPECTED):
        expected.sent([record(number)])
    assert len(expected.now()) <= MOST_EXPECTED + 1
