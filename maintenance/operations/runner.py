"""Performs the actions of the state machine and hands back what was observed. It decides nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TypeVar

from maintenance.arm.resource_manager import untrusted
from maintenance.domain.coordination import LEASE_OUTLASTS_DEADLINE, Entry, Lease
from maintenance.domain.errors import ArmError, BusUnavailable, RefusedError, UntrustedUrl
from maintenance.domain.instances import Instance
from maintenance.domain.observations import ErrorDetail, Reading, Submission
from maintenance.domain.operation import Call, Operation, Phase
from maintenance.domain.resources import ScaleSet
from maintenance.lifecycle.actions import (
    Action,
    Denied,
    End,
    LeaseTaken,
    Observation,
    OperationRead,
    PollOperation,
    Post,
    Posted,
    ReadViews,
    Resumed,
    Rules,
    Submitted,
    TakeLease,
    Unavailable,
    Untrusted,
    ViewsRead,
    Wait,
)
from maintenance.lifecycle.machine import next_action
from maintenance.operations.instance_views import InstanceViews, Listing

# A run takes a handful of actions; more means that decisions chase each other.
MAX_ACTIONS = 20
MAX_POSTS = 64
T = TypeVar("T")


class Arm(Protocol):
    """What is used of `arm.throttling.ThrottlingGateway`."""

    async def perform_maintenance(self, scale_set: ScaleSet, instance_ids: tuple[str, ...] | None) -> Submission: ...

    async def perform_vm_maintenance(self, scale_set: ScaleSet, vm_name: str) -> Submission: ...

    async def is_flexible(self, scale_set: ScaleSet) -> bool: ...

    async def read_operation(self, scale_set: ScaleSet, call: Call) -> Reading: ...

    async def list_instances(self, scale_set: ScaleSet, *, flexible: bool = False) -> list[Instance]: ...


class Coordination(Protocol):
    """What is used of `servicebus.coordination_queue.CoordinationQueue`."""

    async def read(self) -> list[Entry]: ...

    async def put(self, entry: Entry) -> None: ...


@dataclass(frozen=True, slots=True)
class _Read:
    listing: Listing
    flexible: bool
    entries: Sequence[Entry] = ()


class Runner:
    """Runs operations under one set of rules. `now` gives aware times."""

    def __init__(self, arm: Arm, rules: Rules, *, coordination: Coordination, now: Callable[[], datetime]) -> None:
        self._arm = arm
        self._rules = rules
        self._coordination = coordination
        self._now = now
        self._vm_posts = asyncio.Semaphore(MAX_POSTS)

    def views(self) -> InstanceViews:
        return InstanceViews(self._arm, self._now)

    async def run(self, operation: Operation, views: InstanceViews, *, may_have_started: bool) -> Wait | End:
        """Perform actions until the operation has to wait or has ended."""
        observation: Observation = Resumed()
        current = operation
        for _ in range(MAX_ACTIONS):
            action = next_action(self._rules, current, observation, self._now(), may_have_started=may_have_started)
            if isinstance(action, Wait | End):
                return action
            current = action.operation
            observation = await self._perform(action, views)
        raise RuntimeError(
            f"operation {operation.message_id} takes no end of actions; the last: {type(action).__name__}"
        )

    async def _perform(self, action: Action, views: InstanceViews) -> Observation:
        match action:
            case ReadViews(operation=operation):
                return await self._read_views(operation, views)
            case TakeLease():
                return await self._take_lease(action)
            case PollOperation(operation=operation, calls=calls):
                return await self._poll(operation.scale_set, calls)
            case Post(operation=operation, instance_ids=instance_ids):
                views.forget(operation.scale_set)
                return await self._post(operation, instance_ids)
        raise AssertionError(f"{type(action).__name__} ends a run")

    async def _read_views(self, operation: Operation, views: InstanceViews) -> Observation:
        try:
            read = await self._read_all_views(operation, views)
        except BusUnavailable as error:
            return _bus_unavailable(error)
        except RefusedError as error:
            return Denied(error.error)
        except ArmError as error:
            return Unavailable(error.error, error.retry_after, error.status)
        return ViewsRead(read.listing.instances, read.entries, read.flexible, read.listing.time)

    async def _read_all_views(self, operation: Operation, views: InstanceViews) -> _Read:
        """What the next decision rests on. Raises ArmError or BusUnavailable."""
        scale_set = operation.scale_set
        flexible = bool(operation.flexible)
        if operation.phase is Phase.TRACKING:
            listing = await views.of(scale_set, flexible=flexible, newer_than=operation.views_read_at)
            return _Read(listing, flexible)
        views.forget(scale_set)
        listed, entries = await _together(views.of(scale_set, flexible=flexible), self._coordination.read())
        unknown = operation.flexible is None and not _shows_uniform(listed)
        if unknown and await self._arm.is_flexible(scale_set):
            views.forget(scale_set)
            return _Read(await views.of(scale_set, flexible=True), True, _result(entries))
        return _Read(_result(listed), flexible, _result(entries))

    async def _take_lease(self, action: TakeLease) -> Observation:
        operation = action.unplanned
        until = operation.deadline + LEASE_OUTLASTS_DEADLINE
        try:
            await self._coordination.put(Lease(operation.request_id, operation.scale_set.key, until))
            return LeaseTaken(action, await self._coordination.read())
        except BusUnavailable as error:
            return _bus_unavailable(error)

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

    async def _post(self, operation: Operation, instance_ids: tuple[str, ...] | None) -> Observation:
        groups: list[tuple[str, ...] | None] = [instance_ids]
        if operation.flexible and instance_ids is not None:
            groups = [(vm_name,) for vm_name in instance_ids]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._submit(operation, ids)) for ids in groups]
        posted: list[Posted] = []
        for ids, task in zip(groups, tasks, strict=True):
            submission = task.result()
            if isinstance(submission, UntrustedUrl):
                return Untrusted(untrusted(submission))
            posted.append((ids, submission))
        return Submitted(posted)

    async def _submit(self, operation: Operation, ids: tuple[str, ...] | None) -> Submission | UntrustedUrl:
        async with self._vm_posts:
            try:
                if operation.flexible and ids is not None:
                    return await self._arm.perform_vm_maintenance(operation.scale_set, ids[0])
                return await self._arm.perform_maintenance(operation.scale_set, ids)
            except UntrustedUrl as error:
                return error


def _bus_unavailable(error: BusUnavailable) -> Unavailable:
    return Unavailable(ErrorDetail("ServiceBusUnavailable", str(error)))


async def _together(*calls: Awaitable[Any]) -> list[Any]:
    """The results of `calls` made at the same time; of those that failed as calls do, the errors."""

    async def caught(call: Awaitable[Any]) -> Any:
        try:
            return await call
        except (ArmError, BusUnavailable) as error:
            return error

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(caught(call)) for call in calls]
    return [task.result() for task in tasks]


def _shows_uniform(listed: Listing | ArmError | BusUnavailable) -> bool:
    """Whether the orchestration mode need not be read: only instances of Uniform sets have numbers for ids, and a set
    that cannot be listed for other reasons cannot be asked for its mode either."""
    if isinstance(listed, Listing):
        return bool(listed.instances) and all(instance.instance_id.isdigit() for instance in listed.instances)
    # A Flexible set refuses to expand views from the set.
    return not (isinstance(listed, RefusedError) and listed.status == 400)


def _result(result: T | ArmError | BusUnavailable) -> T:
    if isinstance(result, (ArmError, BusUnavailable)):
        raise result
    return result
