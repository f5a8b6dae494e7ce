"""The requests queue: a message becomes the first record of a run, and nothing else is decided here.

What is no request, or is not allowed, becomes a record too: its end. So the first record that lives is the verdict,
however often the message is delivered. Afterwards what is due is worked off, so that the POST comes at once.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from maintenance.domain import message_ids
from maintenance.domain.errors import EntityMissing, PolicyViolation, Problem, ProblemsError
from maintenance.domain.messages import Delivery, Envelope, Record, read_document, trace_of
from maintenance.domain.operation import Reply
from maintenance.domain.redaction import place_of, redact, traceback_of
from maintenance.domain.resources import ScaleSet
from maintenance.operations.records import to_record, to_reply_record
from maintenance.policies.tags import of_properties
from maintenance.requests.controls import Controls, Entries, RequestWatch, source_of, unwatched
from maintenance.requests.envelopes import document_of, open_envelope
from maintenance.requests.policy import Policy, check_request, deadline_of
from maintenance.requests.schema import MaintenanceRequest, read_request
from maintenance.requests.tags import narrow, read_tag_policy

logger = logging.getLogger(__name__)

MAX_QUOTED_BODY = 4_096
MAX_PROBLEMS = 100
# The host's binding for bytes takes data sections alone (MessageToByteArrayConverter of its Service Bus extension); its
# binding for text takes values that are text, but replaces what is not UTF-8: a request that nobody sent.
OTHER_SECTION = (
    "is an AMQP {}, which the Functions host does not hand to the app; send UTF-8 JSON as bytes, in a data section "
    "(with JMS: as a BytesMessage)"
)


class RecordSender(Protocol):
    """What is used of `servicebus.bus.Bus`. Raises BusUnavailable."""

    async def send(self, records: Sequence[Record]) -> None: ...


class OtherMessages(Protocol):
    """A kind of message beside requests and cancellations, for the routing table."""

    def recognizes(self, document: Mapping[str, Any]) -> bool:
        """Whether the document is of this kind, be it right or wrong."""
        ...

    async def handle(self, envelope: Envelope, document: dict[str, Any]) -> None:
        """Raises ProblemsError where it is to be rejected, and BusUnavailable."""
        ...


# Of the requests queue (infra/topology.json, docs/namespace.md).
MAX_DELIVERIES = 10


class RequestHandler:
    """The use case behind the queue trigger. `work_off` deals with what is due; `others` is the routing table of
    the kinds of message that are neither request nor cancellation. `namespace_problems`: what is wrong with the queues;
    where anything is, nothing is started. `now` gives aware times."""

    def __init__(
        self,
        bus: RecordSender,
        coordination: Entries,
        policy: Policy,
        *,
        work_off: Callable[[], Awaitable[None]],
        now: Callable[[], datetime],
        others: Sequence[OtherMessages] = (),
        namespace_problems: Callable[[], Awaitable[Sequence[str]]] | None = None,
        watch: RequestWatch = unwatched,
    ) -> None:
        self._watch = watch
        self._namespace_problems = namespace_problems
        self._bus = bus
        self._controls = Controls(coordination, policy, now=now, watch=watch)
        self._policy = policy
        self._work_off = work_off
        self._now = now
        self._others = others

    async def handle(self, envelope: Envelope) -> None:
        """Handle one message. Returns once its record is in the operations queue; raises what is unexpected, and
        BusUnavailable."""
        if envelope.delivery_count >= MAX_DELIVERIES:
            logger.warning(
                "Last delivery of message %s, number %d: if it fails too, Service Bus dead-letters it, and it ends as "
                "rejected",
                message_ids.request(None, envelope.message_id, envelope.sequence_number),
                envelope.delivery_count,
            )
        record = await self.first_record(envelope)
        if record is not None:
            await self._bus.send([record])
            try:
                await self._work_off()
            except Exception as error:
                # The record is there, and the timer works it off: the message must not be delivered again for this.
                logger.error(
                    "Working off what is due failed unexpectedly: %s", place_of(error), extra=traceback_of(error)
                )

    async def handle_delivery(self, delivery: Delivery) -> None:
        """A request that an alert led to, from the operations queue; it is worked off where it was received."""
        record = await self.first_record(delivery.envelope)
        if record is not None:
            await self._bus.send([record])

    async def first_record(self, envelope: Envelope) -> Record | None:
        """What a message becomes; None where it is of another kind, and was dealt with. Raises BusUnavailable."""
        document: dict[str, Any] | None = None
        try:
            document = read_document(envelope)
            if other := next((each for each in self._others if each.recognizes(document)), None):
                await other.handle(envelope, document)
                return None
            document = open_envelope(envelope, document)
            if self._controls.recognizes(document):
                return await self._controls.take(envelope, document)
            await self._check_namespace(last_delivery=envelope.delivery_count >= MAX_DELIVERIES)
            return self._start(envelope, document)
        except ProblemsError as error:
            message = "; ".join(str(problem) for problem in error.problems)
            request_id = _request_id(envelope, document)
            extra = {"vmss.maintenance.request_id": redact(request_id), "vmss.maintenance.line": "rejected"}
            logger.warning("Request %s rejected: %s", request_id, redact(message)[:1000], extra=extra)
            self._watch("rejected", request_id)
            known = error if isinstance(error, PolicyViolation) else PolicyViolation(())
            return self.rejection(
                envelope, error.problems, document=document, scale_set=known.scale_set, reason=known.reason
            )

    async def _check_namespace(self, *, last_delivery: bool) -> None:
        """Raises PolicyViolation where nothing may be started, and BusUnavailable where that cannot be found out."""
        if self._namespace_problems is None:
            return
        try:
            found = await self._namespace_problems()
        except EntityMissing as error:
            if not last_delivery:
                raise
            # Better than a dead letter, whose end does not name the queue. Without the operations queue it becomes one
            # all the same: there is nowhere to send the rejection to.
            found = (str(error),)
        if found:
            raise PolicyViolation(tuple(Problem("namespace", text) for text in found))

    def _start(self, envelope: Envelope, document: dict[str, Any]) -> Record:
        now = self._now()
        requested_at = envelope.enqueued_at or now
        request = _read(envelope, document)
        check_request(request, self._policy, now)
        operation = request.operation(
            requested_at=requested_at,
            deadline=deadline_of(request, self._policy, requested_at),
            dry_run=self._policy.dry_run,
            envelope=envelope,
        )
        self._watch("taken", operation.request_id)
        logger.info(
            "Request %s (run %s) taken for %s",
            operation.request_id,
            operation.run_id,
            operation.scale_set,
            extra={**operation.attributes(), "vmss.maintenance.line": "start"},
        )
        return to_record(operation, None)

    def rejection(
        self,
        envelope: Envelope,
        problems: Sequence[Problem],
        *,
        document: Mapping[str, Any] | None = None,
        scale_set: ScaleSet | None = None,
        reason: str | None = None,
    ) -> Record:
        """The end of a message that starts no run."""
        quoted = envelope.body[:MAX_QUOTED_BODY].decode("utf-8", errors="backslashreplace")
        reply = Reply(
            run_id=envelope.run_id,
            request_id=_request_id(envelope, document),
            at=envelope.enqueued_at or self._now(),
            source=source_of(self._policy),
            scale_set=scale_set,
            reason=reason,
            problems=tuple((each.field, each.message, each.value) for each in problems[:MAX_PROBLEMS]),
            quoted=redact(quoted),
            size=len(envelope.body),
            correlation_id=envelope.correlation_id,
            trace=trace_of(envelope.properties),
        )
        return to_reply_record(reply, None)

    def give_up(self, delivery: Delivery, reason: str) -> Record:
        """The end of a message that was dead-lettered; dropped as a duplicate where its run had begun."""
        document = document_of(delivery.envelope)
        # A process may have died between taking it and answering it.
        asks = document is not None and Controls.recognizes(document)
        outcome = "what it asks for may hold already" if asks else "nothing was started"
        text = f"could not be handled: Service Bus gave up delivering it: {reason}; {outcome}, send it again"
        problem = Problem("body", text)
        if delivery.section != "data":
            problem = Problem("body", OTHER_SECTION.format(delivery.section))
        return self.rejection(delivery.envelope, [problem], document=document)

    def deadline(self, delivery: Delivery) -> datetime:
        """When the request in a message must have ended: its own deadline where it can be read, else the app's."""
        envelope, now = delivery.envelope, self._now()
        requested_at = envelope.enqueued_at or now
        try:
            request = _read(envelope, open_envelope(envelope, read_document(envelope)))
        except ProblemsError:
            return requested_at + self._policy.default_deadline
        return deadline_of(request, self._policy, requested_at)


def _read(envelope: Envelope, document: dict[str, Any]) -> MaintenanceRequest:
    """Raises InvalidRequest, and PolicyViolation where tags let nothing start."""
    request = read_request(envelope, document)
    return narrow(request, read_tag_policy(of_properties(envelope.properties))) if envelope.of_alert else request


def _request_id(envelope: Envelope, document: Mapping[str, Any] | None) -> str:
    """What people see. A cancellation has no requestId of its own: it names another's."""
    own = document.get("requestId") if document is not None and not Controls.recognizes(document) else None
    return message_ids.request(own, envelope.message_id, envelope.sequence_number)
