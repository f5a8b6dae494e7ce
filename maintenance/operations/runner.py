"""Performs the actions of the state machine and hands back what was observed. It decides nothing."""

from __future__ import annotations

import asyncio
import functools
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from maintenance.arm.error_details import untrusted
from maintenance.coordination.entries import EntriesRead, Entry, own_leases
from maintenance.domain import message_ids
from maintenance.domain.errors import ArmError, BusUnavailable, RefusedError, UntrustedUrl
from maintenance.domain.instances import Tags
from maintenance.domain.observations import Ambiguous, ErrorDetail, Reading, Submission
from maintenance.domain.operation import Call, Operation
from maintenance.domain.resources import ScaleSet
from maintenance.lifecycle.actions import (
    Action,
    Continue,
    Delivered,
    Denied,
    Done,
    LeaseReleased,
    LeaseTaken,
    LeaveToJudge,
    NotTheOne,
    Observation,
    OperationRead,
    Poll,
    Posted,
    Read,
    ReleaseLease,
    StateRead,
    Submit,
    Submitted,
    TakeLease,
    Unavailable,
    Untrusted,
)
from maintenance.lifecycle.machine import next_action
from maintenance.lifecycle.rules import Rules
from maintenance.operations.instance_views import InstanceViews, caught, result
from maintenance.operations.ports import UNWATCHED, Arm, Coordination, RecordSender, RunWatch, Settle
from maintenance.operations.progress_log import report_decision, report_submission
from maintenance.operations.records import to_record, to_successor
from maintenance.operations.units import NO_TIME, TAKES
from maintenance.policies.tags import TagPolicy

logger = logging.getLogger(__name__)

# A delivery takes a handful of actions; more means that decisions chase each other.
MAX_ACTIONS = 10
MAX_POSTS = 64


