"""The timer fires: take every operation that is due, see how it goes, keep it for later or tell how it ended."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from maintenance.bus import BusUnavailable, MessageTooLarge, Received
from maintenance.cloud_event import MaintenanceEvent
from maintenance.errors import UnreadableRecord
from maintenance.outbox import Dispatch, dispatch, record_to_keep
from maintenance.records import Record, read_record
from maintenance.redaction import redact
from maintenance.runner import Runner, Views
from maintenance.settings import Settings

logger = logging.getLogger(__name__)

BATCH = 100
# Seconds. Once messages have come, more that are due come at once: no tick need end in waiting as long as it began.
FURTHER_WAIT = 0.25


class Due(Protocol):
    """What is used of `bus.DueOperations`."""

    async def receive(self, most: int, *, wait: float) -> list[Received]: ...

    async def complete(self, received: Received) -> None: ...

    async def dead_letter(self, received: Received, reason: str, description: str) -> None: ...


class OperationsBus(Protocol):
    """What is used of `bus.Bus`."""

    def due_operations(self) -> AbstractAsyncContextManager[Due]: ...

    async def track(self, records: Sequence[Record]) -> None: ...

    async def publish(self, events: Sequence[MaintenanceEvent]) -> None: ...


class OperationsBoard(Protocol):
    """What is used of `notice_board.NoticeBoard`."""

    async def take_down(self, request_ids: Sequence[str]) -> None: ...


@dataclass(slots=True)
class Tick:
    """One run of the timer, and what it did."""

    views: Views
    stop_at: float
    permits: asyncio.Semaphore
    taken: int = 0
    kept: int = 0
    ended: int = 0
    unreadable: int = 0
    stuck: int = 0
    receivers: int = field(default=0)

    def __str__(self) -> str:
        return (
            f"{self.taken} taken, {self.kept} kept for later, {self.ended} ended, "
            f"{self.unreadable} unreadable, {self.stuck} stuck"
        )


@dataclass(slots=True)
class _Run:
    """What one operation's run leads to, and how far that has come."""

    message_id: str
    dispatch: Dispatch
    told: bool = False
    kept: bool = False


class Poller:
    """The use case behind the timer trigger."""

    def __init__(
        self,
        runner: Runner,
        bus: OperationsBus,
        board: OperationsBoard,
        settings: Settings,
        *,
        now: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._runner = runner
        self._bus = bus
        self._board = board
        self._settings = settings
        self._now = now
        self._monotonic = monotonic

    async def tick(self) -> Tick:
        """Work until nothing is due or the time budget is used up; what is left then waits for the next tick.

        Trouble with Service Bus ends the tick early and is logged: every operation that was not settled comes again.
        """
        tick = Tick(
            views=self._runner.views(),
            stop_at=self._monotonic() + self._settings.tick_budget.total_seconds(),
            permits=asyncio.Semaphore(self._settings.poll_concurrency),
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
                while self._monotonic() < tick.stop_at:
                    batch = await due.receive(BATCH, wait=self._wait(tick))
                    if not batch:
                        return
                    if len(batch) == BATCH and tick.receivers < self._settings.poll_receivers:
                        self._add_receiver(group, tick)
                    tick.taken += len(batch)
                    await self._work(due, batch, tick)
        except BusUnavailable as error:
            logger.error("The tick ends early, what it held comes again: %s", error)

    def _wait(self, tick: Tick) -> float:
        wait = self._settings.receive_wait.total_seconds()
        return min(wait, FURTHER_WAIT) if tick.taken else wait

    async def _work(self, due: Due, batch: Sequence[Received], tick: Tick) -> None:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._proceed(received, tick)) for received in batch]
        outcomes = [(received, task.result()) for received, task in zip(batch, tasks, strict=True)]
        runs = [outcome for _, outcome in outcomes if isinstance(outcome, _Run)]
        await self._tell(runs)
        await self._keep(runs, tick)
        if over := [run.dispatch.request_id for run in runs if run.dispatch.release and run.told and run.kept]:
            await self._board.take_down(over)
        for received, outcome in outcomes:
            match outcome:
                case _Run(kept=True):
                    await due.complete(received)
                case UnreadableRecord(reason=reason, description=description):
                    tick.unreadable += 1
                    told = redact(description)
                    logger.error("Dead-lettered %s: %s: %s", received.message_id, reason, told)
                    await due.dead_letter(received, reason, told)
                case _:
                    tick.stuck += 1

    async def _proceed(self, received: Received, tick: Tick) -> _Run | UnreadableRecord | None:
        """One operation's run. None where something unforeseen happened: the message is left to its lock, comes again
        after it, and ends in the dead-letter queue if that does not help; the other operations go on."""
        try:
            operation = read_record(received.body)
        except UnreadableRecord as error:
            return error
        async with tick.permits:
            try:
                result = await self._runner.run(operation, tick.views, suspect=received.delivery_count > 1)
                run = _Run(received.message_id, dispatch(result, self._now()))
            except Exception as error:
                # No text and no trace: what is unforeseen may hold anything.
                logger.error("Operation %s is stuck: %s", received.message_id, type(error).__name__)
                return None
        if run.dispatch.keep is None:
            tick.ended += 1
            logger.info("Request %s: %s", operation.request_id, result.operation.describe())
        return run

    async def _tell(self, runs: Sequence[_Run]) -> None:
        """Publish what the runs have to tell; what cannot be goes into the operations' records."""
        events = [event for run in runs for event in run.dispatch.events]
        try:
            await self._bus.publish(events)
        except BusUnavailable as error:
            if isinstance(error, MessageTooLarge) and len(runs) > 1:
                for run in runs:
                    await self._tell([run])
                return
            logger.error("%d events are kept for later: %s", len(events), error)
            return
        for run in runs:
            run.told = True

    async def _keep(self, runs: Sequence[_Run], tick: Tick) -> None:
        """Send the operations' next records. One that is too large is stuck, and must not hold up the others."""
        try:
            records = [record for run in runs if (record := record_to_keep(run.dispatch, told=run.told)) is not None]
            await self._bus.track(records)
        except (MessageTooLarge, ValueError) as error:
            if len(runs) == 1:
                logger.error("Operation %s is stuck: %s", runs[0].message_id, error)
                return
            for run in runs:
                await self._keep([run], tick)
            return
        tick.kept += len(records)
        for run in runs:
            run.kept = True
