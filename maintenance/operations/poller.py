"""X"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from maintenance.domain.errors import BusUnavailable, MessageTooLarge, UnreadableRecord
from maintenance.domain.messages import MaintenanceEvent, Record
from maintenance.domain.redaction import redact
from maintenance.operations.instance_views import InstanceViews
from maintenance.operations.outbox import Dispatch, dispatch, record_to_persist
from maintenance.operations.records import read_record
from maintenance.operations.runner import Runner
from maintenance.servicebus.operations_queue import Received

logger = logging.getLogger(__name__)
BATCH = 100
# How many of a batch one receiver has under way; over all of them `poll_concurrency` is the bound.
WIDTH = 32
# Once messages have come, more that are due come as fast: a tick need not end in waiting as long as it began.
FURTHER_WAIT = 0.05  # seconds, at least
FURTHER_WAITS = 2  # times as long as the last took


class TickLimits(Protocol):
    """What is used of `settings.Settings`."""

    @property
    def tick_budget(self) -> timedelta: ...

    @property
    def poll_concurrency(self) -> int: ...

    @property
    def poll_receivers(self) -> int: ...

    @property
    def receive_wait(self) -> timedelta: ...


class DueMessages(Protocol):
    """What is used of `due_operations.DueOperations`."""

    async def receive(self, most: int, *, wait: float) -> list[Received]: ...

    async def persist(self, records: Sequence[Record]) -> None: ...

    async def complete(self, received: Sequence[Received]) -> None: ...

    async def dead_letter(self, received: Received, reason: str, description: str) -> None: ...


class OperationsBus(Protocol):
    """What is used of `bus.Bus`."""

    def due_operations(self) -> AbstractAsyncContextManager[DueMessages]: ...

    async def publish(self, events: Sequence[MaintenanceEvent]) -> None: ...


class Leases(Protocol):
    """What is used of `notice_board.CoordinationQueue`."""

    async def release(self, request_ids: Sequence[str]) -> None: ...


@dataclass(slots=True)
class Tick:
    """One run of the timer, and what it did."""

    views: InstanceViews
    stop_at: float
    permits: asyncio.Semaphore
    taken: int = 0
    persisted: int = 0
    ended: int = 0
    unreadable: int = 0
    failed: int = 0
    receivers: int = field(default=0)

    def __str__(self) -> str:
        return (
            f"{self.taken} taken, {self.persisted} persisted for later, {self.ended} ended, "
            f"{self.unreadable} unreadable, {self.failed} failed"
        )


@dataclass(slots=True)
class _Run:
    """What one operation's run leads to, and how far that has come."""

    received: Received
    dispatch: Dispatch
    published: bool = False
    persisted: bool = False


