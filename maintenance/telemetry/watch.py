"""Turns what the worker is told about its runs, requests and calls into spans and metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from datetime import datetime

from opentelemetry import trace

from maintenance.domain.errors import UntrustedUrl
from maintenance.domain.messages import Envelope
from maintenance.domain.observations import Ambiguous, ErrorDetail, Submission
from maintenance.domain.operation import Operation, Phase
from maintenance.domain.redaction import redact
from maintenance.lifecycle.actions import Continue, Done, LeaveToJudge
from maintenance.operations.ports import UNWATCHED, TickWatch, Watched
from maintenance.telemetry.emitter import Emitter, current, inside
from maintenance.telemetry.flushing import Flusher
from maintenance.telemetry.guarding import harmless, note_failure
from maintenance.telemetry.invocations import RequestSpans, TickSpan
from maintenance.telemetry.metrics import Meters, dead_letter_reason
from maintenance.telemetry.spans import Response, owed_spans, post_span
from maintenance.telemetry.trace_context import SpanContext, read_traceparent, run_trace

LOST = Ambiguous(ErrorDetail("OutcomeUnknown", "The response to the POST was lost; the instance views show it taken."))
# What Resource Manager responded last in this task; None where it was not called.
_RESPONSE: ContextVar[Response | None] = ContextVar("maintenance_arm_response", default=None)


class Watch:
    """The worker's telemetry: a `RunWatch`, and what requests and calls are reported to. `queue` is the requests
    queue, `server` the host name of Resource Manager. `now` gives aware times."""

    def __init__(
        self,
        emitter: Emitter,
        meters: Meters,
        flusher: Flusher,
        *,
        queue: str,
        server: str,
        now: Callable[[], datetime],
    ) -> None:
        self._emitter = emitter
        self._meters = meters
        self._flusher = flusher
        self._requests = RequestSpans(emitter, queue, now)
        self._server = server
        self._now = now

    # ------------------------------------------------------------------ requests

    def receiving(self, envelope: Envelope, host: str | None) -> AbstractContextManager[None]:
        """See `invocations.RequestSpans`."""
        return self._requests.receiving(envelope, host)

    def invoked(self, host: str | None) -> AbstractContextManager[None]:
        """A timer's function runs in this block. The host's worker for Python attaches the host's span by itself where
        it is told to; else there is what it hands over, `host`."""
        context = None if current() is not None else read_traceparent(host)
        return inside(context) if context is not None else nullcontext()

    @harmless
    def request(self, result: str, request_id: str) -> None:
        """What became of a message of the requests queue; see `requests.controls.RequestWatch`."""
        self._meters.count("requests", result=result)
        span = trace.get_current_span()
        if span.is_recording():
            span.set_attribute("vmss.maintenance.result", result)
            span.set_attribute("vmss.maintenance.request_id", redact(request_id))

    # ------------------------------------------------------------------ calls to Resource Manager

    @harmless
    def called(self, method: str, status: int | None, headers: Mapping[str, str]) -> None:
        """See `arm.client.CallWatch`."""
        self._meters.called(method, status, headers)
        if method == "POST":
            request_id = headers.get("x-ms-request-id")
            _RESPONSE.set(Response(status, redact(request_id[:100]) if request_id else None))

    @harmless
    def posted(
        self,
        operation: Operation,
        ids: Sequence[str] | None,
        submission: Submission | UntrustedUrl,
        began_at: datetime,
        ended_at: datetime,
    ) -> None:
        # Nothing is sent while a subscription is paused, or where the namespace is not safe.
        if (response := _RESPONSE.get()) is not None:
            span = post_span(operation, ids, submission, response, server=self._server, start=began_at, end=ended_at)
            self._emitter.emit(span, _invocation())

    # ------------------------------------------------------------------ runs

    @harmless
    def decided(self, before: Operation, decision: Continue | Done | LeaveToJudge) -> None:
        if not isinstance(decision, Continue):
            return
        after = decision.operation
        error = after.transient_error
        if after.failures > before.failures and error is not None and error.code == "LeaseHeld":
            self._meters.count("holds")
        if before.phase is Phase.JUDGE and after.phase is Phase.TRACK and before.posted_at is not None:
            # The process that posted could not say what became of it.
            batches = [(each,) for each in after.batch] if before.flexible else [before.batch]
            for ids in batches:
                at = before.posted_at
                span = post_span(before, ids, LOST, Response(None), server=self._server, start=at, end=at)
                self._emitter.emit(span, _invocation())

    async def ending(self, units: Sequence[Watched]) -> None:
        if self._emit_owed(units):
            await self.flush()

    def _emit_owed(self, units: Sequence[Watched]) -> int:
        emitted = 0
        links = _invocation()
        try:
            for unit in units:
                if isinstance(unit.content, Operation):
                    for span in owed_spans(unit.content):
                        self._emitter.emit(span, links if span.name.startswith("maintenance ") else [])
                        emitted += 1
        except Exception as error:
            note_failure("ending", error)
        return emitted

    @harmless
    def published(self, operation: Operation) -> None:
        for owed in operation.owed:
            if owed.began_at is not None:
                self._meters.record("wave.duration", (owed.at - owed.began_at).total_seconds())
        if operation.phase is not Phase.END or operation.ended_at is None or operation.status is None:
            return
        if operation.wave_began_at is not None:
            self._meters.record("wave.duration", (operation.ended_at - operation.wave_began_at).total_seconds())
        lasted = (operation.ended_at - operation.requested_at).total_seconds()
        self._meters.count("operations.ended", status=operation.status.value)
        self._meters.record("operation.duration", lasted, status=operation.status.value)
        for result, number in Counter(outcome.result for outcome in operation.outcomes.values()).items():
            self._meters.count("instances", number, outcome=result.value)

    async def flush(self) -> None:
        try:
            await self._flusher.flush()
        except Exception as error:
            note_failure("flush", error)

    @harmless
    def dead_lettered(self, queue: str, reason: str | None) -> None:
        self._meters.count("dead_lettered", queue=queue, reason=dead_letter_reason(reason))

    def within(self, operation: Operation) -> AbstractContextManager[None]:
        try:
            return inside(run_trace(operation.run_id, operation.trace).maintenance)
        except Exception as error:
            note_failure("within", error)
            return nullcontext()

    # ------------------------------------------------------------------ ticks

    def tick(self) -> TickWatch:
        try:
            return TickSpan(self._emitter, self._meters, self._now)
        except Exception as error:
            note_failure("tick", error)
            return UNWATCHED


def _invocation() -> list[SpanContext]:
    """The link to the invocation that this is done in."""
    invocation = current()
    return [invocation] if invocation is not None else []
