"""The scan: the timer sends a message for each subscription, and a delivery of it reads, tells and asks.

The messages are in the operations queue, so what Resource Manager throttles goes on once its pause is over, in
whichever process, and no delivery takes longer than a part does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol

from maintenance.alerts.discovery import READ_AT_ONCE, DiscoveryRules
from maintenance.alerts.messages import maintenance_request
from maintenance.alerts.rules import Target
from maintenance.coordination.entries import Entry
from maintenance.domain import message_ids
from maintenance.domain.errors import ArmError, Problem, ProblemsError, RefusedError
from maintenance.domain.instances import Instance, ScaleSetSummary
from maintenance.domain.messages import Delivery, MaintenanceEvent, Record, read_document
from maintenance.domain.operation import Reply
from maintenance.domain.redaction import redact
from maintenance.domain.resources import ScaleSet
from maintenance.operations.records import to_reply_record
from maintenance.requests.tags import read_tag_policy
from maintenance.scan.decisions import Due, Reading, ScanPolicy, is_worth_telling, judge
from maintenance.scan.events import due_event
from maintenance.scan.messages import Scan, read_scan, to_scan_record

logger = logging.getLogger(__name__)
# Read at once, within one lock of 5 minutes: a listing ends after 90 s.
PART = READ_AT_ONCE
MAX_PROBLEMS = 50
REASON = "A scan found that maintenance is due."


class ScanArm(Protocol):
    """What is used of `arm.throttling.ThrottlingGateway`."""

    async def list_scale_sets(self, subscription_id: str) -> list[ScaleSetSummary]: ...

    async def list_instances(self, scale_set: ScaleSet, *, flexible: bool = False) -> list[Instance]: ...


class ScanBus(Protocol):
    """What is used of `servicebus.bus.Bus`. All raise BusUnavailable."""

    async def send(self, records: Sequence[Record]) -> None: ...

    async def publish(self, events: Sequence[MaintenanceEvent]) -> None: ...


class Entries(Protocol):
    """What is used of `servicebus.coordination_queue.CoordinationQueue`. Raises BusUnavailable."""

    async def read(self) -> Sequence[Entry]: ...


class ScanRules(DiscoveryRules, Protocol):
    """What is used of `settings.Settings`."""

    @property
    def scan(self) -> ScanPolicy: ...


class Scanner:
    """The use cases behind the timer and behind its messages. `now` gives aware times."""

    def __init__(
        self, arm: ScanArm, bus: ScanBus, coordination: Entries, rules: ScanRules, *, now: Callable[[], datetime]
    ) -> None:
        self._arm = arm
        self._bus = bus
        self._coordination = coordination
        self._rules = rules
        self._now = now

    async def begin(self) -> int:
        """Send a scan of each subscription within the allowed scopes, and return how many: on the same day only the
        first is kept. Raises BusUnavailable."""
        if self._rules.scan.mode == "off":
            return 0
        now = self._now()
        day = now.astimezone(UTC).date().isoformat()
        subscriptions = sorted({scope.subscription_id.lower() for scope in self._rules.allowed_scopes})
        await self._bus.send([to_scan_record(Scan(subscription_id=each, day=day, begun=now)) for each in subscriptions])
        return len(subscriptions)

    async def handle(self, delivery: Delivery) -> None:
        """Carry out a scan, or a part of one. What may not be read for now is read later, until the time that a request
        has by default is over; then an event says what was not scanned. Raises BusUnavailable."""
        if self._rules.scan.mode == "off":
            return
        try:
            scan = read_scan(read_document(delivery.envelope))
        except ProblemsError as error:
            await self._bus.send([self._rejection(delivery.envelope.run_id, error.problems)])
            return
        if scan.parts is not None:
            await self._scan(scan, [each for each in scan.parts if self._rules.allows(each.scale_set)])
            return
        try:
            listed = await self._arm.list_scale_sets(scan.subscription_id)
        except ArmError as error:
            await self._bus.send([self._later(scan, [error])])
            return
        allowed = {each.scale_set.key: each for each in listed if self._is_of(scan, each)}
        ordered = [allowed[key] for key in sorted(allowed)]
        if len(ordered) <= PART:
            await self._scan(scan, ordered)
            return
        parts = (tuple(ordered[start : start + PART]) for start in range(0, len(ordered), PART))
        await self._bus.send([to_scan_record(replace(scan, parts=part, attempt=0)) for part in parts])

    def _is_of(self, scan: Scan, each: ScaleSetSummary) -> bool:
        own = each.scale_set.subscription_id.lower() == scan.subscription_id.lower()
        return own and self._rules.allows(each.scale_set)

    async def _scan(self, scan: Scan, summaries: Sequence[ScaleSetSummary]) -> None:
        permits = asyncio.Semaphore(READ_AT_ONCE)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._read(each, permits)) for each in summaries]
        found = [task.result() for task in tasks]
        readings = [each for each in found if isinstance(each, Reading)]
        dues = await self._judge([each for each in readings if is_worth_telling(each)])
        rules = self._rules.scan.alerts
        origin = message_ids.short_hash("scan", scan.day)
        requests: list[Record] = []
        events: list[MaintenanceEvent] = []
        for due in dues:
            request = None
            if due.requests:
                ids = tuple(each.instance_id for each in due.instances)
                request = maintenance_request(
                    Target(due.summary.scale_set, ids, due.summary.tags), origin, REASON, rules
                )
                requests.append(request)
            requested = request.message_id if request is not None else None
            events.append(due_event(due, scan.day, self._now(), requested=requested))
        # Events first: a delivery that begins anew would find its own requests under way.
        if events:
            await self._bus.publish(events)
        unread = [(each, failed) for each, failed in zip(summaries, found, strict=True) if isinstance(failed, ArmError)]
        later = []
        if unread:
            left = replace(scan, parts=tuple(each for each, _ in unread))
            later.append(self._later(left, [failed for _, failed in unread]))
        await self._bus.send([*requests, *later])
        logger.info(
            "Scan of %s read %d scale sets: %d told, %d requested, %d to be read later",
            scan.day,
            len(readings),
            len(events),
            len(requests),
            len(unread),
        )

    async def _read(self, summary: ScaleSetSummary, permits: asyncio.Semaphore) -> Reading | ArmError:
        """The error where it may be another time."""
        tags = read_tag_policy(summary.tags)
        async with permits:
            try:
                instances = await self._arm.list_instances(summary.scale_set, flexible=summary.flexible)
            except RefusedError as error:
                # One that is gone needs nothing.
                denied = None if error.status == 404 else f"{error.error.code}: {error.error.message}"
                return Reading(summary, denied=denied, tags=tags)
            except ArmError as error:
                return error
        return Reading(summary, tuple(instances), tags=tags)

    async def _judge(self, readings: Sequence[Reading]) -> list[Due]:
        if not readings:
            return []
        entries = await self._coordination.read()
        now = self._now()
        found = (judge(reading, entries, self._rules.scan, now) for reading in readings)
        return [due for due in found if due is not None]

    def _later(self, scan: Scan, failures: Sequence[ArmError]) -> Record:
        """The same again once it may be; the end where that cannot help, or its time is over."""
        now = self._now()
        final = any(isinstance(each, RefusedError) for each in failures)
        if final or now > scan.begun + self._rules.default_deadline:
            return self._not_scanned(scan, failures[0])
        pauses = [each.retry_after for each in failures if each.retry_after is not None]
        attempt = scan.attempt + 1
        due = self._rules.timing.back_off(now, attempt, scan.subscription_id, max(pauses, default=None))
        return to_scan_record(replace(scan, attempt=attempt), due)

    def _not_scanned(self, scan: Scan, failure: ArmError) -> Record:
        why = f"was not scanned: cannot {failure.doing}: {failure.error.code}: {failure.error.message}"
        named = [each.scale_set.resource_id for each in scan.parts or ()] or [f"/subscriptions/{scan.subscription_id}"]
        problems = [Problem("scan", why, each) for each in named]
        return self._rejection(message_ids.scan_run(scan.day, *named), problems, f"scan-{scan.day}")

    def _rejection(self, run_id: str, problems: Sequence[Problem], request_id: str | None = None) -> Record:
        message = "; ".join(str(problem) for problem in problems)
        logger.warning("Scan rejected: %s", redact(message)[:1000])
        reply = Reply(
            run_id=run_id,
            request_id=request_id or f"scan-{run_id}",
            at=self._now(),
            source=f"/queues/{self._rules.operations_queue}",
            problems=tuple((each.field, each.message, each.value) for each in problems[:MAX_PROBLEMS]),
        )
        return to_reply_record(reply, None)
