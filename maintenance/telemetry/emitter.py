"""Hands span values to OpenTelemetry's API, with the ids that they have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from opentelemetry import context as otel
from opentelemetry import trace
from opentelemetry.trace import Link, NonRecordingSpan, SpanKind, Status, StatusCode, TraceFlags, Tracer

from maintenance.telemetry.spans import SpanValue
from maintenance.telemetry.trace_context import SpanContext

# As many as a span may have by default; Application Insights shows 102.
MOST_LINKS = 100
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_KINDS = {"internal": SpanKind.INTERNAL, "client": SpanKind.CLIENT, "consumer": SpanKind.CONSUMER}
_NO_IDS = SpanContext(0, 0)
# What the next span that is started in this context is called by.
_IDS: ContextVar[SpanContext] = ContextVar("maintenance_span_ids", default=_NO_IDS)


class _GivenIds:
    """Id generator that gives out the ids in `_IDS`, and where there are none those of another generator. OpenTelemetry
    has no other way to name a span."""

    def __init__(self, others: Any) -> None:
        self._others = others

    def generate_trace_id(self) -> int:
        given: int = _IDS.get().trace_id or self._others.generate_trace_id()
        return given

    def generate_span_id(self) -> int:
        given: int = _IDS.get().span_id or self._others.generate_span_id()
        return given

    def is_trace_id_random(self) -> bool:
        return not _IDS.get().trace_id and bool(getattr(self._others, "is_trace_id_random", lambda: False)())


class Emitter:
    """The spans of one tracer, which is this emitter's alone."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer: Any = tracer
        # Of OpenTelemetry's SDK, and of no other.
        if hasattr(self._tracer, "id_generator"):
            self._tracer.id_generator = _GivenIds(self._tracer.id_generator)

    def emit(self, value: SpanValue, links: Sequence[SpanContext] = ()) -> None:
        """Start and end a span, at its own times."""
        span = self.start(value, links)
        for name, at in value.events:
            span.add_event(name, timestamp=_nanoseconds(at))
        if value.error is not None:
            span.set_status(Status(StatusCode.ERROR, value.error))
        span.end(end_time=_nanoseconds(value.end))

    def start(self, value: SpanValue, links: Sequence[SpanContext] = ()) -> trace.Span:
        """Start a span and leave it open, whatever its value says of its end. Zeros among its ids are replaced."""
        token = _IDS.set(value.context)
        try:
            span: trace.Span = self._tracer.start_span(
                value.name,
                context=_inside(self._with_flags(value.parent)) if value.parent is not None else otel.Context(),
                kind=_KINDS[value.kind],
                attributes=value.attributes,
                links=[Link(_context(each)) for each in links[:MOST_LINKS]],
                start_time=_nanoseconds(value.start),
                record_exception=False,
                set_status_on_exception=False,
            )
        finally:
            _IDS.reset(token)
        return span

    def end(self, span: trace.Span, at: datetime) -> None:
        """End a span that was left open."""
        span.end(end_time=_nanoseconds(at))

    def _with_flags(self, parent: SpanContext) -> SpanContext:
        """A root of ours may have been decided on in another process, or is yet to be: samplers that go by the trace id
        decide the same here."""
        sampler = getattr(self._tracer, "sampler", None)
        if parent.flags is not None or sampler is None:
            return parent
        decision = sampler.should_sample(otel.Context(), parent.trace_id, "maintenance").decision
        return replace(parent, flags=TraceFlags.SAMPLED if decision.is_sampled() else TraceFlags.DEFAULT)


@contextmanager
def inside(context: SpanContext) -> Iterator[None]:
    """What is logged in the block belongs to this span."""
    token = otel.attach(_inside(context))
    try:
        yield
    finally:
        otel.detach(token)


def current() -> SpanContext | None:
    """The span that this runs in: the host's, of the invocation, or one of ours; None where there is none."""
    context = trace.get_current_span().get_span_context()
    return SpanContext(context.trace_id, context.span_id, int(context.trace_flags)) if context.is_valid else None


def _inside(context: SpanContext) -> otel.Context:
    return trace.set_span_in_context(NonRecordingSpan(_context(context)), otel.Context())


def _context(context: SpanContext) -> trace.SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED if context.flags is None else context.flags)
    return trace.SpanContext(context.trace_id, context.span_id, is_remote=True, trace_flags=flags)


def _nanoseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000
