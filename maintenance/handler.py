"""A request arrives: validate it, check it against policy, start it, keep what follows.

What is done with each kind of trouble stands here. A message that is no request, or not allowed: `rejected`. Trouble
that passes, before anything was started: a scheduled clone of the request. Later: the operation's own record. Anything
unforeseen is raised; the host then abandons the message, and Service Bus dead-letters it in the end.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

from maintenance.bus import BusUnavailable
from maintenance.cloud_event import MaintenanceEvent
from maintenance.contracts import (
    Envelope,
    MaintenanceRequest,
    read_cancellation,
    read_document,
    read_request,
    request_id_of,
    trace_of,
)
from maintenance.errors import PolicyViolation, Problem, ProblemsError
from maintenance.events import cancellation_accepted, rejected
from maintenance.notices import CANCELLATION_LASTS, Notice, NoticeKind
from maintenance.observations import ErrorDetail
from maintenance.operation import Operation
from maintenance.other_messages import Taker
from maintenance.outbox import RETRY_AFTER, dispatch, record_to_keep
from maintenance.records import Record, to_record
from maintenance.redaction import redact
from maintenance.resources import ScaleSet
from maintenance.runner import Runner
from maintenance.settings import Settings
from maintenance.steps import End, Wait

logger = logging.getLogger(__name__)

# Service Bus carries no more about a message than its properties; the clone of a request remembers with these.
REQUEST_ID = "maintenance-request-id"
ATTEMPT = "maintenance-attempt"
SUSPECT = "maintenance-suspect"
REQUESTED_AT = "maintenance-requested-at"
TROUBLE = "maintenance-trouble"
LONGEST_AHEAD = timedelta(days=35)


class RequestBus(Protocol):
    """What is used of `bus.Bus`."""

    async def enqueue(
        self,
        body: bytes,
        *,
        message_id: str,
        due: datetime | None,
        correlation_id: str | None,
        properties: Mapping[str, str | int | bool],
    ) -> None: ...

    async def track(self, records: Sequence[Record]) -> None: ...

    async def publish(self, events: Sequence[MaintenanceEvent]) -> None: ...


class RequestBoard(Protocol):
    """What is used of `notice_board.NoticeBoard`."""

    async def put_up(self, notice: Notice) -> None: ...

    async def take_down(self, request_ids: Sequence[str]) -> None: ...


@dataclass(frozen=True, slots=True)
class _Delivery:
    """A message with what its earlier lives left on it."""

    envelope: Envelope
    request_id: str
    attempt: int
    suspect: bool
    requested_at: datetime
    trouble: str | None

    @property
    def fresh(self) -> bool:
        """Nobody has tried to handle it before."""
        return self.attempt == 0 and self.envelope.delivery_count <= 1

    @property
    def last_trouble(self) -> ErrorDetail | None:
        """Why the attempt before failed, as that one wrote it down."""
        code, colon, message = (self.trouble or "").partition(": ")
        return ErrorDetail(code, message) if colon else None


class RequestHandler:
    """The use case behind the queue trigger."""

    def __init__(
        self,
        runner: Runner,
        bus: RequestBus,
        board: RequestBoard,
        settings: Settings,
        *,
        now: Callable[[], datetime],
        others: Sequence[Taker] = (),
    ) -> None:
        self._others = others
        self._runner = runner
        self._bus = bus
        self._board = board
        self._settings = settings
        self._now = now

    async def handle(self, envelope: Envelope) -> None:
        """Handle one message. Returns when all that follows from it is kept; raises what is unforeseen."""
        try:
            document = read_document(envelope)
        except ProblemsError as error:
            await self._reject(self._read_delivery(envelope, None), error.problems, None)
            return
        delivery = self._read_delivery(envelope, document)
        if "cancel" in document:
            await self._cancel(delivery, document)
            return
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

    async def _cancel(self, delivery: _Delivery, document: dict[str, Any]) -> None:
        """Put up a notice that the request will meet before its next wave. Whether it still runs is not looked for."""
        try:
            cancellation = read_cancellation(document)
            if not self._settings.allows(cancellation.scale_set):
                raise PolicyViolation((self._not_allowed(cancellation.scale_set),))
        except ProblemsError as error:
            await self._reject(delivery, error.problems, None)
            return
        now = self._now()
        notice = Notice(
            NoticeKind.CANCELLATION,
            cancellation.request_id,
            cancellation.scale_set.key,
            now + CANCELLATION_LASTS,
            reason=cancellation.reason,
        )
        try:
            await self._board.put_up(notice)
            event = cancellation_accepted(
                request_id=delivery.request_id,
                cancels=cancellation.request_id,
                scale_set=cancellation.scale_set,
                now=now,
                reason=cancellation.reason,
                correlation_id=delivery.envelope.correlation_id,
                trace=trace_of(delivery.envelope.properties),
            )
            await self._bus.publish([event])
        except BusUnavailable:
            await self._send_clone(delivery, due=now + RETRY_AFTER)
            return
        logger.info("Request %s: cancels %s", delivery.request_id, cancellation.request_id)

    async def _hand_on(self, taker: Taker, delivery: _Delivery, document: dict[str, Any]) -> None:
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

    def _not_allowed(self, scale_set: ScaleSet) -> Problem:
        return Problem("scale set", "is not within MAINTENANCE_ALLOWED_SCOPES of this app", scale_set.resource_id)

    def _check(self, request: MaintenanceRequest, delivery: _Delivery) -> None:
        """Raises PolicyViolation with everything this app does not allow about the request."""
        problems = []
        now = self._now()
        if not self._settings.allows(request.scale_set):
            problems.append(self._not_allowed(request.scale_set))
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

    async def _start(self, request: MaintenanceRequest, delivery: _Delivery) -> None:
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

    async def _run(self, operation: Operation, delivery: _Delivery) -> None:
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
        if outcome.release and told:
            await self._board.take_down([operation.request_id])
        logger.info("Request %s: %s", operation.request_id, describe(result.operation))

    async def _track(self, record: Record, delivery: _Delivery) -> bool:
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
        self, delivery: _Delivery, problems: tuple[Problem, ...], request: MaintenanceRequest | None
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
        delivery: _Delivery,
        *,
        due: datetime | None,
        suspect: bool = False,
        trouble: ErrorDetail | None = None,
    ) -> None:
        attempt = delivery.attempt + 1
        properties: dict[str, str | int | bool] = {
            **trace_of(delivery.envelope.properties),
            REQUEST_ID: delivery.request_id,
            ATTEMPT: attempt,
            REQUESTED_AT: delivery.requested_at.isoformat(),
        }
        if suspect:
            properties[SUSPECT] = True
        if trouble is not None:
            properties[TROUBLE] = redact(f"{trouble.code}: {trouble.message}")[:500]
        await self._bus.enqueue(
            delivery.envelope.body,
            message_id=f"{delivery.request_id}:r{attempt}",
            due=due,
            correlation_id=delivery.envelope.correlation_id,
            properties=properties,
        )
        logger.info("Request %s: attempt %d follows, due %s", delivery.request_id, attempt, due or "now")

    def _read_delivery(self, envelope: Envelope, document: object) -> _Delivery:
        properties = envelope.properties
        told = str(properties.get(REQUEST_ID) or "")
        attempt = str(properties.get(ATTEMPT) or "0")
        return _Delivery(
            envelope=envelope,
            request_id=told[:100] or request_id_of(envelope, document),
            attempt=int(attempt) if attempt.isascii() and attempt.isdigit() and len(attempt) < 7 else 0,
            suspect=str(properties.get(SUSPECT, "")).lower() == "true",
            requested_at=_moment(properties.get(REQUESTED_AT)) or envelope.enqueued_at or self._now(),
            trouble=str(properties[TROUBLE])[:500] if properties.get(TROUBLE) else None,
        )


def describe(operation: Operation) -> str:
    """An operation in a few words, for the log."""
    if operation.status is not None:
        return f"ended as {operation.status.value} on {operation.scale_set}"
    wave = f"wave {operation.wave + 1} of {len(operation.waves)}" if operation.waves else "not planned yet"
    return f"{operation.phase.value}, {wave}, on {operation.scale_set}"


def _moment(value: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None