class Runner:
    """Runs deliveries under one set of rules. `now` gives aware times, `monotonic` seconds."""

    def __init__(
        self,
        arm: Arm,
        bus: RecordSender,
        coordination: Coordination,
        rules: Rules,
        *,
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
        watch: RunWatch = UNWATCHED,
        read_tags: Callable[[Tags], TagPolicy] | None = None,
    ) -> None:
        self._watch = watch
        self._read_tags = read_tags
        self._arm = arm
        self._bus = bus
        self._coordination = coordination
        self._rules = rules
        self._now = now
        self._monotonic = monotonic
        self._posts = asyncio.Semaphore(MAX_POSTS)

    def views(self) -> InstanceViews:
        """For one tick."""
        max_age = self._rules.timing.state_age.total_seconds()
        return InstanceViews(
            self._arm, max_age=max_age, now=self._now, monotonic=self._monotonic, read_tags=self._read_tags
        )

    async def run(
        self,
        operation: Operation,
        *,
        redelivered: bool,
        settle: Settle,
        views: InstanceViews,
        enqueued_at: datetime | None = None,
        until: float = math.inf,
    ) -> Continue | Done | LeaveToJudge:
        """Perform actions until the delivery ends. `LeaveToJudge`: the message is completed, or is another's.

        `enqueued_at` is Service Bus's time: where the worker's clock is behind it, that counts. Otherwise what is to
        come later would be due at once, again and again. `until` (monotonic): what could last longer is put off. Raises
        BusUnavailable where a record could not be sent: the message is then left to its lock."""
        # A record that lay for long may have been delivered before, its lock lost without being counted: were it to
        # act, the JUDGE of that delivery could be due by then.
        stale = enqueued_at is not None and self._now() - enqueued_at > self._rules.timing.fresh
        observation: Observation = Delivered(redelivered or stale)
        current = operation
        for _ in range(MAX_ACTIONS):
            now = self._now() if enqueued_at is None else max(self._now(), enqueued_at)
            action = next_action(self._rules, current, observation, now)
            match action:
                case Continue() | Done() | LeaveToJudge():
                    report_decision(operation, action, self._watch)
                    return action
            current = action.operation
            # What follows from NO_TIME is begun in any case: it puts off, and for a POST record that is a `Submit` too.
            if observation is not NO_TIME and until - self._monotonic() < TAKES.get(type(action), 0.0):
                observation = NO_TIME
            elif isinstance(action, Submit):
                return await self._submit(action, now, settle, views)
            else:
                observation = await self._perform(action, views, until)
        raise RuntimeError(
            f"record {operation.message_id} took more than {MAX_ACTIONS} actions; the last: {type(action).__name__}"
        )

    async def _perform(self, action: Action, views: InstanceViews, until: float) -> Observation:
        match action:
            case Read():
                return await self._read(action, views, until)
            case TakeLease():
                return await self._take_lease(action)
            case Poll(operation=operation, calls=calls):
                return await self._poll(operation.scale_set, calls)
            case ReleaseLease():
                return await self._release_lease(action)
        raise AssertionError(f"{type(action).__name__} ends a delivery")

    async def _read(self, action: Read, views: InstanceViews, until: float) -> Observation:
        operation, asked_at = action.operation, self._now()
        state_read = StateRead(asked_at=asked_at)
        list_instances = functools.partial(
            views.of,
            operation.scale_set,
            flexible=operation.flexible,
            newer_than=action.newer_than,
            begun_by=until - TAKES[Read],
            tags=action.tags,
        )
        try:
            async with asyncio.TaskGroup() as group:
                entries = group.create_task(caught(self._coordination.read)) if action.coordination else None
                listing = group.create_task(caught(list_instances)) if action.views else None
            if entries is not None:
                state_read = replace(state_read, entries=self._about(operation, result(entries.result())))
            if listing is not None:
                listed = result(listing.result())
                state_read = replace(
                    state_read,
                    instances=listed.instances,
                    flexible=listed.flexible,
                    asked_at=min(asked_at, listed.time),
                    views_asked_at=listed.time,
                    tags=listed.tags,
                )
        except BusUnavailable as error:
            return _bus_unavailable(error)
        except RefusedError as error:
            return Denied(error.error)
        except ArmError as error:
            return Unavailable(error.error, error.retry_after, error.status)
        return state_read

    async def _take_lease(self, action: TakeLease) -> Observation:
        try:
            await self._coordination.put(action.lease)
            entries = self._about(action.operation, await self._coordination.read())
            return LeaseTaken(replace(action.state_read, entries=entries))
        except BusUnavailable as error:
            return _bus_unavailable(error)

    def _about(self, operation: Operation, entries: EntriesRead) -> Sequence[Entry]:
        return entries.about(operation.scale_set.key, leases=self._rules.limits.across)

    async def _release_lease(self, action: ReleaseLease) -> Observation:
        operation = action.operation
        try:
            if action.note is not None:
                # Before the lease goes: whoever sees the lease gone sees this.
                await self._coordination.put(action.note)
            own = own_leases(await self._coordination.read(), operation.run_id)
            for lease in own:
                await self._coordination.cancel(lease.number)
            if not own:
                await self._coordination.use_up(message_ids.lease(operation.run_id))
        except BusUnavailable as error:
            return _bus_unavailable(error)
        return LeaseReleased(bool(own))

    async def _poll(self, scale_set: ScaleSet, calls: tuple[Call, ...]) -> Observation:
        readings: list[tuple[Call, Reading]] = []
        for call, reading in zip(calls, await self._read_operations(scale_set, calls), strict=True):
            if isinstance(reading, UntrustedUrl):
                return Untrusted(untrusted(reading))
            readings.append((call, reading))
        return OperationRead(readings)

    async def _read_operations(self, scale_set: ScaleSet, calls: tuple[Call, ...]) -> list[Reading | UntrustedUrl]:
        if len(calls) == 1:
            # As nearly always, and a task costs as much as all else that is done with the response.
            return [await self._read_operation(scale_set, calls[0])]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._read_operation(scale_set, call)) for call in calls]
        return [task.result() for task in tasks]

    async def _read_operation(self, scale_set: ScaleSet, call: Call) -> Reading | UntrustedUrl:
        try:
            return await self._arm.read_operation(scale_set, call)
        except UntrustedUrl as error:
            return error

    # ------------------------------------------------------------------ intent, complete, act

    async def _submit(
        self, action: Submit, decided_at: datetime, settle: Settle, views: InstanceViews
    ) -> Continue | Done | LeaveToJudge:
        """Send JUDGE, complete the POST record, and only then post; send what ARM responded, and take JUDGE back. Where
        nothing is to be posted, send what follows instead."""
        operation = action.operation
        began_at, began = self._now(), self._monotonic()
        left = action.seconds_left(self._rules.timing, began_at, decided_at)
        judge_number = await self._bus.schedule(to_record(action.judge, action.due))
        if not await settle():
            logger.warning("Record %s was not confirmed as completed: nothing is posted", operation.message_id)
            return self._conclude(operation, NotTheOne())
        views.forget(operation.scale_set)
        sent_at = self._now()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._post(operation, ids, began + left)) for ids in action.groups]
        responses = [(ids, task.result()) for ids, task in zip(action.groups, tasks, strict=True)]
        concluded = action.instead or self._conclude(operation, _submitted(responses, began_at, sent_at))
        report_submission(operation, concluded, self._watch)
        # Until something follows, JUDGE would find out about the POST, and report it.
        await self._watch.flush()
        if isinstance(concluded, Continue):
            try:
                await self._bus.send([to_successor(concluded, self._now())])
                await self._bus.cancel(judge_number)
            except BusUnavailable as error:
                logger.warning(
                    "Record %s: sending its successor, or canceling JUDGE, failed: %s", operation.message_id, error
                )
        return LeaveToJudge(operation)

    def _conclude(self, operation: Operation, observation: Observation) -> Continue | Done | LeaveToJudge:
        action = next_action(self._rules, operation, observation, self._now())
        if not isinstance(action, Continue | Done | LeaveToJudge):
            raise AssertionError(f"{type(action).__name__} after a POST")  # noqa: TRY004 - a bug of ours, not of a caller
        return action

    async def _post(
        self, operation: Operation, ids: tuple[str, ...] | None, until: float
    ) -> Submission | UntrustedUrl | None:
        """None: not sent, since the stopwatch or the age of what was read forbids it by now."""
        async with self._posts:
            if self._monotonic() >= until:
                return None
            began_at, response = self._now(), await self._call(operation, ids)
            self._watch.posted(operation, ids, response, began_at, self._now())
            return response

    async def _call(self, operation: Operation, ids: tuple[str, ...] | None) -> Submission | UntrustedUrl:
        try:
            if operation.flexible and ids is not None:
                return await self._arm.perform_vm_maintenance(operation.scale_set, ids[0])
            return await self._arm.perform_maintenance(operation.scale_set, ids)
        except UntrustedUrl as error:
            return error


def _submitted(
    responses: Sequence[tuple[tuple[str, ...] | None, Submission | UntrustedUrl | None]], *times: datetime
) -> Observation:
    posted: list[Posted] = [(ids, each) for ids, each in responses if not isinstance(each, UntrustedUrl)]
    wrong = next((each for _, each in responses if isinstance(each, UntrustedUrl)), None)
    if wrong is None:
        return Submitted(posted, *times)
    return Untrusted(untrusted(wrong), in_flight=any(isinstance(each, Ambiguous) for _, each in posted))


def _bus_unavailable(error: BusUnavailable) -> Unavailable:
    return Unavailable(ErrorDetail("ServiceBusUnavailable", str(error)))
