"""Telemetry: what its calls take of a tick whose spans and metrics go nowhere."""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable, Sequence
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from maintenance.telemetry.invocations import TickSpan
from maintenance.telemetry.watch import Watch
from maintenance.worker import Worker
from tests.benchmarks.comparison import Bound, Options, Row
from tests.benchmarks.services import services
from tests.benchmarks.tick import DUE, SCALE_SETS, tick_cost
from tests.benchmarks.workload import operation_urls, settings

# As the host hands it over: without it, a tick has no span.
INVOCATION = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Nowhere(SpanExporter):
    """Takes spans, and drops them."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


class Spent:
    """Processor time of this thread in the calls of telemetry, so long as it is watched. Two ticks one after the other
    differ by more than telemetry costs, so both numbers are of the same tick."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._inside = False

    def watch(self, *kinds: type) -> None:
        for kind in kinds:
            for name, method in list(vars(kind).items()):
                if inspect.isfunction(method) and not name.startswith("__") and not inspect.iscoroutinefunction(method):
                    setattr(kind, name, self._timed(method))

    def _timed(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def timed(*arguments: Any, **options: Any) -> Any:
            if self._inside:
                return method(*arguments, **options)
            self._inside, began = True, time.thread_time()
            try:
                return method(*arguments, **options)
            finally:
                self.seconds += time.thread_time() - began
                self._inside = False

        return timed


async def rows(options: Options) -> list[Row]:
    count = options.sized(DUE)
    spent = Spent()
    spent.watch(Watch, TickSpan)
    ours: list[float] = []
    theirs: list[float] = []
    with services(scale_sets=SCALE_SETS, instances=2, seconds=3600) as at:
        provider = TracerProvider()
        provider.add_span_processor(BatchSpanProcessor(Nowhere()))
        trace.set_tracer_provider(provider)
        metrics.set_meter_provider(MeterProvider([InMemoryMetricReader()]))
        worker = Worker(settings(at))
        urls = await operation_urls(worker.arm_client, at.arm, SCALE_SETS)
        for number in range(options.runs + 1):
            spent.seconds = 0.0
            cost = await tick_cost(at, worker, urls, count, INVOCATION)
            if number:
                ours.append(cost.cpu_each)
                theirs.append((cost.cpu - spent.seconds) / count * 1000)
        await worker.close()
    return [
        Row(
            name=f"a tick with {count:,} operations due, telemetry on: processor time",
            against="the same tick, less what telemetry's calls took",
            unit="CPU ms/op",
            ours=tuple(ours),
            theirs=tuple(theirs),
            required=Bound("at most", 1.03),
        )
    ]
