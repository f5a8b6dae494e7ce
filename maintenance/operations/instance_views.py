"""The instance views of scale sets, read once in a tick for all of its operations that need them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from maintenance.domain.errors import ArmError
from maintenance.domain.instances import Instance
from maintenance.domain.resources import ScaleSet


class InstanceLister(Protocol):
    """What is used of `arm.resource_manager.ResourceManager`."""

    async def list_instances(self, scale_set: ScaleSet, *, flexible: bool = False) -> list[Instance]: ...


@dataclass(frozen=True, slots=True)
class Listing:
    """The instances of a scale set, asked for at `time`; or why there is no answer."""

    time: datetime
    instances: list[Instance]
    error: ArmError | None = None


class InstanceViews:
    """Instance listings, one per scale set: a tick keeps them for all of its operations that end.

    An operation that has seen a listing already, and was not content, gets a newer one.
    """

    def __init__(self, arm: InstanceLister, now: Callable[[], datetime]) -> None:
        self._arm = arm
        self._now = now
        self._locks: dict[tuple[str, bool], asyncio.Lock] = {}
        # By the way of listing, too: what a Flexible set answers to the one for Uniform sets is nothing to the other.
        self._listings: dict[tuple[str, bool], Listing] = {}

    async def of(self, scale_set: ScaleSet, *, flexible: bool = False, newer_than: datetime | None = None) -> Listing:
        """Raises ArmError."""
        key = (scale_set.key, flexible)
        async with self._locks.setdefault(key, asyncio.Lock()):
            listing = self._listings.get(key)
            if listing is None or (newer_than is not None and listing.time <= newer_than):
                time = self._now()
                try:
                    listing = Listing(time, await self._arm.list_instances(scale_set, flexible=flexible))
                except ArmError as error:
                    listing = Listing(time, [], error)
                self._listings[key] = listing
        if listing.error is not None:
            raise listing.error
        return listing

    def forget(self, scale_set: ScaleSet) -> None:
        """The instances are about to change, or what is decided next must not rest on an older look."""
        for flexible in (False, True):
            self._listings.pop((scale_set.key, flexible), None)
