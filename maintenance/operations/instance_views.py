"""The instance views of scale sets, read once in a tick for all of its operations that need them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Protocol, TypeVar

from maintenance.domain.errors import ArmError, BusUnavailable, RefusedError, TransientError
from maintenance.domain.instances import Instance, Tags
from maintenance.domain.observations import ErrorDetail
from maintenance.domain.resources import ScaleSet
from maintenance.policies.tags import TagPolicy

T = TypeVar("T")
# Seconds, for a listing with all that it takes: one over its pages 90, and where the set turns out to be Flexible, its
# mode and another. So a message's lock of 300 has room for it, and for a poll before.
LISTED_WITHIN: Final = 120.0
TOO_SLOW = ErrorDetail("Timeout", f"The instances could not be listed within {LISTED_WITHIN:g} seconds.")
TOO_LATE = ErrorDetail("NoTimeLeft", "Azure responded so late that no time was left to list the instances.")


class InstanceLister(Protocol):
    """What is used of `arm.throttling.ThrottlingGateway`."""

    async def is_flexible(self, scale_set: ScaleSet) -> bool: ...

    async def read_tags(self, scale_set: ScaleSet) -> Tags: ...

    async def list_instances(self, scale_set: ScaleSet, *, flexible: bool = False) -> list[Instance]: ...


@dataclass(frozen=True, slots=True)
class Listing:
    """The instances of a scale set, asked for at `time` (`at` on the monotonic clock), with the tags where those were
    asked for; or why there are none, which was known at `failed_at`."""

    time: datetime
    at: float
    instances: list[Instance]
    flexible: bool
    error: ArmError | None = None
    failed_at: float = -math.inf
    tags: TagPolicy | None = None


class InstanceViews:
    """Listings, one per scale set. `max_age` (seconds): how old one may be that is shared. Who has seen one already,
    and was not content, gets a newer one. Who waited for one that failed does not try again: each would wait in turn,
    while its message's lock runs."""

    def __init__(
        self,
        arm: InstanceLister,
        *,
        max_age: float,
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
        read_tags: Callable[[Tags], TagPolicy] | None = None,
    ) -> None:
        self._arm = arm
        self._read_tags = read_tags
        self._max_age = max_age
        self._now = now
        self._monotonic = monotonic
        self._locks: dict[tuple[str, bool | None], asyncio.Lock] = {}
        # By the way of listing, too: what a Flexible set responds to the one for Uniform sets is nothing to the other.
        self._listings: dict[tuple[str, bool | None], Listing] = {}

    async def of(
        self,
        scale_set: ScaleSet,
        *,
        flexible: bool | None = None,
        newer_than: datetime | None = None,
        begun_by: float = math.inf,
        tags: bool = False,
    ) -> Listing:
        """`flexible` is None where the orchestration mode is not known yet. `begun_by` (monotonic): none is
        begun after it. `tags`: read them as well. Raises ArmError."""
        key, asked_at = (scale_set.key, flexible), self._monotonic()
        async with self._locks.setdefault(key, asyncio.Lock()):
            listing = self._listings.get(key)
            if listing is not None and listing.error is not None and listing.failed_at > asked_at:
                raise listing.error
            if (
                listing is None
                or self._monotonic() - listing.at > self._max_age
                or (newer_than is not None and listing.time <= newer_than)
                or (tags and listing.tags is None)
            ):
                if self._monotonic() > begun_by:
                    raise TransientError("list the instances", TOO_LATE)
                listing = self._listings[key] = await self._list(scale_set, flexible, tags=tags)
                if flexible is None and listing.error is None:
                    # Who knows the mode by now may share it.
                    self._listings[scale_set.key, listing.flexible] = listing
        if listing.error is not None:
            raise listing.error
        return listing

    def forget(self, scale_set: ScaleSet) -> None:
        """The instances are about to change."""
        for flexible in (None, False, True):
            self._listings.pop((scale_set.key, flexible), None)

    async def _list(self, scale_set: ScaleSet, flexible: bool | None, *, tags: bool) -> Listing:
        time, at = self._now(), self._monotonic()
        try:
            async with asyncio.timeout(LISTED_WITHIN):
                if tags and self._read_tags is not None:
                    return await self._list_with_tags(scale_set, flexible, self._read_tags)
                return await self._list_as(scale_set, flexible)
        except TimeoutError:
            error: ArmError = TransientError("list the instances", TOO_SLOW)
        except ArmError as failed:
            error = failed
        return Listing(time, at, [], bool(flexible), error, self._monotonic())

    async def _list_with_tags(
        self, scale_set: ScaleSet, flexible: bool | None, read_tags: Callable[[Tags], TagPolicy]
    ) -> Listing:
        async with asyncio.TaskGroup() as group:
            listed = group.create_task(caught(lambda: self._list_as(scale_set, flexible)))
            tags = group.create_task(caught(lambda: self._arm.read_tags(scale_set)))
        return replace(result(listed.result()), tags=read_tags(result(tags.result())))

    async def _list_as(self, scale_set: ScaleSet, flexible: bool | None) -> Listing:
        time, at = self._now(), self._monotonic()
        if flexible is not None:
            return Listing(time, at, await self._arm.list_instances(scale_set, flexible=flexible), flexible)
        try:
            instances = await self._arm.list_instances(scale_set)
        except RefusedError as error:
            # A Flexible set refuses to expand views from the set; one that cannot be listed for other reasons
            # cannot be asked for its mode either.
            if error.status != 400 or not await self._arm.is_flexible(scale_set):
                raise
        else:
            # Only instances of Uniform sets have numbers for ids: then the mode need not be read.
            numbered = bool(instances) and all(each.instance_id.isdigit() for each in instances)
            if numbered or not await self._arm.is_flexible(scale_set):
                return Listing(time, at, instances, flexible=False)
        time, at = self._now(), self._monotonic()
        return Listing(time, at, await self._arm.list_instances(scale_set, flexible=True), flexible=True)


async def caught(call: Callable[[], Awaitable[T]]) -> T | ArmError | BusUnavailable:
    """What a call returns or raises, as a value, for one of a group of tasks. Not given the coroutine itself: a task
    that is canceled before it begins would leave it unawaited."""
    try:
        return await call()
    except (ArmError, BusUnavailable) as error:
        return error


def result(caught: T | ArmError | BusUnavailable) -> T:
    """The value, or raises the error that was caught."""
    if isinstance(caught, (ArmError, BusUnavailable)):
        raise caught
    return caught
