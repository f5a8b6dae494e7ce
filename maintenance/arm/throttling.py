"""Throttling as a decorator of `ResourceManager`: makes no call to a subscription before ARM's pause is over.

The pauses are in memory. A new process learns of a pause with its first call, which ARM throttles again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Protocol, TypeVar

from maintenance.domain.errors import ThrottledError
from maintenance.domain.instances import Instance, ScaleSetSummary, Tags
from maintenance.domain.observations import ErrorDetail, Reading, Submission, Throttled
from maintenance.domain.operation import Call
from maintenance.domain.resources import ScaleSet

T = TypeVar("T")
PAUSED = ErrorDetail("Throttled", "ARM has throttled this subscription, and the pause is not over yet.")


class Gateway(Protocol):
    """The interface of `resource_manager.ResourceManager`, which the decorator has too."""

    async def perform_maintenance(self, scale_set: ScaleSet, instance_ids: Sequence[str] | None) -> Submission: ...

    async def perform_vm_maintenance(self, scale_set: ScaleSet, vm_name: str) -> Submission: ...

    async def read_operation(self, scale_set: ScaleSet, call: Call) -> Reading: ...

    async def is_flexible(self, scale_set: ScaleSet) -> bool: ...

    async def read_tags(self, scale_set: ScaleSet) -> Tags: ...

    async def list_instances(self, scale_set: ScaleSet, *, flexible: bool = False) -> list[Instance]: ...

    async def list_scale_sets(self, subscription_id: str) -> list[ScaleSetSummary]: ...


class ThrottlingGateway:
    """Gateway that pauses all calls to a subscription after a 429; one per process.

    During a pause, submissions and readings are `Throttled`, and the other methods raise ThrottledError. Otherwise each
    method returns and raises what the decorated one does. `default_pause` is the pause after a 429 without Retry-After.
    `monotonic` gives seconds: a machine's clock that is put right must neither end a pause nor draw it out.
    """

    def __init__(self, gateway: Gateway, *, default_pause: timedelta, monotonic: Callable[[], float]) -> None:
        self._gateway = gateway
        self._default_pause = default_pause
        self._monotonic = monotonic
        self._paused_until: dict[str, float] = {}

    async def perform_maintenance(self, scale_set: ScaleSet, instance_ids: Sequence[str] | None) -> Submission:
        if (left := self._left(scale_set.subscription_id)) is not None:
            return Throttled(PAUSED, left)
        submission = await self._gateway.perform_maintenance(scale_set, instance_ids)
        self._note(scale_set, submission)
        return submission

    async def perform_vm_maintenance(self, scale_set: ScaleSet, vm_name: str) -> Submission:
        if (left := self._left(scale_set.subscription_id)) is not None:
            return Throttled(PAUSED, left)
        submission = await self._gateway.perform_vm_maintenance(scale_set, vm_name)
        self._note(scale_set, submission)
        return submission

    async def read_operation(self, scale_set: ScaleSet, call: Call) -> Reading:
        if (left := self._left(scale_set.subscription_id)) is not None:
            return Throttled(PAUSED, left)
        reading = await self._gateway.read_operation(scale_set, call)
        self._note(scale_set, reading)
        return reading

    async def is_flexible(self, scale_set: ScaleSet) -> bool:
        return await self._read(scale_set.subscription_id, lambda: self._gateway.is_flexible(scale_set))

    async def read_tags(self, scale_set: ScaleSet) -> Tags:
        return await self._read(scale_set.subscription_id, lambda: self._gateway.read_tags(scale_set))

    async def list_instances(self, scale_set: ScaleSet, *, flexible: bool = False) -> list[Instance]:
        return await self._read(
            scale_set.subscription_id, lambda: self._gateway.list_instances(scale_set, flexible=flexible)
        )

    async def list_scale_sets(self, subscription_id: str) -> list[ScaleSetSummary]:
        return await self._read(subscription_id, lambda: self._gateway.list_scale_sets(subscription_id))

    async def _read(self, subscription_id: str, call: Callable[[], Awaitable[T]]) -> T:
        if (left := self._left(subscription_id)) is not None:
            raise ThrottledError("read", PAUSED, retry_after=left)
        try:
            return await call()
        except ThrottledError as error:
            self._pause(subscription_id, error.retry_after)
            raise

    def _note(self, scale_set: ScaleSet, response: Submission | Reading) -> None:
        if isinstance(response, Throttled) and response.whole_subscription:
            self._pause(scale_set.subscription_id, response.retry_after)

    def _pause(self, subscription_id: str, retry_after: timedelta | None) -> None:
        key = subscription_id.lower()
        until = self._monotonic() + (retry_after or self._default_pause).total_seconds()
        self._paused_until[key] = max(until, self._paused_until.get(key, until))

    def _left(self, subscription_id: str) -> timedelta | None:
        """The time left of the subscription's pause; None if there is no pause."""
        key = subscription_id.lower()
        until = self._paused_until.get(key)
        if until is None:
            return None
        if until <= (now := self._monotonic()):
            del self._paused_until[key]
            return None
        return timedelta(seconds=until - now)