class Poller:
    """The use case behind the timer trigger."""

    def __init__(
        self,
        runner: Runner,
        bus: OperationsBus,
        leases: Leases,
        limits: TickLimits,
        *,
        now: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._runner = runner
        self._bus = bus
        self._leases = leases
        self._limits = limits
        self._now = now
        self._monotonic = monotonic

    async def tick(self) -> Tick:
        """Work until nothing is due or the time budget is used up; what is left then waits for the next tick.

        Trouble with Service Bus ends the tick early and is logged: every operation that was not settled comes again.
        """
        tick = Tick(
            views=self._runner.views(),
            stop_at=self._monotonic() + self._limits.tick_budget.total_seconds(),
            permits=asyncio.Semaphore(self._limits.poll_concurrency),
        )
        async with asyncio.TaskGroup() as group:
            self._add_receiver(group, tick)
        if tick.taken:
            logger.info("Tick: %s", tick)
        return tick

    def _add_receiver(self, group: asyncio.TaskGroup, tick: Tick) -> None:
        tick.receivers += 1
        group.create_task(self._drain(group, tick))

    async def _drain(self, group: asyncio.TaskGroup, tick: Tick) -> None:
        try:
            async with self._bus.due_operations() as due:
                wait = longest = self._limits.receive_wait.total_seconds()
                while (asked := self._monotonic()) < tick.stop_at:
                    batch = await due.receive(BATCH, wait=wait)
                    if not batch:
                        return
                    wait = min(longest, max(FURTHER_WAIT, FURTHER_WAITS * (self._monotonic() - asked)))
                    if len(batch) == BATCH and tick.receivers < self._limits.poll_receivers:
                        self._add_receiver(group, tick)
                    tick.taken += len(batch)
                    await self._work(due, batch, tick)
        except BusUnavailable as error:
            logger.error("The tick ends early, what it held comes again: %s", error)

    async def _work(self, due: DueMessages, batch: Sequence[Received], tick: Tick) -> None:
        outcomes = await self._proceed_all(batch, tick)
        runs = [outcome for outcome in outcomes if isinstance(outcome, _Run)]
        await self._publish(runs)
        await self._persist(due, runs, tick)
        if over := [
            run.dispatch.request_id for run in runs if run.dispatch.release_lease and run.published and run.persisted
        ]:
            await self._leases.release(over)
        settled = [run.received for run in runs if run.persisted]
        await due.complete(settled)
        unreadable = [
            (each, why) for each, why in zip(batch, outcomes, strict=True) if isinstance(why, UnreadableRecord)
        ]
        for received, why in unreadable:
            published = redact(why.description)
            logger.error("Dead-lettered %s: %s: %s", received.message_id, why.reason, published)
            await due.dead_letter(received, why.reason, published)
        tick.unreadable += len(unreadable)
        tick.failed += len(batch) - len(settled) - len(unreadable)

    async def _proceed_all(self, batch: Sequence[Received], tick: Tick) -> list[_Run | UnreadableRecord | None]:
        """The runs of a batch, in its order, by tasks that take one after the other."""
        outcomes: list[_Run | UnreadableRecord | None] = [None] * len(batch)
        waiting = iter(enumerate(batch))

        async def proceed() -> None:
            for place, received in waiting:
                outcomes[place] = await self._proceed(received, tick)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(len(batch), WIDTH)):
                group.create_task(proceed())
        return outcomes

    async def _proceed(self, received: Received, tick: Tick) -> _Run | UnreadableRecord | None:
        """One operation's run. None where something unforeseen happened: the message is left to its lock, comes again
        after it, and ends in the dead-letter queue if that does not help; the other operations go on."""
        try:
            operation = read_record(received.body)
        except UnreadableRecord as error:
            return error
        async with tick.permits:
            try:
                result = await self._runner.run(operation, tick.views, may_have_started=received.delivery_count > 1)
                run = _Run(received, dispatch(result, self._now()))
            except Exception as error:
                # No text and no trace: what is unforeseen may hold anything.
                logger.error("Operation %s failed unexpectedly: %s", received.message_id, type(error).__name__)
                return None
        if run.dispatch.persist is None:
            tick.ended += 1
            logger.info("Request %s: %s", operation.request_id, result.operation.describe())
        return run

    async def _publish(self, runs: Sequence[_Run]) -> None:
        """Publish what the runs have to tell; what cannot be goes into the operations' records."""
        events = [event for run in runs for event in run.dispatch.events]
        try:
            await self._bus.publish(events)
        except BusUnavailable as error:
            if isinstance(error, MessageTooLarge) and len(runs) > 1:
                for run in runs:
                    await self._publish([run])
                return
            logger.error("%d events are persisted for later: %s", len(events), error)
            return
        for run in runs:
            run.published = True

    async def _persist(self, due: DueMessages, runs: Sequence[_Run], tick: Tick) -> None:
        """Send the operations' next records. One that is too large fails, and must not hold up the others."""
        try:
            records = [
                record
                for run in runs
                if (record := record_to_persist(run.dispatch, published=run.published)) is not None
            ]
            await due.persist(records)
        except (MessageTooLarge, ValueError) as error:
            if len(runs) == 1:
                logger.error("Operation %s failed unexpectedly: %s", runs[0].received.message_id, error)
                return
            for run in runs:
                await self._persist(due, [run], tick)
            return
        tick.persisted += len(records)
        for run in runs:
            run.persisted = True
