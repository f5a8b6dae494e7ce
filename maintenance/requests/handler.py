"""X"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Protocol

from maintenance.domain.errors import BusUnavailable, PolicyViolation, Problem, ProblemsError, not_allowed
from maintenance.domain.messages import Envelope, MaintenanceEvent, QueueBus, Record, Taker, read_document, trace_of
from maintenance.domain.observations import ErrorDetail
from maintenance.domain.operation import Operation
from maintenance.domain.redaction import redact
from maintenance.lifecycle.actions import End, Wait
from maintenance.lifecycle.events import rejected
from maintenance.operations.outbox import RETRY_AFTER, dispatch, record_to_keep
from maintenance.operations.records import to_record
from maintenance.operations.runner import Runner
from maintenance.requests.inbound import Delivery, read_delivery
from maintenance.requests.schema import MaintenanceRequest, read_request
from maintenance.settings import Settings

logger = logging.getLogger(__name__)
LONGEST_AHEAD = timedelta(days=35)


class RequestBus(QueueBus, Protocol):
    """What is used of `bus.Bus`."""

    async def track(self, records: Sequence[Record]) -> None: ...

    async def publish(self, events: Sequence[MaintenanceEvent]) -> None: ...


class RequestHandler:
    """The use case behind the queue trigger."""

    def __init__(
        self,
        runner: Runner,
        bus: RequestBus,
        settings: Settings,
        *,
        now: Callable[[], datetime],
        others: Sequence[Taker] = (),
    ) -> None:
        self._others = others
        self._runner = runner
        self._bus = bus
        self._settings = settings
        self._now = now

    async def handle(self, envelope: Envelope) -> None:
        """Handle one message. Returns when all that follows from it is kept; raises what is unforeseen."""
        try:
            document = read_document(envelope)
        except ProblemsError as error:
            await self._reject(read_delivery(envelope, None, self._now()), error.problems, None)
            return
        delivery = read_delivery(envelope, document, self._now())
        if taker := next((other for other in self._others if other.takes(document)), None):
            await self._hand_on(taker, delivery, document)
            return
        request = None
        try:
            request = replace(read_request(envelope, document), request_id=delivery.request_id)
            self._check(request, delivery)
        except ProblemsError as error:
            await self._reject(delivery, error.problems, request)
            return
        await self._start(request, delivery)

    async def _hand_on(self, taker: Taker, delivery: Delivery, document: dict[str, Any]) -> None:
        """No request but another kind of message: a good one ends silently, what follows from it speaks for itself."""
        try:
            again = await taker.take(delivery.envelope, document, attempt=delivery.attempt)
            if again is not None and self._now() > delivery.requested_at + self._settings.default_deadline:
                told = f"could not be carried out in time: {again.trouble.code}: {again.trouble.message}"
                raise ProblemsError((Problem("body", told),))
        except ProblemsError as error:
            await self._reject(delivery, error.problems, None)
        except BusUnavailable:
            await self._send_clone(delivery, due=self._now() + RETRY_AFTER)
        else:
            if again is not None:
                moved = replace(delivery, envelope=replace(delivery.envelope, body=again.body))
                await self._send_clone(moved, due=again.due, trouble=again.trouble)

    def _check(self, request: MaintenanceRequest, delivery: Delivery) -> None:
        """Raises PolicyViolation with everything this app does not allow about the request."""
        problems = []
        now = self._now()
        if not self._settings.allows(request.scale_set):
            problems.append(not_allowed(request.scale_set.resource_id))
        if request.instance_ids is None and not self._settings.allow_whole_scale_set:
            problems.append(Problem("instanceIds", "is missing, and this app does not maintain whole scale sets"))
        rollout = request.rollout
        if not self._settings.read_instance_views and (rollout.max_instances_per_wave or rollout.by_update_domain):
            problems.append(Problem("rollout", "needs instance views, and this app does not read them"))
        if request.deadline is not None and delivery.fresh and request.deadline <= now:
            problems.append(Problem("deadline", "has passed", request.deadline.isoformat()))
        for name, moment in (("notBefore", request.not_before), ("deadline", request.deadline)):
            if moment is not None and moment > now + LONGEST_AHEAD:
                problems.append(Problem(name, "must be within 35 days", moment.isoformat()))
        if problems:
            raise PolicyViolation(tuple(problems))

    async def _start(self, request: MaintenanceRequest, delivery: Delivery) -> None:
        now = self._now()
        waits_until = request.not_before
        starts_at = max(waits_until, delivery.requested_at) if waits_until else delivery.requested_at
        operation = request.operation(
            requested_at=delivery.requested_at,
            deadline=request.deadline or starts_at + self._settings.default_deadline,
            dry_run=self._settings.dry_run,
            envelope=delivery.envelope,
        )
        again = delivery.suspect or delivery.envelope.delivery_count > 1
        if waits_until and waits_until > now:
            # First of all: not even a run that died makes it start before its time.
            await self._send_clone(delivery, due=waits_until, suspect=again)
        elif delivery.suspect:
            # An earlier run may have started it, and may have left a record of the same id: the poller finds out.
            await self._track(to_record(replace(operation, poll=0, posted_at=now), now), delivery)
        elif again:
            # Whatever successor the earlier run sent, this clone has the same id as the one it may have sent.
            await self._send_clone(delivery, due=None, suspect=True)
        else:
            await self._run(operation, delivery)

    async def _run(self, operation: Operation, delivery: Delivery) -> None:
        operation = replace(operation, failures=delivery.attempt, trouble=delivery.last_trouble)
        result = await self._runner.run(operation, self._runner.views(), suspect=False)
        if isinstance(result, Wait) and not result.operation.may_have_posted:
            await self._send_clone(delivery, due=result.due, trouble=result.operation.trouble)
            return
        if isinstance(result, End) and not result.operation.dry_run:
            # Should this process die now, the message comes again, and what it leaves must say that it has ended.
            result = replace(result, commit=True)
        outcome = dispatch(result, self._now())
        told = await self._tell(outcome.events)
        record = record_to_keep(outcome, told=told)
        if record is not None and not await self._track(record, delivery):
            return
        # Should this fail, the poller tells it, from the record just kept.
        await self._tell(outcome.afterwards)
        logger.info("Request %s: %s", operation.request_id, result.operation.describe())

    async def _track(self, record: Record, delivery: Delivery) -> bool:
        """Keep a request's operation. Whatever it has come to, its first record has the same id: of those that several
        runs of one message leave, duplicate detection keeps the first.

        Where that fails the request is looked at again later, as one that may have been started: raised, the trouble
        would cost the message its deliveries within seconds.
        """
        try:
            await self._bus.track([replace(record, message_id=f"{delivery.request_id}:w0:p0")])
        except BusUnavailable as error:
            logger.warning("Request %s cannot be kept, and comes again: %s", delivery.request_id, error)
            await self._send_clone(delivery, due=self._now() + RETRY_AFTER, suspect=True)
            return False
        return True

    async def _tell(self, events: Sequence[MaintenanceEvent]) -> bool:
        try:
            await self._bus.publish(events)
        except BusUnavailable as error:
            logger.warning("Events of %s are kept for later: %s", events[0].subject, error)
            return False
        return True

    async def _reject(
        self, delivery: Delivery, problems: tuple[Problem, ...], request: MaintenanceRequest | None
    ) -> None:
        envelope = delivery.envelope
        event = rejected(
            request_id=delivery.request_id,
            problems=problems,
            body=envelope.body,
            now=self._now(),
            source=f"/queues/{self._settings.requests_queue}",
            correlation_id=envelope.correlation_id,
            trace=trace_of(envelope.properties),
            scale_set=request.scale_set if request else None,
            reason=request.reason if request else None,
        )
        try:
            await self._bus.publish([event])
        except BusUnavailable:
            if self._now() > delivery.requested_at + self._settings.default_deadline:
                raise
            await self._send_clone(delivery, due=self._now() + RETRY_AFTER)
            return
        told = "; ".join(str(problem) for problem in problems)
        logger.warning("Request %s was rejected: %s", delivery.request_id, redact(told)[:1000])

    async def _send_clone(
        self,
        delivery: Delivery,
        *,
        due: datetime | None,
        suspect: bool = False,
        trouble: ErrorDetail | None = None,
    ) -> None:
        await self._bus.enqueue(
            delivery.envelope.body,
            message_id=delivery.clone_id,
            due=due,
            correlation_id=delivery.envelope.correlation_id,
            properties=delivery.clone_properties(suspect=suspect, trouble=trouble),
        )
        logger.info("Request %s comes again as %s, due %s", delivery.request_id, delivery.clone_id, due or "now")
