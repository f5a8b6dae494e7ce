"""Works off what is due in the operations queue: publish what is owed, run it, send the successor, complete."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from maintenance.domain.errors import BusUnavailable, MessageTooLarge, UnreadableRecord
from maintenance.domain.messages import Delivery, MaintenanceEvent, Record
from maintenance.domain.operation import Operation, Phase, Reply
from maintenance.domain.redaction import place_of, redact
from maintenance.lifecycle.actions import Continue, Done, LeaveToJudge
from maintenance.lifecycle.events import owed_events, replied
from maintenance.operations.instance_views import InstanceViews
from maintenance.operations.ports import Deliveries, Intake, OperationsBus, TickLimits
from maintenance.operations.records import REPLY, read_record, read_reply, to_record, to_reply_record, to_successor
from maintenance.operations.runner import Runner
from maintenance.operations.unreadable import pass_on

logger = logging.getLogger(__name__)

# Once messages have come, more that are due come as fast: a tick need not end in waiting as long as it began.
FURTHER_WAIT = 0.05  # seconds, at least
FURTHER_WAITS = 2  # times as long as the last took
# Seconds: what is done within so short a time is sent in one list.
TOGETHER = 0.05
RETRY_AFTER = timedelta(minutes=1)


@dataclass(slots=True)
class Tick:
    """One run of the timer, and what it did: records and other messages taken, records sent on, runs that have ended,
    messages passed on unread, and those left to their lock."""

    views: InstanceViews
    stop_at: float
    batch: int
    receivers: int = 0
    taken: int = 0
    persisted: int = 0
    ended: int = 0
    unreadable: int = 0
    failed: int = 0

    def __str__(self) -> str:
        return (
            f"{self.taken} taken, {self.persisted} persisted for later, {self.ended} ended, "
            f"{self.unreadable} unreadable, {self.failed} left to their lock"
        )


@dataclass(slots=True)
class _Unit:
    """One delivery of a batch: what it holds, and what follows from it."""

    delivery: Delivery
    content: Operation | Reply | Record | None = None
    successor: Record | None = None
    completes: bool = False
    left_to_judge: bool = False

    @property
    def owed(self) -> tuple[MaintenanceEvent, ...]:
        match self.content:
            case Operation(owed=(), phase=phase) if phase is not Phase.END:
                return ()
            case Operation():
                return owed_events(self.content)
            case Reply():
                return (replied(self.content),)
        return ()


class Poller:
    """The use case behind the timer trigger. `intake` has the subjects of messages that are no records."""

    def __init__(
        self,
        runner: Runner,
        bus: OperationsBus,
        limits: TickLimits,
        *,
        intake: Mapping[str, Intake],
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
    ) -> None:
        self._runner = runner
        self._bus = bus
        self._limits = limits
        self._intake = intake
        self._now = now
        self._monotonic = monotonic
        self._working: asyncio.Task[Tick] | None = None
        self._more = False

    async def tick(self) -> Tick:
        """Work until nothing is due or the time budget is used up; what is left then waits for the next tick.

        Service Bus errors end the tick early and are logged: every message that was not settled is redelivered.
        """
        tick = Tick(
            views=self._runner.views(),
            stop_at=self._monotonic() + self._limits.tick_budget.total_seconds(),
            # All that is held is begun at once, so that nothing waits for its turn while its lock runs: of the lock's
            # 5 minutes a poll and a listing take 45 s each at most, and a send is patient for 2 minutes.
            batch=max(self._limits.poll_concurrency // self._limits.poll_receivers, 1),
        )
        async with asyncio.TaskGroup() as group:
            self._add_receiver(group, tick)
        if tick.taken:
            logger.info("Tick ended: %s", tick)
        return tick

    async def work_off(self) -> None:
        """Work off what is due, as a tick does: what a handler has just sent is carried out at once. Handlers of one
        process share it: one is at work, the others ask it to go on."""
        if self._working is None or self._working.done():
            self._more = False
            self._working = asyncio.create_task(self._work_off())
        else:
            self._more = True
        await asyncio.shield(self._working)

    async def _work_off(self) -> Tick:
        while True:
            tick = await self.tick()
            if not self._more:
                return tick
            self._more = False

    def _add_receiver(self, group: asyncio.TaskGroup, tick: Tick) -> None:
        tick.receivers += 1
        group.create_task(self._drain(group, tick))

    async def _drain(self, group: asyncio.TaskGroup, tick: Tick) -> None:
        try:
            async with self._bus.operations() as deliveries:
                wait = longest = self._limits.receive_wait.total_seconds()
                while (asked := self._monotonic()) < tick.stop_at:
                    batch = await deliveries.receive(tick.batch, wait=wait)
                    if not batch:
                        return
                    took = self._monotonic() - asked
                    if len(batch) == tick.batch and tick.receivers < self._limits.poll_receivers:
                        self._add_receiver(group, tick)
                    tick.taken += len(batch)
                    due_now = await self._work(deliveries, batch, tick)
                    # What was just sent for now comes for sure.
                    wait = longest if due_now else min(longest, max(FURTHER_WAIT, FURTHER_WAITS * took))
        except BusUnavailable as error:
            logger.error("Tick ended early, what it holds is redelivered: %s", error)

    async def _work(self, deliveries: Deliveries, batch: Sequence[Delivery], tick: Tick) -> bool:
        """Deal with a batch; whether anything that follows is due at once."""
        units = [self._read(delivery, tick) for delivery in batch]
        published = await self._publish(units)
        running = {asyncio.create_task(self._run(unit, deliveries, tick, published=published)): unit for unit in units}
        failure: BusUnavailable | None = None
        try:
            while running:
                # Settled when they are done, together with all that are done within a moment.
                done, _ = await asyncio.wait(running, timeout=TOGETHER)
                if not done:
                    done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                finished = [running.pop(task) for task in done]
                try:
                    await self._settle(deliveries, [unit for unit in finished if unit.completes], tick)
                except BusUnavailable as error:
                    # What else is under way is not cut off: a POST may be among it.
                    logger.error("%d messages are left to their lock: %s", len(finished), error)
                    failure = error
        finally:
            for task in running:
                task.cancel()
        tick.failed += sum(not (unit.completes or unit.left_to_judge) for unit in units)
        if failure is not None:
            raise failure
        now = self._now()
        return any(unit.successor is not None and (unit.successor.due or now) <= now for unit in units)

    def _read(self, delivery: Delivery, tick: Tick) -> _Unit:
        if delivery.subject in self._intake:
            return _Unit(delivery)
        try:
            if delivery.subject == REPLY:
                return _Unit(delivery, read_reply(delivery.body))
            return _Unit(delivery, read_record(delivery.body))
        except UnreadableRecord as error:
            tick.unreadable += 1
            reason = redact(f"{error.reason}: {error.description}")[:500]
            record = pass_on(delivery, reason, self._now())
            if record is None:
                logger.error("Dropped message %s, which no run owns: %s", delivery.message_id, reason)
            else:
                logger.error("Passed record %s on unread: %s", delivery.message_id, reason)
            return _Unit(delivery, record)

    async def _publish(self, units: Sequence[_Unit]) -> bool:
        """Publish all that the records owe. Where that fails they owe it still."""
        events = [event for unit in units for event in unit.owed]
        if not events:
            return True
        try:
            await self._bus.publish(events)
        except BusUnavailable as error:
            logger.error("Publishing %d events failed, they are owed still: %s", len(events), error)
            return False
        return True

    async def _run(self, unit: _Unit, deliveries: Deliveries, tick: Tick, *, published: bool) -> None:
        """One delivery. Where something fails unexpectedly the message is left to its lock, redelivered after it, and
        dead-lettered if that does not help; the other deliveries go on."""
        try:
            match unit.content:
                case Operation():
                    await self._run_operation(unit, unit.content, deliveries, tick, published=published)
                case Reply():
                    if not published:
                        again = replace(unit.content, number=unit.content.number + 1)
                        unit.successor = to_reply_record(again, self._now() + RETRY_AFTER)
                    unit.completes = True
                case Record():
                    unit.successor, unit.completes = unit.content, True
                case None:
                    if (intake := self._intake.get(unit.delivery.subject)) is not None:
                        await intake(unit.delivery)
                    unit.completes = True
        except BusUnavailable as error:
            logger.warning("Message %s is left to its lock: %s", unit.delivery.message_id, error)
        except Exception as error:
            # No text: what is unexpected may hold anything.
            logger.error("Message %s failed unexpectedly: %s", unit.delivery.message_id, place_of(error))

    async def _run_operation(
        self, unit: _Unit, operation: Operation, deliveries: Deliveries, tick: Tick, *, published: bool
    ) -> None:
        now = self._now()
        ends = operation.phase is Phase.END
        if ends and not published:
            unit.successor = to_record(operation.with_next_number(), now + RETRY_AFTER)
            unit.completes = True
            return
        if operation.owed and published:
            operation = replace(operation, owed=())
        if ends:
            tick.ended += 1
            logger.info("Request %s (run %s) %s", operation.request_id, operation.run_id, operation.describe())

        async def settle() -> bool:
            return await deliveries.complete(unit.delivery)

        result = await self._runner.run(
            operation,
            redelivered=unit.delivery.delivery_count > 1,
            settle=settle,
            views=tick.views,
            enqueued_at=unit.delivery.enqueued_at,
        )
        match result:
            case Continue():
                unit.successor = to_successor(result, self._now())
                unit.completes = True
            case Done():
                unit.completes = True
            case LeaveToJudge():
                unit.left_to_judge = True

    async def _settle(self, deliveries: Deliveries, units: Sequence[_Unit], tick: Tick) -> None:
        """Send the successors, then complete what they follow. One that is too large must not hold up the others."""
        records = [unit.successor for unit in units if unit.successor is not None]
        try:
            if records:
                await deliveries.send(records)
        except MessageTooLarge as error:
            if len(units) == 1:
                units[0].completes = False
                logger.error("Message %s is left to its lock: %s", units[0].delivery.message_id, error)
                return
            for unit in units:
                await self._settle(deliveries, [unit], tick)
            return
        tick.persisted += len(records)
        await deliveries.complete_all([unit.delivery for unit in units])
