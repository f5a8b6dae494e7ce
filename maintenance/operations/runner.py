"""X"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol, TypeVar

from maintenance.arm.resource_manager import untrusted
from maintenance.arm.throttling import HELD, Holds
from maintenance.domain.coordination import ROLLOUT_OUTLASTS_DEADLINE, Notice, NoticeKind
from maintenance.domain.errors import ArmError, BusUnavailable, RefusedError, ThrottledError, UntrustedUrl
from maintenance.domain.instances import Instance
from maintenance.domain.observations import ErrorDetail, Reading, Submission, Throttled
from maintenance.domain.operation import Call, Operation, Phase
from maintenance.domain.resources import ScaleSet
from maintenance.lifecycle.actions import Claim, End, Look, Poll, Post, Step, Wait
from maintenance.lifecycle.machine import Lifecycle
from maintenance.lifecycle.transitions import still_unauthorized
from maintenance.operations.instance_views import Listing, Views

# A run takes a handful of steps; more means that decisions chase each other.
MAX_STEPS = 20
MAX_POSTS = 64
T = TypeVar("T")


class Arm(Protocol):
    """What is used of `arm.ResourceManager`."""

    async def perform_maintenance(self, scale_set: ScaleSet, instance_ids: tuple[str, ...] | None) -> Submission: ...

    async def perform_vm_maintenance(self, scale_set: ScaleSet, vm_name: str) -> Submission: ...

    async def is_flexible(self, scale_set: ScaleSet) -> bool: ...

    async def read_operation(self, scale_set: ScaleSet, call: Call) -> Reading: ...

    async def list_instances(self, scale_set: ScaleSet, *, flexible: bool = False) -> list[Instance]: ...


class Board(Protocol):
    """What is used of `notice_board.NoticeBoard`."""

    async def read(self) -> list[Notice]: ...

    async def put_up(self, notice: Notice) -> None: ...


@dataclass(frozen=True, slots=True)
class _Seen:
    listing: Listing
    flexible: bool
    notices: Sequence[Notice] = ()


class Runner:
    """`allows` bounds what may be posted, whatever a record says; `now` gives aware times."""

    def __init__(
        self,
        arm: Arm,
        lifecycle: Lifecycle,
        *,
        board: Board,
        allows: Callable[[ScaleSet], bool],
        now: Callable[[], datetime],
        holds: Holds | None = None,
    ) -> None:
        self._arm = arm
        self._board = board
        self._lifecycle = lifecycle
        self._allows = allows
        self._now = now
        self._holds = holds or Holds()
        self._vm_posts = asyncio.Semaphore(MAX_POSTS)

    def views(self) -> Views:
        return Views(self._arm, self._now)

    async def run(self, operation: Operation, views: Views, *, suspect: bool) -> Wait | End:
        """Take steps until the operation has to wait or has ended."""
        step: Step = self._lifecycle.resume(operation, self._now(), suspect=suspect)
        for _ in range(MAX_STEPS):
            match step:
                case Wait() | End():
                    return step
                case Look(operation=current):
                    step = await self._look(current, views, suspect=suspect)
                case Claim():
                    step = await self._claim(step, suspect=suspect)
                case Poll(operation=current, calls=calls):
                    step = await self._poll(current, calls)
                case Post(operation=current, instance_ids=instance_ids):
                    views.forget(current.scale_set)
                    step = await self._post(current, instance_ids)
        raise RuntimeError(f"operation {operation.message_id} takes no end of steps; the last: {type(step).__name__}")

    async def _look(self, operation: Operation, views: Views, *, suspect: bool) -> Step:
        scale_set = operation.scale_set
        if (left := self._holds.left(scale_set.subscription_id, self._now())) is not None:
            return self._lifecycle.after_unseen(operation, HELD, self._now(), retry_after=left)
        try:
            seen = await self._survey(operation, views)
        except BusUnavailable as error:
            return self._without_notices(operation, error)
        except RefusedError as error:
            return self._lifecycle.after_denied(operation, error.error, self._now())
        except ArmError as error:
            following = operation.phase is Phase.FOLLOWING
            if error.status == 401 and not following and still_unauthorized(operation, error.error):
                return self._lifecycle.after_denied(operation, error.error, self._now())
            self._hold(scale_set, error)
            return self._lifecycle.after_unseen(operation, error.error, self._now(), retry_after=error.retry_after)
        operation = replace(operation, flexible=seen.flexible, looked_at=seen.listing.time)
        return self._lifecycle.after_look(
            operation, seen.listing.instances, self._now(), suspect=suspect, notices=seen.notices
        )

    async def _survey(self, operation: Operation, views: Views) -> _Seen:
        """What the next decision rests on. Raises ArmError or BusUnavailable."""
        scale_set = operation.scale_set
        if operation.phase is Phase.FOLLOWING:
            flexible = bool(operation.flexible)
            listing = await views.of(scale_set, flexible=flexible, newer_than=operation.looked_at)
            return _Seen(listing, flexible)
        views.forget(scale_set)
        flexible = bool(operation.flexible)
        listed, notices = await _together(views.of(scale_set, flexible=flexible), self._board.read())
        unknown = operation.flexible is None and not _shows_uniform(listed)
        if unknown and await self._arm.is_flexible(scale_set):
            views.forget(scale_set)
            return _Seen(await views.of(scale_set, flexible=True), True, _got(notices))
        return _Seen(_got(listed), flexible, _got(notices))

    async def _claim(self, claim: Claim, *, suspect: bool) -> Step:
        operation = claim.unplanned
        until = operation.deadline + ROLLOUT_OUTLASTS_DEADLINE
        notice = Notice(NoticeKind.ROLLOUT, operation.request_id, operation.scale_set.key, until)
        try:
            await self._board.put_up(notice)
            notices = await self._board.read()
        except BusUnavailable as error:
            return self._without_notices(operation, error)
        return self._lifecycle.after_claim(claim, notices, self._now(), suspect=suspect)

    def _without_notices(self, operation: Operation, error: BusUnavailable) -> Step:
        trouble = ErrorDetail("ServiceBusUnavailable", str(error))
        return self._lifecycle.after_unseen(operation, trouble, self._now(), retry_after=None)

    async def _poll(self, operation: Operation, calls: tuple[Call, ...]) -> Step:
        readings: list[tuple[Call, Reading]] = []
        for call, reading in zip(calls, await self._read_all(operation.scale_set, calls), strict=True):
            if isinstance(reading, UntrustedUrl):
                return self._lifecycle.after_untrusted(operation, untrusted(reading), self._now())
            readings.append((call, reading))
        return self._lifecycle.after_poll(operation, readings, self._now())

    async def _read_all(self, scale_set: ScaleSet, calls: tuple[Call, ...]) -> list[Reading | UntrustedUrl]:
        if len(calls) == 1:
            # As nearly always, and a task costs as much as all else that is done with the answer.
            return [await self._read(scale_set, calls[0])]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._read(scale_set, call)) for call in calls]
        return [task.result() for task in tasks]

    async def _read(self, scale_set: ScaleSet, call: Call) -> Reading | UntrustedUrl:
        if (left := self._holds.left(scale_set.subscription_id, self._now())) is not None:
            return Throttled(HELD, left)
        try:
            reading = await self._arm.read_operation(scale_set, call)
        except UntrustedUrl as error:
            return error
        self._hold(scale_set, reading)
        return reading

    async def _post(self, operation: Operation, instance_ids: tuple[str, ...] | None) -> Step:
        scale_set = operation.scale_set
        if not self._allows(scale_set):
            told = f"{scale_set.resource_id} is not within MAINTENANCE_ALLOWED_SCOPES"
            return self._lifecycle.after_denied(operation, ErrorDetail("ScopeNotAllowed", told), self._now())
        groups: list[tuple[str, ...] | None] = [instance_ids]
        if operation.flexible and instance_ids is not None:
            groups = [(vm_name,) for vm_name in instance_ids]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._submit(operation, ids)) for ids in groups]
        posted: list[tuple[tuple[str, ...] | None, Submission]] = []
        for ids, task in zip(groups, tasks, strict=True):
            submission = task.result()
            if isinstance(submission, UntrustedUrl):
                return self._lifecycle.after_untrusted(operation, untrusted(submission), self._now())
            posted.append((ids, submission))
        return self._lifecycle.after_posts(operation, posted, self._now())

    async def _submit(self, operation: Operation, ids: tuple[str, ...] | None) -> Submission | UntrustedUrl:
        scale_set = operation.scale_set
        async with self._vm_posts:
            if (left := self._holds.left(scale_set.subscription_id, self._now())) is not None:
                return Throttled(HELD, left)
            try:
                if operation.flexible and ids is not None:
                    submission = await self._arm.perform_vm_maintenance(scale_set, ids[0])
                else:
                    submission = await self._arm.perform_maintenance(scale_set, ids)
            except UntrustedUrl as error:
                return error
        self._hold(scale_set, submission)
        return submission

    def _hold(self, scale_set: ScaleSet, answer: object) -> None:
        """After a 429 the subscription is left alone, for a little while where ARM names none."""
        if isinstance(answer, ThrottledError) or (isinstance(answer, Throttled) and answer.whole_subscription):
            pause = answer.retry_after or self._lifecycle.rules.timing.min_poll
            self._holds.note(scale_set.subscription_id, self._now() + pause)


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
    """Whether there is no need to ask for the orchestration mode: only instances of Uniform sets have numbers for ids,
    and a set that cannot be listed for other reasons cannot be asked for its mode either."""
    if isinstance(listed, Listing):
        return bool(listed.instances) and all(instance.instance_id.isdigit() for instance in listed.instances)
    # A Flexible set refuses to expand views from the set.
    return not (isinstance(listed, RefusedError) and listed.status == 400)


def _got(result: T | ArmError | BusUnavailable) -> T:
    if isinstance(result, (ArmError, BusUnavailable)):
        raise result
    return result
