"""One invocation of a function as a span: a message of the requests queue that is handled, or a tick."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from opentelemetry import trace

from maintenance.domain.messages import Envelope, trace_of
from maintenance.domain.operation import Operation
from maintenance.domain.redaction import redact
from maintenance.operations.ports import Watched
from maintenance.telemetry.emitter import MOST_LINKS, Emitter, current
from maintenance.telemetry.guarding import harmless, note_failure
from maintenance.telemetry.metrics import Meters
from maintenance.telemetry.spans import SpanValue
from maintenance.telemetry.trace_context import SpanContext, read_traceparent, run_trace


@dataclass(slots=True)
class _Handling:
    """A message that is being handled. The spans of what it leads to wait for its own span: a child that is exported
    alone, before its process is killed, would lack its parent."""

    open: bool = True
    waiting: list[tuple[SpanValue, list[SpanContext]]] = field(default_factory=list)


_HANDLING: ContextVar[_Handling | None] = ContextVar("maintenance_handling", default=None)


class RequestSpans:
    """Spans of the messages of `queue`. `now` gives aware times."""

    def __init__(self, emitter: Emitter, queue: str, now: Callable[[], datetime]) -> None:
        self._emitter = emitter
        self._queue = queue
        self._now = now

    @contextmanager
    def receiving(self, envelope: Envelope, host: str | None) -> Iterator[None]:
        """A message of the requests queue is handled in this block. `host`: the `traceparent` that the host hands
        over."""
        try:
            span = self._start(envelope, host)
        except Exception as error:
            note_failure("receiving", error)
            yield
            return
        handling = _Handling()
        token = _HANDLING.set(handling)
        try:
            with trace.use_span(span, record_exception=False, set_status_on_exception=False):
                yield
        except Exception as error:
            span.set_status(trace.Status(trace.StatusCode.ERROR, type(error).__name__))
            span.set_attribute("error.type", type(error).__name__)
            raise
        finally:
            _HANDLING.reset(token)
            self._end(span, handling)

    def _start(self, envelope: Envelope, host: str | None) -> trace.Span:
        run = run_trace(envelope.run_id, trace_of(envelope.properties))
        attributes: dict[str, str | int] = {
            "vmss.maintenance.run_id": envelope.run_id,
            "messaging.system": "servicebus",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": self._queue,
            "messaging.servicebus.message.delivery_count": envelope.delivery_count,
            "faas.trigger": "pubsub",
        }
        if envelope.message_id is not None:
            attributes["messaging.message.id"] = redact(envelope.message_id)
        if envelope.correlation_id is not None:
            attributes["messaging.message.conversation_id"] = redact(envelope.correlation_id)
        if envelope.enqueued_at is not None:
            attributes["messaging.servicebus.message.enqueued_time"] = int(envelope.enqueued_at.timestamp())
        now = self._now()
        value = SpanValue(
            name=f"process {self._queue}",
            kind="consumer",
            context=SpanContext(run.trace_id, 0),
            parent=current() or read_traceparent(host) or run.sender,
            start=now,
            end=now,
            attributes=attributes,
        )
        return self._emitter.start(value, [run.sender] if run.sender is not None else [])

    @harmless
    def _end(self, span: trace.Span, handling: _Handling) -> None:
        self._emitter.end(span, self._now())
        handling.open = False
        for value, links in handling.waiting:
            self._emitter.emit(value, links)


class TickSpan:
    """One tick. Its span has a parent, or there is none: the host's timer, or the message whose handler works off what
    it sent. A trace of its own for each, twice a minute for ever, would serve nobody."""

    def __init__(self, emitter: Emitter, meters: Meters, now: Callable[[], datetime]) -> None:
        self._emitter = emitter
        self._meters = meters
        self._now = now
        self._began_at = now()
        self._invocation = current()
        self._overdue = timedelta(0)
        self._phases: Counter[str] = Counter()
        self._runs: dict[str, SpanContext] = {}

    @harmless
    def received(self, units: Sequence[Watched], now: datetime) -> None:
        for unit in units:
            if not isinstance(unit.content, Operation):
                continue
            self._phases[unit.content.phase.value] += 1
            if unit.delivery.enqueued_at is not None:
                self._overdue = max(self._overdue, now - unit.delivery.enqueued_at)
            if self._invocation is not None and len(self._runs) < MOST_LINKS:
                operation = unit.content
                self._runs[operation.run_id] = run_trace(operation.run_id, operation.trace).maintenance

    @harmless
    def ended(self, counts: Mapping[str, int]) -> None:
        ended_at = self._now()
        self._meters.ticked(counts["taken"], self._overdue.total_seconds(), self._phases)
        self._meters.record("tick.duration", (ended_at - self._began_at).total_seconds())
        if self._invocation is None:
            return
        span = SpanValue(
            name="tick",
            context=SpanContext(0, 0),
            parent=self._invocation,
            start=self._began_at,
            end=max(ended_at, self._began_at),
            attributes={f"vmss.maintenance.tick.{name}": count for name, count in counts.items()},
        )
        links = list(self._runs.values())
        handling = _HANDLING.get()
        if handling is not None and handling.open:
            handling.waiting.append((span, links))
        else:
            self._emitter.emit(span, links)
