"""Messages of the requests queue that start nothing: cancellations, pauses and their ends.

Each puts up its entry first: once the reply is published, no run that reads later misses it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from maintenance.coordination.entries import MARKER_LASTS, CancellationMarker, Entry
from maintenance.coordination.pauses import OPEN_ENDED, Pause, Resume, lifted
from maintenance.domain import message_ids
from maintenance.domain.messages import Envelope, Record, trace_of
from maintenance.domain.operation import Reply
from maintenance.domain.redaction import redact
from maintenance.domain.resources import ScaleSet, Scope
from maintenance.operations.records import to_reply_record
from maintenance.requests.control_schema import read_pause, read_resume, scope_key
from maintenance.requests.policy import Policy, check_cancellation, check_pause, check_scope
from maintenance.requests.schema import read_cancellation

logger = logging.getLogger(__name__)
KINDS = ("cancel", "pause", "resume")


# Is told what became of a message, for telemetry: `taken`, `rejected` or the kind of a control, and its request id.
RequestWatch = Callable[[str, str], None]


def unwatched(result: str, request_id: str) -> None:
    """No telemetry."""


class Entries(Protocol):
    """What is used of `servicebus.coordination_queue.CoordinationQueue`. All raise BusUnavailable."""

    async def put(self, entry: Entry) -> None: ...

    async def read(self) -> Sequence[Entry]: ...

    async def cancel(self, number: int) -> None: ...


class Controls:
    """`now` gives aware times."""

    def __init__(
        self, coordination: Entries, policy: Policy, *, now: Callable[[], datetime], watch: RequestWatch = unwatched
    ) -> None:
        self._watch = watch
        self._coordination = coordination
        self._policy = policy
        self._now = now

    @staticmethod
    def recognizes(document: Mapping[str, Any]) -> bool:
        return any(kind in document for kind in KINDS)

    async def take(self, envelope: Envelope, document: dict[str, Any]) -> Record:
        """Put up what the message asks for; returns the record of its reply. Raises InvalidRequest, PolicyViolation and
        BusUnavailable."""
        if "cancel" in document:
            return await self._cancel(envelope, document)
        if "pause" in document:
            return await self._pause(envelope, document)
        return await self._resume(envelope, document)

    async def _cancel(self, envelope: Envelope, document: dict[str, Any]) -> Record:
        now = self._now()
        cancellation = read_cancellation(document)
        check_cancellation(cancellation, self._policy)
        marker = CancellationMarker(
            run_id=envelope.run_id,
            request_id=cancellation.request_id,
            scale_set=cancellation.scale_set.key,
            enqueued_at=envelope.enqueued_at or now,
            until=now + MARKER_LASTS,
            reason=cancellation.reason,
        )
        await self._coordination.put(marker)
        self._watch("cancellation", cancellation.request_id)
        logger.info(
            "Cancellation of request %s taken for %s",
            cancellation.request_id,
            cancellation.scale_set,
            extra={
                "vmss.maintenance.request_id": redact(cancellation.request_id),
                "vmss.resource_id": cancellation.scale_set.resource_id,
                "vmss.maintenance.line": "cancellation",
            },
        )
        return self._reply(
            envelope, cancellation.reason, scale_set=cancellation.scale_set, cancels=cancellation.request_id
        )

    async def _pause(self, envelope: Envelope, document: dict[str, Any]) -> Record:
        now = self._now()
        asked = read_pause(document)
        check_pause(asked, self._policy, now)
        enqueued_at = envelope.enqueued_at or now
        pause = Pause(
            run_id=envelope.run_id,
            scope=scope_key(asked.scope),
            enqueued_at=enqueued_at,
            order=envelope.sequence_number or 0,
            until=asked.until or enqueued_at + OPEN_ENDED,
            open_ended=asked.until is None,
            reason=asked.reason,
        )
        await self._coordination.put(pause)
        self._watch("pause", envelope.message_id or "")
        logger.info("Pause taken for %s until %s", asked.scope, asked.until.isoformat() if asked.until else "resumed")
        return self._reply(
            envelope,
            asked.reason,
            scale_set=_scale_set(asked.scope),
            pauses=str(asked.scope),
            until=asked.until,
        )

    async def _resume(self, envelope: Envelope, document: dict[str, Any]) -> Record:
        now = self._now()
        asked = read_resume(document)
        check_scope(asked.scope, self._policy, asked.reason)
        resume = Resume(
            run_id=envelope.run_id,
            scope=scope_key(asked.scope),
            enqueued_at=envelope.enqueued_at or now,
            order=envelope.sequence_number or 0,
            until=now + MARKER_LASTS,
        )
        await self._coordination.put(resume)
        # One without an end would outlast this entry.
        for pause in lifted(await self._coordination.read(), resume):
            await self._coordination.cancel(pause.number)
        self._watch("resume", envelope.message_id or "")
        logger.info("Resume taken for %s", asked.scope)
        return self._reply(envelope, asked.reason, scale_set=_scale_set(asked.scope), resumes=str(asked.scope))

    def _reply(self, envelope: Envelope, reason: str | None, *, scale_set: ScaleSet | None, **asked: Any) -> Record:
        reply = Reply(
            run_id=envelope.run_id,
            request_id=message_ids.request(None, envelope.message_id, envelope.sequence_number),
            at=envelope.enqueued_at or self._now(),
            source=source_of(self._policy),
            scale_set=scale_set,
            reason=reason,
            correlation_id=envelope.correlation_id,
            trace=trace_of(envelope.properties),
            **asked,
        )
        return to_reply_record(reply, None)


def source_of(policy: Policy) -> str:
    """Where messages that name no scale set come from, for their events."""
    return f"/queues/{policy.requests_queue}"


def _scale_set(scope: Scope) -> ScaleSet | None:
    if scope.resource_group_name is None or scope.scale_set_name is None:
        return None
    return ScaleSet(scope.subscription_id, scope.resource_group_name, scope.scale_set_name)
