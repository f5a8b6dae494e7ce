"""Reads both dead-letter queues: a dead letter is one more delivery, and ends as an event like any other."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from maintenance.domain.errors import BusUnavailable, EntityMissing, UnreadableRecord
from maintenance.domain.messages import Delivery, MaintenanceEvent, Record
from maintenance.domain.redaction import place_of, redact, traceback_of
from maintenance.lifecycle.ending import strike
from maintenance.lifecycle.events import replied
from maintenance.operations.ports import UNWATCHED, Deliveries, RunWatch
from maintenance.operations.records import REPLY, read_record, read_reply, to_reply_record, to_successor
from maintenance.operations.unreadable import pass_on

logger = logging.getLogger(__name__)

BATCH = 20
MAX_BATCHES = 50
WAIT = 1.0  # seconds
NO_QUEUE = "the worker's operations queue was not there until the request's deadline; nothing was started"

# What becomes of a message of the requests queue, or one that an alert led to, that was given up: its end as a record.
GiveUp = Callable[[Delivery, str], Record]


class DeadLetterBus(Protocol):
    """What is used of `servicebus.bus.Bus`. All raise BusUnavailable."""

    def dead_requests(self) -> AbstractAsyncContextManager[Deliveries]: ...

    def dead_operations(self) -> AbstractAsyncContextManager[Deliveries]: ...

    async def send(self, records: Sequence[Record]) -> None: ...

    async def publish(self, events: Sequence[MaintenanceEvent]) -> None: ...


class DeadLetterReader:
    """The use case behind the timer of dead letters. `intake`: subjects of messages that are no records. `deadline`:
    when the request in a dead letter must have ended."""

    def __init__(
        self,
        bus: DeadLetterBus,
        give_up: GiveUp,
        deadline: Callable[[Delivery], datetime],
        *,
        intake: Sequence[str],
        now: Callable[[], datetime],
        watch: RunWatch = UNWATCHED,
    ) -> None:
        self._watch = watch
        self._bus = bus
        self._give_up = give_up
        self._deadline = deadline
        self._intake = intake
        self._now = now

    async def read(self) -> int:
        """Send what follows each dead letter, then complete it. Returns how many there were."""
        read = 0
        for name, receiver in (("requests", self._bus.dead_requests), ("operations", self._bus.dead_operations)):
            try:
                async with receiver() as deliveries:
                    for _ in range(MAX_BATCHES):
                        batch = await deliveries.receive(BATCH, wait=WAIT)
                        if not batch:
                            break
                        for delivery in batch:
                            await self._deal_with(replace(delivery, from_requests=name == "requests"), deliveries)
                        read += len(batch)
            except EntityMissing:
                return read + await self.end_overdue()
            except BusUnavailable as error:
                logger.error("Reading the dead-letter queue of %s failed: %s", name, error)
        return read

    async def end_overdue(self) -> int:
        """Publish the ends of dead requests whose deadline has passed; returns how many. For where there is no
        operations queue: without it nothing can be started, nor ended in its order, so until then they wait for it."""
        ended = 0
        try:
            async with self._bus.dead_requests() as deliveries:
                for received in await deliveries.receive(BATCH, wait=WAIT):
                    delivery = replace(received, from_requests=True)
                    deadline = self._deadline(delivery)
                    if self._now() < deadline:
                        logger.error(
                            "Dead letter %s waits for the operations queue until %s",
                            delivery.message_id,
                            deadline.isoformat(),
                        )
                        continue
                    end = replied(read_reply(self._give_up(delivery, NO_QUEUE).body))
                    await self._bus.publish([end])
                    logger.warning("Dead letter %s ended at its deadline: %s", delivery.message_id, NO_QUEUE)
                    await deliveries.complete(delivery)
                    ended += 1
        except BusUnavailable as error:
            logger.error("Ending overdue requests without an operations queue failed: %s", error)
        return ended

    async def _deal_with(self, delivery: Delivery, deliveries: Deliveries) -> None:
        reason = redact(delivery.dead_letter_reason or "no reason was given")[:300]
        try:
            if delivery.from_requests or delivery.subject in self._intake:
                record: Record | None = self._give_up(delivery, reason)
            else:
                record = self._struck(delivery, reason)
            if record is not None:
                await self._bus.send([record])
        except BusUnavailable:
            raise
        except Exception as error:
            logger.error(
                "Dead letter %s failed unexpectedly: %s",
                delivery.message_id,
                place_of(error),
                extra=traceback_of(error),
            )
            return
        followed = record.message_id if record else "nothing: no run owns it"
        logger.warning("Dead letter %s (%s) is followed by %s", delivery.message_id, reason, followed)
        self._watch.dead_lettered("requests" if delivery.from_requests else "operations", delivery.dead_letter_reason)
        await deliveries.complete(delivery)

    def _struck(self, delivery: Delivery, reason: str) -> Record | None:
        now = self._now()
        try:
            if delivery.subject == REPLY:
                reply = read_reply(delivery.body)
                return to_reply_record(replace(reply, number=reply.number + 1), now)
            return to_successor(strike(read_record(delivery.body), reason, now), now)
        except UnreadableRecord as error:
            return pass_on(delivery, f"{error.reason}: {error.description}", now)
