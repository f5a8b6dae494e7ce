"""OpenTelemetry's SDK in memory, for a worker or for the process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from unittest.mock import patch

from opentelemetry import metrics, trace
from opentelemetry.metrics import _internal as metrics_internal
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import Sampler
from opentelemetry.util._once import Once

from maintenance.telemetry.emitter import Emitter
from maintenance.telemetry.flushing import Flusher
from maintenance.telemetry.metrics import Meters
from maintenance.telemetry.watch import Watch
from tests.support.secret_scanner import SECRET_SCANNER


def ids_of(span: ReadableSpan) -> trace.SpanContext:
    """The ids of a span that was recorded, which always has some."""
    context = span.get_span_context()
    assert context is not None
    return context


class Exported(SpanProcessor):
    """Spans that were exported, and those that a process that dies now takes with it."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []
        self.waiting: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        events = [each for event in span.events for each in (event.name, event.attributes)]
        SECRET_SCANNER.scan("span", span.name, span.attributes, span.status.description, *events)
        self.waiting.append(span)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        self.spans += self.waiting
        self.waiting.clear()
        return True

    def by_id(self) -> dict[int, ReadableSpan]:
        """Each span once, also where it was emitted twice."""
        return {ids_of(span).span_id: span for span in self.spans}


class Recorded:
    """A watch whose spans and metrics stay in memory. `now` gives aware times."""

    def __init__(self, now: Callable[[], datetime], sampler: Sampler | None = None) -> None:
        self.exported = Exported()
        provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        provider.add_span_processor(self.exported)
        self._reader = InMemoryMetricReader()
        meters = MeterProvider(metric_readers=[self._reader], shutdown_on_exit=False)
        self.watch = Watch(
            Emitter(provider.get_tracer("test")),
            Meters(meters.get_meter("test")),
            Flusher([provider.force_flush]),
            queue="maintenance-requests",
            server="management.azure.com",
            now=now,
        )

    def spans(self) -> list[ReadableSpan]:
        """Those that were emitted so far, in order."""
        self.exported.force_flush()
        return list(self.exported.spans)

    def metrics(self) -> dict[tuple[str, ...], Any]:
        """The value of each point, for a histogram its sum; by the metric's name and the values of its attributes."""
        data = self._reader.get_metrics_data()
        return {
            (metric.name, *map(str, (point.attributes or {}).values())): getattr(point, "value", None)
            if hasattr(point, "value")
            else point.sum
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            for point in metric.data.data_points
        }


@contextmanager
def global_telemetry() -> Iterator[InMemoryMetricReader]:
    """OpenTelemetry for the process, as whoever sets it up there would have made it, whose spans are searched for
    secrets. Afterwards there is none again, though the API lets it be set only once; a worker that was made meanwhile
    keeps it. `scan_metrics` takes what it yields."""
    provider, reader = TracerProvider(shutdown_on_exit=False), InMemoryMetricReader()
    provider.add_span_processor(Exported())
    with (
        patch.object(trace, "_TRACER_PROVIDER", None),
        patch.object(trace, "_TRACER_PROVIDER_SET_ONCE", Once()),
        patch.object(metrics_internal, "_METER_PROVIDER", None),
        patch.object(metrics_internal, "_METER_PROVIDER_SET_ONCE", Once()),
    ):
        trace.set_tracer_provider(provider)
        metrics.set_meter_provider(MeterProvider(metric_readers=[reader], shutdown_on_exit=False))
        yield reader


def scan_metrics(reader: InMemoryMetricReader) -> None:
    """Search the metrics that were recorded for secrets."""
    SECRET_SCANNER.scan("metrics", reader.get_metrics_data())
