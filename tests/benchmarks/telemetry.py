"""Telemetry: a tick whose spans and metrics go nowhere, compared with one without telemetry."""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from maintenance.worker import Worker
from tests.benchmarks.comparison import Bound, Options, Row, alternate, values
from tests.benchmarks.services import services
from tests.benchmarks.tick import DUE, SCALE_SETS, tick_cost
from tests.benchmarks.workload import operation_urls, settings

# As the host hands it over: without it, a tick has no span.
INVOCATION = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Nowhere(SpanExporter):
    """Takes spans, and drops them."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


async def rows(options: Options) -> list[Row]:
    count = options.sized(DUE)
    with services(scale_sets=SCALE_SETS, instances=2, seconds=3600) as at:
        without = Worker(settings(at))
        provider = TracerProvider()
        provider.add_span_processor(BatchSpanProcessor(Nowhere()))
        trace.set_tracer_provider(provider)
        metrics.set_meter_provider(MeterProvider([InMemoryMetricReader()]))
        watched = Worker(settings(at))
        urls = await operation_urls(without.arm_client, at, SCALE_SETS)
        mine, theirs = await alternate(
            options.runs,
            lambda: tick_cost(at, watched, urls, count, INVOCATION),
            lambda: tick_cost(at, without, urls, count, INVOCATION),
        )
        await watched.close()
        await without.close()
    return [
        Row(
            name=f"a tick with {count:,} operations due, telemetry on: processor time",
            against="the same, telemetry off",
            unit="CPU ms/op",
            ours=values(mine, lambda cost: cost.cpu_each),
            theirs=values(theirs, lambda cost: cost.cpu_each),
            required=Bound("at most", 1.03),
        )
    ]
