"""Seconds of the loop as moments, and back. Service Bus and ARM go by the loop's time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

EPOCH = datetime(2026, 1, 5, tzinfo=UTC)


def seconds_of(moment: datetime) -> float:
    return (moment - EPOCH).total_seconds()


def moment_of(seconds: float) -> datetime:
    """To the millisecond, as AMQP carries times."""
    return EPOCH + timedelta(milliseconds=round(seconds * 1000))
