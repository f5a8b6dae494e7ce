"""What a message received from the operations queue shows to be wrong with how the queue was made. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Protocol

from maintenance.domain.formats import LONGEST_RUN
from maintenance.servicebus.coordination_queue import PARTITIONED

LOCK = timedelta(minutes=5)
# All deliveries of one message, each for a lock's length, must end well within duplicate detection's window of a day.
LONGEST_REDELIVERY = timedelta(hours=12)
# What Service Bus's times are rounded by, and more.
TOLERANCE = timedelta(seconds=1)


class Received(Protocol):
    """What is used of a `ServiceBusReceivedMessage`. `delivery_count` is 0 at the first delivery."""

    @property
    def sequence_number(self) -> int | None: ...

    @property
    def delivery_count(self) -> int | None: ...

    @property
    def enqueued_time_utc(self) -> datetime | None: ...

    @property
    def locked_until_utc(self) -> datetime | None: ...

    @property
    def time_to_live(self) -> timedelta | None: ...


def received_problem(queue: str, message: Received, least_lock: timedelta) -> str | None:
    """What is wrong with the queue, with its name and the property; None where nothing shows."""
    if int(message.sequence_number or 0) >= PARTITIONED:
        return partitioned(queue)
    deliveries = int(message.delivery_count or 0) + 1
    if deliveries * LOCK > LONGEST_REDELIVERY:
        return f"queue {queue} delivers a message {deliveries} times: set MaxDeliveryCount to 30"
    lifetime = message.time_to_live
    # A record that expires before its run has ended is lost.
    if lifetime is not None and lifetime < LONGEST_RUN:
        return f"queue {queue} lets messages expire after {lifetime}: set DefaultMessageTimeToLive to the longest"
    enqueued_at, until = message.enqueued_time_utc, message.locked_until_utc
    # It was locked after it was enqueued, so the lock is no longer than this, by Service Bus's clock alone.
    if enqueued_at is not None and until is not None and until - enqueued_at < least_lock - TOLERANCE:
        seconds = (until - enqueued_at).total_seconds()
        return f"queue {queue} locks messages for {seconds:.0f} s at most: set LockDuration to 5 minutes"
    return None


def partitioned(queue: str) -> str:
    """What is wrong with a queue of such sequence numbers."""
    return f"queue {queue} is partitioned: make it anew with EnablePartitioning false"
