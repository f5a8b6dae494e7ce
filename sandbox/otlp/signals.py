"""Spans, log records and metric points as plain values, read from OTLP's messages.

Source: opentelemetry-proto 1.x, `ExportTraceServiceRequest` and its like, as protobuf or as its JSON form.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.json_format import Parse
from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

REQUESTS: Mapping[str, type[Message]] = {
    "/v1/traces": ExportTraceServiceRequest,
    "/v1/metrics": ExportMetricsServiceRequest,
    "/v1/logs": ExportLogsServiceRequest,
}
_KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")
_ID_FIELDS = {"traceId", "spanId", "parentSpanId"}
_METRIC_KINDS = ("sum", "gauge", "histogram")

Attributes = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Span:
    """A span that has ended. Ids are hexadecimal, times nanoseconds since 1970; `parent_id` is empty for a root."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: str
    start: int
    end: int
    attributes: Attributes
    events: tuple[tuple[str, int], ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    failed: bool = False
    status: str = ""
    service: str = ""


@dataclass(frozen=True, slots=True)
class LogLine:
    """A log record."""

    severity: str
    text: str
    attributes: Attributes
    trace_id: str = ""
    span_id: str = ""
    service: str = ""


@dataclass(frozen=True, slots=True)
class Point:
    """A point of a metric: its value, or for a histogram the sum and the count."""

    name: str
    unit: str
    kind: str
    value: float
    attributes: Attributes
    count: int = 1


@dataclass
class Telemetry:
    """Everything that was received, in order. Thread-safe."""

    spans: list[Span] = field(default_factory=list)
    logs: list[LogLine] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, request: Message) -> list[Span]:
        """Add what a request holds; returns its spans."""
        spans: list[Span] = []
        logs: list[LogLine] = []
        points: list[Point] = []
        match request:
            case ExportTraceServiceRequest():
                spans = list(_spans(request))
            case ExportLogsServiceRequest():
                logs = list(_logs(request))
            case ExportMetricsServiceRequest():
                points = list(_points(request))
        with self.lock:
            self.spans += spans
            self.logs += logs
            self.points += points
        return spans

    def trace(self, trace_id: str) -> list[Span]:
        """The spans of a trace by their start, each once: one that is sent again replaces what was sent before."""
        with self.lock:
            found = {span.span_id: span for span in self.spans if span.trace_id == trace_id}
        return sorted(found.values(), key=lambda span: (span.start, -span.end))


def read_request(path: str, body: bytes, *, is_json: bool) -> Message:
    """The message that was sent to a path. Raises LookupError for another path, and ValueError if it is malformed."""
    request = REQUESTS[path]()
    try:
        if is_json:
            Parse(json.dumps(_with_base64_ids(json.loads(body))), request, ignore_unknown_fields=True)
        else:
            request.ParseFromString(body)
    except Exception as error:
        raise ValueError(f"is no {type(request).__name__}: {error}") from None
    return request


def _with_base64_ids(value: Any) -> Any:
    """OTLP's JSON has ids in hexadecimal, where protobuf's has bytes in base64."""
    match value:
        case dict():
            return {
                name: base64.b64encode(bytes.fromhex(each)).decode() if name in _ID_FIELDS else _with_base64_ids(each)
                for name, each in value.items()
            }
        case list():
            return [_with_base64_ids(each) for each in value]
    return value


def _spans(request: ExportTraceServiceRequest) -> Iterator[Span]:
    for group in request.resource_spans:
        service = str(_attributes(group.resource.attributes).get("service.name", ""))
        for scope in group.scope_spans:
            for span in scope.spans:
                yield Span(
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex(),
                    name=span.name,
                    kind=_KINDS[span.kind],
                    start=span.start_time_unix_nano,
                    end=span.end_time_unix_nano,
                    attributes=_attributes(span.attributes),
                    events=tuple((event.name, event.time_unix_nano) for event in span.events),
                    links=tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
                    failed=span.status.code == span.status.STATUS_CODE_ERROR,
                    status=span.status.message,
                    service=service,
                )


def _logs(request: ExportLogsServiceRequest) -> Iterator[LogLine]:
    for group in request.resource_logs:
        service = str(_attributes(group.resource.attributes).get("service.name", ""))
        for scope in group.scope_logs:
            for record in scope.log_records:
                yield LogLine(
                    severity=record.severity_text,
                    text=str(_value(record.body)),
                    attributes=_attributes(record.attributes),
                    trace_id=record.trace_id.hex(),
                    span_id=record.span_id.hex(),
                    service=service,
                )


def _points(request: ExportMetricsServiceRequest) -> Iterator[Point]:
    for group in request.resource_metrics:
        for scope in group.scope_metrics:
            for metric in scope.metrics:
                kind = next((each for each in _METRIC_KINDS if metric.HasField(each)), "")
                if not kind:
                    continue
                for point in getattr(metric, kind).data_points:
                    attributes = _attributes(point.attributes)
                    if kind == "histogram":
                        yield Point(metric.name, metric.unit, kind, point.sum, attributes, point.count)
                    else:
                        value = point.as_int if point.HasField("as_int") else point.as_double
                        yield Point(metric.name, metric.unit, kind, value, attributes)


def _attributes(pairs: Sequence[Any]) -> dict[str, object]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: Any) -> object:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    if kind == "kvlist_value":
        return _attributes(value.kvlist_value.values)
    return getattr(value, kind) if kind is not None else None
