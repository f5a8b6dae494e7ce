"""Works off what is due in the operations queue: publish what is owed, run it, send the successor, complete."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

from maintenance.domain.errors import BusUnavailable, EntityMissing
from maintenance.domain.messages import Delivery, Record
from maintenance.domain.operation import Operation, Phase, Reply
from maintenance.domain.redaction import place_of, traceback_of
from maintenance.lifecycle.actions import Continue, Done, LeaveToJudge
from maintenance.operations.ports import UNWATCHED, Deliveries, Intake, OperationsBus, RunWatch, TickLimits
from maintenance.operations.progress_log import log_end
from maintenance.operations.records import to_record, to_reply_record, to_successor
from maintenance.operations.runner import Runner
from maintenance.operations.units import Tick, Unit, publish, read_unit, settle

logger = logging.getLogger(__name__)

# Once messages have come, more that are due come as fast: a tick need not end in waiting as long as it began.
FURTHER_WAIT = 0.05  # seconds, at least
FURTHER_WAITS = 2  # times as long as the last took; a batch that is not full had been waited for
# Seconds: what is done so soon after the first of a batch is sent with it in one list. Polls of 20 ms and more, in four
# batches at once, take over 50 from the first to the last; where each became two lists, a tick took an eighth more.
TOGETHER = 0.1
# Seconds. A batch of which nothing is done in this time holds up no other: another receiver takes what falls due.
SLOW = 5.0
# Seconds. A batch that is not settled by then is cut off, for its lock lasts 5 minutes. None begins after the budget of
# 4 minutes, so a tick ends before `functionTimeout`, 10 minutes, at which the host kills the process.
HELD_FOR = 270.0
CANCEL_TIMEOUT = 10.0  # seconds
RETRY_AFTER = timedelta(minutes=1)


class Poller:
    """The use case behind the timer trigger. `intake` has the subjects of messages that are no records. `slow` and
    `held_for` (seconds): see the constants."""

    def __init__(
        self,
        runner: Runner,
        bus: OperationsBus,
        limits: TickLimits,
        *,
        intake: Mapping[str, Intake],
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
        slow: float = SLOW,
        held_for: float = HELD_FOR,
        watch: RunWatch = UNWATCHED,
    ) -> None:
        self._watch = watch
        self._slow = slow
        self._held_for = held_for
        self._runner = runner
        self._bus = bus
        self._limits = limits
        self._intake = intake
        self._now = now
        self._monotonic = monotonic
        self._working: asyncio.Task[None] | None = None
        # Of each tick: one more receiver, where all have a batch to deal with.
        self._looks: set[Callable[[], None]] = set()
        self._more = self._attended = False

    async def tick(self) -> Tick:
        """Work until nothing is due or the time budget is used up; what is left then waits for the next tick.

        Service Bus errors end the tick early and are logged: every message that was not settled is redelivered.
        Raises RuntimeError, with the type and the place of what failed unexpectedly.
        """
        tick = Tick(
            views=self._runner.views(),
            watch=self._watch.tick(),
            stop_at=self._monotonic() + self._limits.tick_budget.total_seconds(),
            # All that is held is begun at once, so that nothing waits for its turn while its lock runs. What could
            # outlast what is left of the lock is not begun: see `units.TAKES`.
            batch=max(self._limits.poll_concurrency // self._limits.poll_receivers, 1),
        )
        group = asyncio.TaskGroup()
        self._looks.add(look := partial(self._add_receiver_beside, group, tick))
        try:
            async with group:
                self._add_receiver(group, tick)
        except ExceptionGroup as failed:
            # No text: what is unexpected may hold anything.
            causes = "; ".join(place_of(error) for error in failed.exceptions)
            logger.error("Tick failed unexpectedly: %s", causes, extra=traceback_of(failed))
            raise RuntimeError(f"the tick failed unexpectedly: {causes}") from None
        finally:
            self._looks.discard(look)
            tick.watch.ended(tick.counts)
        if tick.taken:
            logger.info("Tick ended: %s", tick)
        return tick

    async def work_off(self) -> None:
        """Work off what is due, as a tick does: a handler's record is dealt with at once. Handlers of one process share
        it. One stays until nothing more is due, so that the host sees the process at work, but no longer than for a
        batch. The others leave at once, since the host hands over no more requests than so many at a time."""
        self._more = True
        for look in tuple(self._looks):
            look()
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work_off())
        if self._attended:
            return
        self._attended = True
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._held_for):
                    # Another may have begun anew just when it had ended.
                    while not self._working.done():
                        await asyncio.wait([self._working])
        finally:
            self._attended = False
        if self._working.done():
            self._working.result()

    async def _work_off(self) -> None:
        while self._more:
            self._more = False
            await self.tick()

    def _add_receiver(self, group: asyncio.TaskGroup, tick: Tick, pace: float | None = None) -> None:
        tick.receivers += 1
        tick.active += 1
        group.create_task(self._drain(group, tick, pace))

    async def _drain(self, group: asyncio.TaskGroup, tick: Tick, pace: float | None) -> None:
        """`pace`: seconds that another took for a full batch, if one came."""
        try:
            async with self._bus.operations() as deliveries:
                wait = self._wait(pace)
                while (asked := self._monotonic()) < tick.stop_at:
                    batch = await deliveries.receive(tick.batch, wait=wait)
                    if not batch:
                        return
                    took = self._monotonic() - asked
                    full = len(batch) == tick.batch
                    pace = took if full or pace is None else min(took, pace)
                    if full:
                        # One after the other they would begin a batch's two round trips apart.
                        for _ in range(self._limits.poll_receivers - tick.active):
                            self._add_receiver(group, tick, took)
                    tick.taken += len(batch)
                    due_now = await self._work(group, deliveries, batch, tick)
                    # What was just sent for now comes for sure.
                    wait = self._wait(None if due_now else pace)
        except BusUnavailable as error:
            tick.queue_missing = isinstance(error, EntityMissing)
            logger.error("Tick ended early, what it holds is redelivered: %s", error)
        finally:
            tick.active -= 1

    def _wait(self, pace: float | None) -> float:
        longest = self._limits.receive_wait.total_seconds()
        return longest if pace is None else min(longest, max(FURTHER_WAIT, FURTHER_WAITS * pace))

    async def _work(
        self, group: asyncio.TaskGroup, deliveries: Deliveries, batch: Sequence[Delivery], tick: Tick
    ) -> bool:
        """Deal with a batch; whether anything that follows is due at once."""
        units = [read_unit(delivery, self._intake, self._now()) for delivery in batch]
        tick.at_work += 1
        received_at = self._monotonic()
        for unit in units:
            unit.until = received_at + HELD_FOR - unit.delivery.locked_ago
        tick.unreadable += sum(unit.unreadable for unit in units)
        tick.watch.received(units, self._now())
        owing = [unit for unit in units if unit.events]
        # What owes nothing does not wait for the topic.
        publishing = asyncio.create_task(self._publish(owing)) if owing else None
        running = {asyncio.create_task(self._run(unit, deliveries, tick, publishing)): unit for unit in units}
        try:
            async with asyncio.timeout(self._held_for):
                failure = await self._settle_as_done(group, deliveries, running, tick)
        except TimeoutError:
            failure = None
            for unit in running.values():
                unit.successor = None
            left = ", ".join(unit.delivery.message_id for unit in units if not unit.done)
            logger.error("Messages cut off after %.0f s, before their lock is lost: %s", self._held_for, left)
        finally:
            tick.at_work -= 1
            tasks = [*running, *([publishing] if publishing is not None else [])]
            for task in tasks:
                task.cancel()
        if running:
            await asyncio.wait(tasks, timeout=CANCEL_TIMEOUT)
        tick.failed += sum(not unit.done for unit in units)
        if failure is not None:
            raise failure
        now = self._now()
        return any(unit.successor is not None and (unit.successor.due or now) <= now for unit in units)

    async def _publish(self, owing: Sequence[Unit]) -> None:
        # Once they are published, their records may be gone: what is not exported by then is lost with the process.
        await self._watch.ending(owing)
        await publish(self._bus, owing)

    async def _settle_as_done(
        self, group: asyncio.TaskGroup, deliveries: Deliveries, running: dict[asyncio.Task[None], Unit], tick: Tick
    ) -> BusUnavailable | None:
        """Settle what is done, together with all that are done within a moment. What could not be settled."""
        failures: list[BusUnavailable] = []

        async def settle_finished(finished: Sequence[Unit]) -> None:
            try:
                await settle(deliveries, [unit for unit in finished if unit.completes], tick)
            except BusUnavailable as error:
                # What else is under way is not cut off: a POST may be among it.
                logger.error("%d messages are left to their lock: %s", len(finished), error)
                failures.append(error)

        async with asyncio.TaskGroup() as settling:
            while running:
                while not (await asyncio.wait(running, timeout=self._slow, return_when=asyncio.FIRST_COMPLETED))[0]:
                    self._add_receiver_beside(group, tick)
                done, _ = await asyncio.wait(running, timeout=TOGETHER)
                settling.create_task(settle_finished([running.pop(task) for task in done]))
        return failures[0] if failures else None

    def _add_receiver_beside(self, group: asyncio.TaskGroup, tick: Tick) -> None:
        """Where every receiver has a batch to deal with, one more looks for what else is due."""
        if 0 < tick.active == tick.at_work < self._limits.poll_receivers and self._monotonic() < tick.stop_at:
            self._add_receiver(group, tick)

    async def _run(self, unit: Unit, deliveries: Deliveries, tick: Tick, publishing: asyncio.Task[None] | None) -> None:
        """One delivery. Where something fails unexpectedly the message is left to its lock, redelivered after it, and
        dead-lettered if that does not help; the other deliveries go on."""
        if unit.failed:
            return
        if publishing is not None and unit.events:
            await asyncio.wait([publishing])
        try:
            match unit.content:
                case Operation():
                    await self._run_operation(unit, unit.content, deliveries, tick)
                case Reply():
                    if not unit.published:
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
            logger.error(
                "Message %s failed unexpectedly: %s",
                unit.delivery.message_id,
                place_of(error),
                extra=traceback_of(error),
            )

    async def _run_operation(self, unit: Unit, operation: Operation, deliveries: Deliveries, tick: Tick) -> None:
        now = self._now()
        ends = operation.phase is Phase.END
        if ends and not unit.published:
            unit.successor = to_record(operation.with_next_number(), now + RETRY_AFTER)
            unit.completes = True
            return
        if unit.events and unit.published:
            self._watch.published(operation)
        if operation.owed and unit.published:
            operation = replace(operation, owed=())
        if ends:
            tick.ended += 1
            log_end(operation, self._watch)

        async def complete() -> bool:
            return await deliveries.complete(unit.delivery)

        result = await self._runner.run(
            operation,
            redelivered=unit.delivery.delivery_count > 1,
            settle=complete,
            views=tick.views,
            enqueued_at=unit.delivery.enqueued_at,
            until=unit.until,
        )
        match result:
            case Continue():
                unit.successor = to_successor(result, self._now())
                unit.completes = True
            case Done():
                unit.completes = True
            case LeaveToJudge():
                unit.left_to_judge = True
