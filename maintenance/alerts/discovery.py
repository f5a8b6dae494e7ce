"""X"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TypeVar

from maintenance.alerts.messages import MOST_SCALE_SETS, Discovery, Message, batch, maintenance_request, read_discovery
from maintenance.alerts.rules import AlertRules, Target
from maintenance.alerts.schemas import normal
from maintenance.domain.errors import ArmError, PolicyViolation, Problem, ProblemsError, RefusedError
from maintenance.domain.instances import Instance, InstanceState, ScaleSetSummary
from maintenance.domain.messages import Envelope, RequestsQueue, RetryLater, trace_of
from maintenance.domain.resources import ScaleSet, Scope
from maintenance.lifecycle.timing import Timing

logger = logging.getLogger(__name__)
T = TypeVar("T")
# Each look is one page or a few; many more at once only meet Resource Manager's limits sooner.
LOOKS_AT_ONCE = 8


class DiscoveryRules(Protocol):
    """What is used of `settings.Settings`."""

    @property
    def allowed_scopes(self) -> tuple[Scope, ...]: ...

    @property
    def read_instance_views(self) -> bool: ...

    @property
    def timing(self) -> Timing: ...

    @property
    def alerts(self) -> AlertRules: ...

    def allows(self, scale_set: ScaleSet) -> bool: ...


class DiscoveryArm(Protocol):
    """What is used of `arm.throttling.ThrottlingGateway`."""

    async def list_scale_sets(self, subscription_id: str) -> list[ScaleSetSummary]: ...

    async def is_flexible(self, scale_set: ScaleSet) -> bool: ...

    async def list_instances(self, scale_set: ScaleSet, *, flexible: bool = False) -> list[Instance]: ...


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A scale set to look at. `flexible` is None where that is not known yet."""

    scale_set: ScaleSet
    flexible: bool | None = None


@dataclass(frozen=True, slots=True)
class _Look:
    """What a look at one scale set came to: the ids that may be maintained, or why there was nothing to be seen."""

    scale_set: ScaleSet
    eligible: tuple[str, ...] = ()
    failure: ArmError | None = None

    @property
    def denied(self) -> bool:
        """It is there and may not be looked at; one that is gone needs nothing."""
        return isinstance(self.failure, RefusedError) and self.failure.status != 404

    @property
    def passing(self) -> bool:
        return self.failure is not None and not isinstance(self.failure, RefusedError)


