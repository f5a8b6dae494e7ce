"""Batches of records are those that the SDK would build, byte for byte."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from azure.servicebus import ServiceBusMessageBatch
from azure.servicebus._pyamqp._encode import encode_payload
from azure.servicebus._pyamqp.message import BatchMessage
from azure.servicebus.exceptions import MessageSizeExceededError
from hypothesis import given
from hypothesis import strategies as st

from maintenance.domain.messages import Record
from maintenance.servicebus.messages import to_message
from maintenance.servicebus.sender import add
from tests.unit.servicebus.test_messages import RECORDS


def by_the_sdk(batch: ServiceBusMessageBatch, record: Record) -> None:
    batch.add_message(to_message(record))


def built(
    adds: Callable[[ServiceBusMessageBatch, Record], None], records: Sequence[Record], most: int
) -> tuple[list[int], int, int, bytes]:
    """Which records are refused, and what the batch is then: length, size, and what is sent of it."""
    batch, refused = ServiceBusMessageBatch(max_size_in_bytes=most), []
    for number, record in enumerate(records):
        try:
            adds(batch, record)
        except MessageSizeExceededError:
            refused.append(number)
    output, sections = bytearray(), batch._message
    encode_payload(output, BatchMessage(*sections))
    return refused, len(batch), batch.size_in_bytes, bytes(output)


@given(st.lists(RECORDS, max_size=6), st.integers(200, 3_000))
def test_batch_of_records_is_the_one_that_the_sdk_builds(records: list[Record], most: int) -> None:
    assert built(add, records, most) == built(by_the_sdk, records, most)


@pytest.mark.parametrize("length", range(180, 260))
def test_batch_is_full_at_the_byte_at_which_the_sdk_says_so(length: int) -> None:
    """Around the lengths from which a body, and a message in a batch, take a longer form."""
    records = [Record("id", bytes(length), None, "plan")] * 2
    *_, fits, _ = built(by_the_sdk, records, 10_000)
    for most in (fits, fits - 1):
        assert built(add, records, most) == built(by_the_sdk, records, most)
