"""Carries out the steps of the lifecycle: the one place where decisions meet Azure Resource Manager."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from maintenance.arm import untrusted
from maintenance.errors import ArmError, Refused, Throttled
from maintenance.holds import Holds
from maintenance.instances import Instance
from maintenance.lifecycle import Lifecycle
from maintenance.observations import ErrorDetail, Reading, Submission
from maintenance.observations import Throttled as ThrottledAnswer
from maintenance.operation import Call, Operation, Phase
from maintenance.operation_urls import UntrustedUrl
from maintenance.resources import ScaleSet
from maintenance.starting import UNAUTHORIZED_ATTEMPTS
from maintenance.steps import End, Look, Poll, Post, Step, Wait

# A run takes a handful of steps; more means that decisions chase each other.
MAX_STEPS = 20
HELD = ErrorDetail("Throttled", "ARM asked for a pause in this subscription, which is not over yet.")


class Arm(Protocol):
    """What is used of `arm.ResourceManager`."""

    async def perform_maintenance(self, scale_set: ScaleSet, instance_ids: tuple[str, ...] | None) -> Submission: ...

    async def read_operation(self, scale_set: ScaleSet, call: Call) -> Reading: ...

    async def list_instances(self, scale_set: ScaleSet) -> list[Instance]: ...


class Views:
    """Instance listings, one per scale set: a tick keeps them for all of its operations that end."""

    def __init__(self, arm: Arm) -> None:
        self._arm = arm
        self._locks: dict[str, asyncio.Lock] = {}
        self._listings: dict[str, list[Instance] | ArmError] = {}

    async def of(self, scale_set: ScaleSet) -> list[Instance]:
        """Raises ArmError."""
        key = scale_set.key
        async with self._locks.setdefault(key, asyncio.Lock()):
            if key not in self._listings:
                try:
                    self._listings[key] = await self._arm.list_instances(scale_set)
                except ArmError as error:
                    self._listings[key] = error
            listing = self._listings[key]
        if isinstance(listing, ArmError):
            raise listing
        return listing

    def forget(self, scale_set: ScaleSet) -> None:
        """The instances are about to change, or what is decided next must not rest on an older look."""
        self._listings.pop(scale_set.key, None)


class Runner:
    """`allows` bounds what may be posted, whatever a record says; `now` gives aware times."""

    def __init__(
        self,
        arm: Arm,
        lifecycle: Lifecycle,
        *,
        allows: Callable[[ScaleSet], bool],
        now: Callable[[], datetime],
        holds: Holds | None = None,
    ) -> None:
        self._arm = arm
        self._lifecycle = lifecycle
        self._allows = allows
        self._now = now
        self._holds = holds or Holds()

    def views(self) -> Views:
        return Views(self._arm)

    async def run(self, operation: Operation, views: Views, *, suspect: bool) -> Wait | End:
        """Take steps until the operation has to wait or has ended."""
        step: Step = self._lifecycle.resume(operation, self._now(), suspect=suspect)
        for _ in range(MAX_STEPS):
            match step:
                case Wait() | End():
                    return step
                case Look(operation=current):
                    step = await self._look(current, views, suspect=suspect)
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
        if operation.phase is not Phase.FOLLOWING:
            views.forget(scale_set)
        try:
            instances = await views.of(scale_set)
        except Refused as error:
            return self._lifecycle.after_denied(operation, error.error, self._now())
        except ArmError as error:
            if error.status == 401 and operation.failures + 1 >= UNAUTHORIZED_ATTEMPTS:
                return self._lifecycle.after_denied(operation, error.error, self._now())
            self._hold(scale_set, error)
            return self._lifecycle.after_unseen(operation, error.error, self._now(), retry_after=error.retry_after)
        return self._lifecycle.after_look(operation, instances, self._now(), suspect=suspect)

    async def _poll(self, operation: Operation, calls: tuple[Call, ...]) -> Step:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._read(operation.scale_set, call)) for call in calls]
        readings: list[tuple[Call, Reading]] = []
        for call, task in zip(calls, tasks, strict=True):
            reading = task.result()
            if isinstance(reading, UntrustedUrl):
                return self._lifecycle.after_untrusted(operation, untrusted(reading), self._now())
            readings.append((call, reading))
        return self._lifecycle.after_poll(operation, readings, self._now())

    async def _read(self, scale_set: ScaleSet, call: Call) -> Reading | UntrustedUrl:
        if (left := self._holds.left(scale_set.subscription_id, self._now())) is not None:
            return ThrottledAnswer(HELD, left)
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
        if (left := self._holds.left(scale_set.subscription_id, self._now())) is not None:
            return self._lifecycle.after_post(operation, ThrottledAnswer(HELD, left), instance_ids, self._now())
        try:
            submission = await self._arm.perform_maintenance(scale_set, instance_ids)
        except UntrustedUrl as error:
            return self._lifecycle.after_untrusted(operation, untrusted(error), self._now())
        self._hold(scale_set, submission)
        return self._lifecycle.after_post(operation, submission, instance_ids, self._now())

    def _hold(self, scale_set: ScaleSet, answer: object) -> None:
        if isinstance(answer, (Throttled, ThrottledAnswer)) and answer.retry_after is not None:
            self._holds.note(scale_set.subscription_id, self._now() + answer.retry_after)