class Discoverer:
    """The use case behind a discovery. `now` gives aware times."""

    def __init__(
        self, arm: DiscoveryArm, bus: RequestsQueue, rules: DiscoveryRules, *, now: Callable[[], datetime]
    ) -> None:
        self._arm = arm
        self._bus = bus
        self._rules = rules
        self._now = now

    def recognizes(self, document: dict[str, Any]) -> bool:
        return "discover" in document

    async def handle(self, envelope: Envelope, document: dict[str, Any], *, attempt: int) -> RetryLater | None:
        """Put requests on the queue; what could not be looked at for now comes again.

        Raises InvalidRequest, PolicyViolation, or ProblemsError with what may not be looked at, once all else is done.
        """
        discovery = read_discovery(document)
        self._check(discovery)
        if discovery.scale_sets is not None:
            return await self._look(discovery, [_Candidate(each) for each in discovery.scale_sets], envelope, attempt)
        try:
            listed = await self._list(discovery)
        except RefusedError as error:
            raise ProblemsError((_problem(error),)) from None
        except ArmError as error:
            return self._retry_later(envelope.body, [error], envelope, attempt)
        if len(listed) <= MOST_SCALE_SETS:
            return await self._look(discovery, listed, envelope, attempt)
        names = [candidate.scale_set for candidate in listed]
        parts = [names[start : start + MOST_SCALE_SETS] for start in range(0, len(names), MOST_SCALE_SETS)]
        await self._enqueue([batch(discovery, part, self._rules.alerts) for part in parts], envelope)
        return None

    def _check(self, discovery: Discovery) -> None:
        """Raises PolicyViolation with everything this app does not allow about the discovery."""
        problems = []
        if not self._rules.read_instance_views:
            problems.append(Problem("discover", "needs instance views, and this app does not read them"))
        scopes = self._rules.allowed_scopes
        if discovery.subscription_id.lower() not in {scope.subscription_id.lower() for scope in scopes}:
            told = "has nothing within MAINTENANCE_ALLOWED_SCOPES of this app"
            problems.append(Problem("discover.subscriptionId", told, discovery.subscription_id))
        problems += [
            Problem("discover.scaleSets", "is not within MAINTENANCE_ALLOWED_SCOPES of this app", each.resource_id)
            for each in discovery.scale_sets or ()
            if not self._rules.allows(each)
        ]
        if problems:
            raise PolicyViolation(tuple(problems))

    async def _list(self, discovery: Discovery) -> list[_Candidate]:
        """The scale sets to look at, in an order that is always the same."""
        limit = {normal(region) for region in self._rules.alerts.regions}
        regions = set(discovery.regions) if discovery.regions is not None else None
        found = {
            each.scale_set.key: _Candidate(each.scale_set, each.flexible)
            for each in await self._arm.list_scale_sets(discovery.subscription_id)
            if (regions is None or each.location in regions)
            and (not limit or each.location in limit)
            and each.scale_set.subscription_id.lower() == discovery.subscription_id.lower()
            and self._rules.allows(each.scale_set)
        }
        return [found[key] for key in sorted(found)]

    async def _look(
        self, discovery: Discovery, candidates: Sequence[_Candidate], envelope: Envelope, attempt: int
    ) -> RetryLater | None:
        permits = asyncio.Semaphore(LOOKS_AT_ONCE)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._look_at(candidate, permits)) for candidate in candidates]
        looks = [task.result() for task in tasks]
        requests = [
            maintenance_request(
                Target(look.scale_set, look.eligible), discovery.origin, discovery.reason, self._rules.alerts
            )
            for look in looks
            if look.eligible
        ]
        await self._enqueue(requests, envelope)
        logger.info(
            "Discovery %s: %d scale sets looked at, %d with planned maintenance, %d cannot be seen",
            discovery.origin,
            len(looks),
            len(requests),
            sum(look.failure is not None for look in looks),
        )
        denied = [look.failure for look in looks if look.denied and look.failure is not None]
        passing = [look.failure for look in looks if look.passing and look.failure is not None]
        if passing:
            # What may not be looked at is told at the end, so it goes along.
            left = [look.scale_set for look in looks if look.passing or look.denied]
            return self._retry_later(batch(discovery, left, self._rules.alerts).body, passing, envelope, attempt)
        if denied:
            raise ProblemsError(tuple(_problem(error) for error in denied))
        return None

    async def _look_at(self, candidate: _Candidate, permits: asyncio.Semaphore) -> _Look:
        scale_set = candidate.scale_set
        async with permits:
            try:
                instances = await self._instances(candidate)
            except ArmError as error:
                return _Look(scale_set, failure=error)
        eligible = (each.instance_id for each in instances if each.state is InstanceState.ELIGIBLE)
        return _Look(scale_set, eligible=tuple(eligible))

    async def _instances(self, candidate: _Candidate) -> list[Instance]:
        flexible = candidate.flexible
        if flexible is None:
            flexible = await self._arm.is_flexible(candidate.scale_set)
        return await self._arm.list_instances(candidate.scale_set, flexible=flexible)

    def _retry_later(self, body: bytes, failures: Sequence[ArmError], envelope: Envelope, attempt: int) -> RetryLater:
        pauses = [error.retry_after for error in failures if error.retry_after is not None]
        seed = envelope.message_id or "discovery"
        due = self._rules.timing.back_off(self._now(), attempt + 1, seed, max(pauses, default=None))
        return RetryLater(body, due, failures[0].error)

    async def _enqueue(self, messages: Sequence[Message], envelope: Envelope) -> None:
        """All messages, together; one that is on the queue already is not put there again. Raises BusUnavailable."""
        sends = [
            self._bus.enqueue(
                message.body,
                message_id=message.message_id,
                due=None,
                correlation_id=envelope.correlation_id,
                properties=trace_of(envelope.properties),
            )
            for message in messages
        ]
        await asyncio.gather(*sends)


def _problem(error: ArmError) -> Problem:
    return Problem("discover", f"cannot {error.doing}: {error.error.code}: {error.error.message}")
