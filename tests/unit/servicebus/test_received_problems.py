from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from maintenance.servicebus.received_problems import received_problem

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
LOCK = timedelta(minutes=5)
FOR_EVER = timedelta(milliseconds=2**32 - 1)


@dataclass(frozen=True)
class Message:
    sequence_number: int | None = 17
    delivery_count: int | None = 0
    enqueued_time_utc: datetime | None = NOW
    locked_until_utc: datetime | None = NOW + LOCK
    time_to_live: timedelta | None = None


@pytest.mark.parametrize(
    "message",
    [
        Message(),
        Message(delivery_count=29),
        Message(time_to_live=FOR_EVER),
        # Received long after it was enqueued, so its lock's length does not show.
        Message(locked_until_utc=NOW + timedelta(days=3)),
        Message(sequence_number=None, enqueued_time_utc=None, locked_until_utc=None),
    ],
)
def test_message_of_a_queue_as_it_must_be_has_no_problem(message: Message) -> None:
    assert received_problem("q", message, LOCK) is None


@pytest.mark.parametrize(
    ("message", "named"),
    [
        (Message(sequence_number=(3 << 48) + 17), "EnablePartitioning"),
        (Message(delivery_count=150), "MaxDeliveryCount"),
        (Message(time_to_live=timedelta(days=14)), "DefaultMessageTimeToLive"),
        (Message(locked_until_utc=NOW + timedelta(seconds=60)), "LockDuration"),
        (Message(locked_until_utc=NOW + timedelta(seconds=60), enqueued_time_utc=NOW), "60 s at most"),
    ],
)
def test_message_of_another_queue_names_queue_and_property(message: Message, named: str) -> None:
    problem = received_problem("maintenance-operations", message, LOCK)
    assert problem is not None
    assert "maintenance-operations" in problem
    assert named in problem


def test_lock_that_fits_a_short_settle_time_is_no_problem() -> None:
    short = Message(locked_until_utc=NOW + timedelta(seconds=13))
    assert received_problem("q", short, timedelta(seconds=5)) is None
