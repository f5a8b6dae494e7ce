"""A discovery is delivered: find the scale sets whose maintenance is planned, and send a request for each.

Nothing is started here. Each request is handled as any other: validated, held against the allowed scopes, and its
instances read again before anything is posted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from maintenance.alerts.messages import (
    BATCH,
    Discovery,
    batch,
    first_id_of,
    maintenance_request,
    read_discovery,
    to_discovery_record,
)
from maintenance.alerts.rules import AlertRules, Target
from maintenance.alerts.schemas import normal
from maintenance.domain import message_ids
from maintenance.domain.errors import ArmError, PolicyViolation, Problem, ProblemsError, RefusedError
from maintenance.domain.instances import NO_TAGS, Instance, InstanceState, ScaleSetSummary, Tags
from maintenance.domain.messages import Delivery, Record, read_document, trace_of
from maintenance.domain.operation import Reply
from maintenance.domain.redaction import redact
from maintenance.domain.resources import ScaleSet, Scope
from maintenance.lifecycle.rules import Timing
from maintenance.operations.records import to_reply_record
from maintenance.policies.tags import EXCLUDED, TagPolicy

logger = logging.getLogger(__name__)
# Each is one page or a few; many more at once only meet Resource Manager's limits sooner.
READ_AT_ONCE = BATCH
MAX_PROBLEMS = 50


class RecordSender(Protocol):
    """What is used of `servicebus.bus.Bus`. Raises BusUnavailable."""

    async def send(self, records: Sequence[Record]) -> None: ...


class DiscoveryRules(Protocol):
    """What is used of `settings.Settings`."""

    @property
    def allowed_scopes(self) -> tuple[Scope, ...]: ...

    @property
    def read_instance_views(self) -> bool: ...

    @property
    def operations_queue(self) -> str: ...

    @property
    def default_deadline(self) -> timedelta: ...

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
    """A scale set to read. `flexible` is None where that is not known yet."""

    scale_set: ScaleSet
    flexible: bool | None = None
    tags: Tags = NO_TAGS


@dataclass(frozen=True, slots=True)
class _Found:
    """What reading one scale set came to: the ids that may be maintained, or why it could not be read."""

    scale_set: ScaleSet
    tags: Tags = NO_TAGS
    eligible: tuple[str, ...] = ()
    failure: ArmError | None = None

    @property
    def denied(self) -> bool:
        """It is there and may not be read; one that is gone needs nothing."""
        return isinstance(self.failure, RefusedError) and self.failure.status != 404

    @property
    def transient(self) -> bool:
        return self.failure is not None and not isinstance(self.failure, RefusedError)


class Discoverer:
    """The use case behind a discovery, a message of the operations queue. `now` gives aware times."""

    def __init__(
        self,
        arm: DiscoveryArm,
        bus: RecordSender,
        rules: DiscoveryRules,
        *,
        read_tags: Callable[[Tags], TagPolicy],
        now: Callable[[], datetime],
    ) -> None:
        self._read_tags = read_tags
        self._arm = arm
        self._bus = bus
        self._rules = rules
        self._now = now

    async def handle(self, delivery: Delivery) -> None:
        """Send a request for each scale set with planned maintenance; what could not be read for now is retried. What
        may not be read is rejected once all else is done. Raises BusUnavailable."""
        try:
            discovery = read_discovery(read_document(delivery.envelope))
        except ProblemsError as error:
            await self._reject(delivery, self._rejection([delivery.envelope.run_id], error.problems), error.problems)
            return
        discovery = replace(discovery, begun=discovery.begun or delivery.enqueued_at or self._now())
        try:
            self._check(discovery)
            records = await self._follow(discovery)
        except ProblemsError as error:
            rejection = self._rejection(_identity(discovery), error.problems, discovery)
            await self._reject(delivery, rejection, error.problems)
            return
        trace = trace_of(delivery.properties)
        await self._bus.send([replace(each, properties={**each.properties, **trace}) for each in records])

    async def _follow(self, discovery: Discovery) -> list[Record]:
        """What follows from a discovery. Raises ProblemsError."""
        if discovery.scale_sets is not None:
            known = discovery.tags
            parts = [_Candidate(each, tags=known.get(each.key, NO_TAGS)) for each in discovery.scale_sets]
            return await self._read_all(discovery, parts)
        try:
            listed = await self._list(discovery)
        except RefusedError as error:
            raise ProblemsError((_problem(error),)) from None
        except ArmError as error:
            return [self._retry(discovery, [error])]
        wanted, problems = self._by_tags(listed)
        rejected = [self._rejection([*_identity(discovery), "tags"], problems, discovery)] if problems else []
        if len(wanted) <= BATCH:
            return [*await self._read_all(discovery, wanted), *rejected]
        discovery = replace(discovery, tags={each.scale_set.key: each.tags for each in wanted})
        names = [candidate.scale_set for candidate in wanted]
        batches = [names[start : start + BATCH] for start in range(0, len(names), BATCH)]
        return [*(batch(discovery, each, self._rules.alerts) for each in batches), *rejected]

    def _by_tags(self, listed: Sequence[_Candidate]) -> tuple[list[_Candidate], list[Problem]]:
        """Those that their tags do not keep out, and what is wrong with tags that nobody can read: nothing is started
        there, and an event says so."""
        read = [(each, self._read_tags(each.tags).problems) for each in listed]
        logger.info("Discovery left out %d scale sets by their tags", sum(bool(found) for _, found in read))
        unreadable = [(each, problem) for each, found in read if EXCLUDED not in found for problem in found]
        problems = [replace(problem, field=f"{each.scale_set}, {problem.field}") for each, problem in unreadable]
        return [each for each, found in read if not found], problems

    def _check(self, discovery: Discovery) -> None:
        """Raises PolicyViolation with everything this app does not allow about the discovery."""
        problems = []
        if not self._rules.read_instance_views:
            problems.append(Problem("discover", "needs instance views, and this app does not read them"))
        scopes = self._rules.allowed_scopes
        if discovery.subscription_id.lower() not in {scope.subscription_id.lower() for scope in scopes}:
            problem = "has nothing within MAINTENANCE_ALLOWED_SCOPES of this app"
            problems.append(Problem("discover.subscriptionId", problem, discovery.subscription_id))
        problems += [
            Problem("discover.scaleSets", "is not within MAINTENANCE_ALLOWED_SCOPES of this app", each.resource_id)
            for each in discovery.scale_sets or ()
            if not self._rules.allows(each)
        ]
        if problems:
            raise PolicyViolation(tuple(problems))

    async def _list(self, discovery: Discovery) -> list[_Candidate]:
        """The scale sets to read, in an order that is always the same."""
        limit = {normal(region) for region in self._rules.alerts.regions}
        regions = set(discovery.regions) if discovery.regions is not None else None
        found = {
            each.scale_set.key: _Candidate(each.scale_set, each.flexible, each.tags)
            for each in await self._arm.list_scale_sets(discovery.subscription_id)
            if (regions is None or each.location in regions)
            and (not limit or each.location in limit)
            and each.scale_set.subscription_id.lower() == discovery.subscription_id.lower()
            and self._rules.allows(each.scale_set)
        }
        return [found[key] for key in sorted(found)]

    async def _read_all(self, discovery: Discovery, candidates: Sequence[_Candidate]) -> list[Record]:
        permits = asyncio.Semaphore(READ_AT_ONCE)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._read(candidate, permits)) for candidate in candidates]
        found = [task.result() for task in tasks]
        records = [
            maintenance_request(
                Target(each.scale_set, each.eligible, each.tags), discovery.origin, discovery.reason, self._rules.alerts
            )
            for each in found
            if each.eligible
        ]
        logger.info(
            "Discovery %s read %d scale sets: %d with planned maintenance, %d that cannot be read",
            discovery.origin,
            len(found),
            len(records),
            sum(each.failure is not None for each in found),
        )
        denied = [each for each in found if each.denied and each.failure is not None]
        transient = [each for each in found if each.transient and each.failure is not None]
        if transient:
            tags = {each.scale_set.key: each.tags for each in transient}
            sets = tuple(each.scale_set for each in transient)
            left = replace(discovery, regions=None, scale_sets=sets, tags=tags)
            records.append(self._retry(left, [each.failure for each in transient if each.failure is not None]))
        if denied:
            problems = tuple(_problem(each.failure) for each in denied if each.failure is not None)
            which = [*_identity(discovery), *(each.scale_set.key for each in denied)]
            records.append(self._rejection(which, problems, discovery))
        return records

    async def _read(self, candidate: _Candidate, permits: asyncio.Semaphore) -> _Found:
        scale_set = candidate.scale_set
        async with permits:
            try:
                instances = await self._instances(candidate)
            except ArmError as error:
                return _Found(scale_set, candidate.tags, failure=error)
        eligible = (each.instance_id for each in instances if each.state is InstanceState.ELIGIBLE)
        return _Found(scale_set, candidate.tags, tuple(eligible))

    async def _instances(self, candidate: _Candidate) -> list[Instance]:
        flexible = candidate.flexible
        if flexible is None:
            flexible = await self._arm.is_flexible(candidate.scale_set)
        return await self._arm.list_instances(candidate.scale_set, flexible=flexible)

    def _retry(self, discovery: Discovery, failures: Sequence[ArmError]) -> Record:
        """The same again later, until the time that a request has by default is over. Raises ProblemsError then."""
        now = self._now()
        if discovery.begun is not None and now > discovery.begun + self._rules.default_deadline:
            error = failures[0].error
            problem = Problem("discover", f"could not be carried out in time: {error.code}: {error.message}")
            raise ProblemsError((problem,))
        pauses = [error.retry_after for error in failures if error.retry_after is not None]
        attempt = discovery.attempt + 1
        due = self._rules.timing.back_off(now, attempt, discovery.first_id, max(pauses, default=None))
        return to_discovery_record(replace(discovery, attempt=attempt), self._rules.alerts, due)

    async def _reject(self, delivery: Delivery, rejection: Record, problems: Sequence[Problem]) -> None:
        message = "; ".join(str(problem) for problem in problems)
        logger.warning("Discovery %s rejected: %s", delivery.message_id, redact(message)[:1000])
        await self._bus.send([rejection])

    def _rejection(
        self, which: Sequence[str], problems: Sequence[Problem], discovery: Discovery | None = None
    ) -> Record:
        """One event for what could not be read, the same whenever it is found again. It names the discovery, if that is
        known, as the response to its alert did."""
        run_id = message_ids.short_hash(*which, length=32)
        request_id = f"discover-{run_id}"
        if discovery is not None and discovery.first_id:
            request_id = first_id_of(discovery, self._rules.alerts)
        reply = Reply(
            run_id=run_id,
            request_id=request_id,
            at=self._now(),
            source=f"/queues/{self._rules.operations_queue}",
            problems=tuple((each.field, each.message, each.value) for each in problems[:MAX_PROBLEMS]),
        )
        return to_reply_record(reply, None)


def _identity(discovery: Discovery) -> list[str]:
    """What tells it from the same discovery of another day."""
    return [discovery.first_id, discovery.begun.isoformat() if discovery.begun else ""]


def _problem(error: ArmError) -> Problem:
    return Problem("discover", f"cannot {error.doing}: {error.error.code}: {error.error.message}")
