"""X"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Protocol

from maintenance.domain.errors import BusUnavailable, Problem, ProblemsError
from maintenance.domain.messages import (
    Envelope,
    MaintenanceEvent,
    MessageHandler,
    Record,
    RequestsQueue,
    read_document,
    trace_of,
)
from maintenance.domain.observations import ErrorDetail
from maintenance.domain.operation import Operation
from maintenance.domain.redaction import redact
from maintenance.lifecycle.actions import End, Wait
from maintenance.lifecycle.events import rejected
from maintenance.operations.outbox import RETRY_AFTER, dispatch, record_to_persist
from maintenance.operations.records import to_record
from maintenance.operations.runner import Runner
from maintenance.requests.inbound import InboundMessage, read_inbound
from maintenance.requests.policy import Policy, check_request
from maintenance.requests.schema import MaintenanceRequest, read_request

logger = logging.getLogger(__name__)


class RequestBus(RequestsQueue, Protocol):
    """What is used of `bus.Bus`."""

    async def persist(self, records: Sequence[Record]) -> None: ...

    async def publish(self, events: Sequence[MaintenanceEvent]) -> None: ...


class RequestHandler:
    """The use case behind the queue trigger."""

    def __init__(
        self,
        runner: Runner,
        bus: RequestBus,
        policy: Policy,
        *,
        now: Callable[[], datetime],
        routes: Sequence[MessageHandler] = (),
    ) -> None:
        self._routes = routes
        self._runner = runner
        self._bus = bus
        self._policy = policy
        self._now = now

    async def handle(self, envelope: Envelope) -> None:
        """Handle one message. Returns when all that follows from it is kept; raises what is unforeseen."""
        try:
            document = read_document(envelope)
        except ProblemsError as error:
            await self._reject(read_inbound(envelope, None, self._now()), error.problems, None)
            return
        message = read_inbound(envelope, document, self._now())
        if other := next((each for each in self._routes if each.recognizes(document)), None):
            await self._route(other, message, document)
            return
        request = None
        try:
            request = replace(read_request(envelope, document), request_id=message.request_id)
            check_request(request, self._policy, self._now(), first_delivery=message.first_delivery)
        except ProblemsError as error:
            await self._reject(message, error.problems, request)
            return
        await self._start(request, message)

    async def _route(self, other: MessageHandler, message: InboundMessage, document: dict[str, Any]) -> None:
        """No request but another kind of message: a good one ends silently, what follows from it speaks for itself."""
        try:
            again = await other.handle(message.envelope, document, attempt=message.attempt)
            if again is not None and self._now() > message.requested_at + self._policy.default_deadline:
                told = f"could not be carried out in time: {again.error.code}: {again.error.message}"
                raise ProblemsError((Problem("body", told),))
        except ProblemsError as error:
            await self._reject(message, error.problems, None)
        except BusUnavailable:
            await self._schedule_retry(message, due=self._now() + RETRY_AFTER)
        else:
            if again is not None:
                moved = replace(message, envelope=replace(message.envelope, body=again.body))
                await self._schedule_retry(moved, due=again.due, transient_error=again.error)

    async def _start(self, request: MaintenanceRequest, message: InboundMessage) -> None:
        now = self._now()
        waits_until = request.not_before
        starts_at = max(waits_until, message.requested_at) if waits_until else message.requested_at
        operation = request.operation(
            requested_at=message.requested_at,
            deadline=request.deadline or starts_at + self._policy.default_deadline,
            dry_run=self._policy.dry_run,
            envelope=message.envelope,
        )
        again = message.may_have_started or message.envelope.delivery_count > 1
        if waits_until and waits_until > now:
            # First of all: not even a run that died makes it start before its time.
            await self._schedule_retry(message, due=waits_until, may_have_started=again)
        elif message.may_have_started:
            # An earlier run may have started it, and may have left a record of the same id: the poller finds out.
            await self._persist(to_record(replace(operation, revision=0, posted_at=now), now), message)
        elif again:
            # Whatever successor the earlier run sent, this clone has the same id as the one it may have sent.
            await self._schedule_retry(message, due=None, may_have_started=True)
        else:
            await self._run(operation, message)

    async def _run(self, operation: Operation, message: InboundMessage) -> None:
        operation = replace(operation, failures=message.attempt, transient_error=message.last_error)
        result = await self._runner.run(operation, self._runner.views(), may_have_started=False)
        if isinstance(result, Wait) and not result.operation.may_have_posted:
            await self._schedule_retry(message, due=result.due, transient_error=result.operation.transient_error)
            return
        if isinstance(result, End) and not result.operation.dry_run:
            # Should this process die now, the message comes again, and what it leaves must say that it has ended.
            result = replace(result, commit=True)
        outcome = dispatch(result, self._now())
        published = await self._publish(outcome.events)
        record = record_to_persist(outcome, published=published)
        if record is not None and not await self._persist(record, message):
            return
        # Should this fail, the poller tells it, from the record just kept.
        await self._publish(outcome.publish_after)
        logger.info("Request %s: %s", operation.request_id, result.operation.describe())

    async def _persist(self, record: Record, message: InboundMessage) -> bool:
        """Keep a request's operation. Whatever it has come to, its first record has the same id: of those that several
        runs of one message leave, duplicate detection keeps the first.

        Where that fails the request is looked at again later, as one that may have been started: raised, the trouble
        would cost the message its deliveries within seconds.
        """
        try:
            await self._bus.persist([replace(record, message_id=f"{message.request_id}:w0:p0")])
        except BusUnavailable as error:
            logger.warning("Request %s cannot be kept, and comes again: %s", message.request_id, error)
            await self._schedule_retry(message, due=self._now() + RETRY_AFTER, may_have_started=True)
            return False
        return True

    async def _publish(self, events: Sequence[MaintenanceEvent]) -> bool:
        try:
            await self._bus.publish(events)
        except BusUnavailable as error:
            logger.warning("Events of %s are kept for later: %s", events[0].subject, error)
            return False
        return True

    async def _reject(
        self, message: InboundMessage, problems: tuple[Problem, ...], request: MaintenanceRequest | None
    ) -> None:
        envelope = message.envelope
        event = rejected(
            request_id=message.request_id,
            problems=problems,
            body=envelope.body,
            now=self._now(),
            source=f"/queues/{self._policy.requests_queue}",
            correlation_id=envelope.correlation_id,
            trace=trace_of(envelope.properties),
            scale_set=request.scale_set if request else None,
            reason=request.reason if request else None,
        )
        try:
            await self._bus.publish([event])
        except BusUnavailable:
            if self._now() > message.requested_at + self._policy.default_deadline:
                raise
            await self._schedule_retry(message, due=self._now() + RETRY_AFTER)
            return
        told = "; ".join(str(problem) for problem in problems)
        logger.warning("Request %s was rejected: %s", message.request_id, redact(told)[:1000])

    async def _schedule_retry(
        self,
        message: InboundMessage,
        *,
        due: datetime | None,
        may_have_started: bool = False,
        transient_error: ErrorDetail | None = None,
    ) -> None:
        await self._bus.enqueue(
            message.envelope.body,
            message_id=message.retry_id,
            due=due,
            correlation_id=message.envelope.correlation_id,
            properties=message.retry_properties(may_have_started=may_have_started, transient_error=transient_error),
        )
        logger.info("Request %s comes again as %s, due %s", message.request_id, message.retry_id, due or "now")
