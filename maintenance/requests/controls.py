"""Messages of the requests queue that start no run: cancellations, pauses and their ends, proceeds.

Each puts its entry first: once the reply is published, no run that reads later misses it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from maintenance.coordination.entries import MARKER_LASTS, CancellationMarker, Entry
from maintenance.coordination.pauses import OPEN_ENDED, Pause, Resume, lifted
from maintenance.coordination.proceeds import Proceed
from maintenance.domain import message_ids
from maintenance.domain.messages import Envelope, Record, trace_of
from maintenance.domain.operation import Reply
from maintenance.domain.redaction import redact
from maintenance.domain.resources import ScaleSet, Scope
from maintenance.operations.records import to_reply_record
from maintenance.requests.control_schema import read_pause, read_proceed, read_resume, scope_key
from maintenance.requests.policy import Policy, check_pause, check_scale_set, check_scope
from maintenance.requests.schema import read_cancellation

logger = logging.getLogger(__name__)
KINDS = ("cancel", "pause", "resume", "proceed")


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
        """Put what the message asks for; returns the record of its reply. Raises InvalidRequest, PolicyViolation and
        BusUnavailable."""
        if "cancel" in document:
            return await self._cancel(envelope, document)
        if "pause" in document:
            return await self._pause(envelope, document)
        if "resume" in document:
            return await self._resume(envelope, document)
        return await self._proceed(envelope, document)

    async def _cancel(self, envelope: Envelope, document: dict[str, Any]) -> Record:
        now = self._now()
        cancellation = read_cancellation(document)
        check_scale_set(cancellation.scale_set, self._policy, cancellation.reason)
        marker = CancellationMarker(
            run_id=envelope.run_id,
            request_id=cancellation.request_id,
            scale_set=cancellation.scale_set.key,
            enqueued_at=envelope.enqueued_at or now,
            until=now + MARKER_LASTS,
            reason=cancellation.reason,
        )
        line = {"vmss.maintenance.line": "cancellation"}
        await self._put("cancellation", "Cancellation", marker, cancellation.scale_set, line)
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

    async def _proceed(self, envelope: Envelope, document: dict[str, Any]) -> Record:
        now = self._now()
        asked = read_proceed(document)
        check_scale_set(asked.scale_set, self._policy, asked.reason)
        proceed = Proceed(
            run_id=envelope.run_id,
            request_id=asked.request_id,
            scale_set=asked.scale_set.key,
            wave=asked.wave,
            enqueued_at=envelope.enqueued_at or now,
            until=now + MARKER_LASTS,
            reason=asked.reason,
        )
        line = {"vmss.maintenance.line": "proceed"}
        await self._put("proceed", f"Proceed with wave {asked.wave}", proceed, asked.scale_set, line)
        return self._reply(
            envelope, asked.reason, scale_set=asked.scale_set, proceeds=asked.request_id, wave=asked.wave
        )

    async def _put(
        self, kind: str, what: str, entry: CancellationMarker | Proceed, scale_set: ScaleSet, line: dict[str, str]
    ) -> None:
        """Put what a message says of a request, and report it."""
        await self._coordination.put(entry)
        self._watch(kind, entry.request_id)
        logger.info(
            "%s of request %s taken for %s",
            what,
            entry.request_id,
            scale_set,
            extra={
                "vmss.maintenance.request_id": redact(entry.request_id),
                "vmss.resource_id": scale_set.resource_id,
                **line,
            },
        )

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
