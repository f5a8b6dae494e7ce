"""What a collector takes, and what it refuses, as OTLP over HTTP says it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from sandbox.otlp import OtlpReceiver

TRACE, SPAN, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "00f067aa0ba902b7"
PROTOBUF = {"Content-Type": "application/x-protobuf"}
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as receiver:
        yield receiver


def traces(**changes: Any) -> bytes:
    """A request with one span, in OTLP's JSON."""
    span = {
        "traceId": TRACE,
        "spanId": SPAN,
        "parentSpanId": PARENT,
        "name": "wave 1",
        "kind": 3,
        "startTimeUnixNano": "1000",
        "endTimeUnixNano": "3000",
        "attributes": [{"key": "vmss.maintenance.wave", "value": {"intValue": "1"}}],
        "links": [{"traceId": TRACE, "spanId": PARENT}],
        "status": {"code": 2, "message": "Refused"},
        **changes,
    }
    service = {"attributes": [{"key": "service.name", "value": {"stringValue": "worker"}}]}
    return json.dumps({"resourceSpans": [{"resource": service, "scopeSpans": [{"spans": [span]}]}]}).encode()


def post(receiver: OtlpReceiver, path: str, body: bytes, headers: dict[str, str]) -> int:
    return httpx.post(f"{receiver.endpoint}{path}", content=body, headers=headers).status_code


def test_span_sent_as_json_is_read_and_one_sent_again_replaces_it(receiver: OtlpReceiver) -> None:
    assert post(receiver, "/v1/traces", traces(), JSON) == 200
    assert post(receiver, "/v1/traces", traces(name="wave one"), JSON) == 200
    (span,) = receiver.telemetry.trace(TRACE)
    assert (span.name, span.span_id, span.parent_id, span.kind, span.end) == ("wave one", SPAN, PARENT, "client", 3000)
    assert (span.attributes, span.links) == ({"vmss.maintenance.wave": 1}, ((TRACE, PARENT),))
    assert (span.failed, span.status, span.service) == (True, "Refused", "worker")
    assert httpx.get(f"{receiver.endpoint}/v1/traces").json() == {"traces": [TRACE]}
    assert [each["name"] for each in httpx.get(f"{receiver.endpoint}/v1/traces/{TRACE}").json()["spans"]] == [
        "wave one"
    ]
    assert httpx.get(f"{receiver.endpoint}/v1/traces/0").status_code == 404


def test_logs_and_metrics_sent_as_packed_protobuf_are_read(receiver: OtlpReceiver) -> None:
    logs = ExportLogsServiceRequest()
    record = logs.resource_logs.add().scope_logs.add().log_records.add(severity_text="WARN")
    record.body.string_value = "said"
    packed = gzip.compress(logs.SerializeToString())
    assert post(receiver, "/v1/logs", packed, {**PROTOBUF, "Content-Encoding": "gzip"}) == 200
    metrics = ExportMetricsServiceRequest()
    metric = metrics.resource_metrics.add().scope_metrics.add().metrics.add(name="taken", unit="{record}")
    metric.sum.data_points.add(as_int=3)
    assert post(receiver, "/v1/metrics", metrics.SerializeToString(), PROTOBUF) == 200
    assert [(line.severity, line.text) for line in receiver.telemetry.logs] == [("WARN", "said")]
    assert [(point.name, point.kind, point.value) for point in receiver.telemetry.points] == [("taken", "sum", 3)]


@pytest.mark.parametrize(
    ("path", "body", "headers", "status"),
    [
        ("/v1/traces", b"\xff\xff", PROTOBUF, 400),
        ("/v1/traces", b"[", JSON, 400),
        ("/v1/traces", b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "xyz"}]}]}]}', JSON, 400),
        ("/v1/traces", b"no gzip", {**PROTOBUF, "Content-Encoding": "gzip"}, 400),
        ("/v1/traces", b"", {**PROTOBUF, "Content-Encoding": "br"}, 400),
        ("/v1/traces", b"", {"Content-Type": "text/plain"}, 415),
        ("/v1/else", b"", PROTOBUF, 404),
    ],
)
def test_what_is_no_otlp_is_refused(
    receiver: OtlpReceiver, path: str, body: bytes, headers: dict[str, str], status: int
) -> None:
    assert post(receiver, path, body, headers) == status
    assert receiver.telemetry.spans == []
