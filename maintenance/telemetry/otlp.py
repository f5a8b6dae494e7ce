"""OpenTelemetry's SDK with exporters for OTLP over HTTP: the global providers of this process.

Endpoint, headers, intervals, sampler and limits are OpenTelemetry's own settings, read by its SDK.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

from opentelemetry import metrics, trace
from opentelemetry._logs import set_logger_provider
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.logging.handler import LoggingHandler
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

# The worker's own log. The root's would hold the exporters' lines, and so never end.
LOGGER = "maintenance"


def resource(attributes: Mapping[str, str]) -> Resource:
    """The resource with these attributes, and those of the environment."""
    return Resource.create(dict(attributes))


def start(signals: Sequence[str], of: Resource) -> list[Callable[[], object]]:
    """Set the global providers of these signals; returns what ends each. Raises what the SDK raises for settings that
    it cannot read; then none is set. By themselves they would hold up the end of the process for half a minute where
    the backend does not respond."""
    tracers = loggers = meters = None
    if "traces" in signals:
        tracers = TracerProvider(resource=of, shutdown_on_exit=False)
        tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    if "logs" in signals:
        loggers = LoggerProvider(resource=of, shutdown_on_exit=False)
        loggers.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
    if "metrics" in signals:
        readers = [PeriodicExportingMetricReader(OTLPMetricExporter())]
        meters = MeterProvider(resource=of, metric_readers=readers, shutdown_on_exit=False)
    ends: list[Callable[[], object]] = []
    if tracers is not None:
        trace.set_tracer_provider(tracers)
        ends.append(tracers.shutdown)
    if loggers is not None:
        set_logger_provider(loggers)
        handler = LoggingHandler(level=logging.INFO, logger_provider=loggers)
        logging.getLogger(LOGGER).addHandler(handler)
        ends += [lambda: logging.getLogger(LOGGER).removeHandler(handler), loggers.shutdown]
    if meters is not None:
        metrics.set_meter_provider(meters)
        ends.append(meters.shutdown)
    return ends
