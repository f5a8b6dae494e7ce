"""Telemetry is turned on by the environment alone, and where it is off nothing of it is there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from maintenance.telemetry.start import asks_for_otlp, find_watch, start_telemetry, stop_telemetry
from sandbox.otlp import OtlpReceiver
from tests.support.samples import NOW
from tests.support.telemetry import global_telemetry

ROOT = Path(__file__).parents[3]
ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
# As a process of the app: all of it is imported and put together, and then a worker is asked for its telemetry.
WORKER = """
import json, os, sys
import maintenance.worker as module
worker = module.worker()
imported = any(name.startswith("opentelemetry") for name in sys.modules)
print(json.dumps([worker._watch is not None, imported]), flush=True)
os._exit(0)
"""
SETTINGS = {
    "ServiceBusConnection": "Endpoint=sb://localhost;SharedAccessKeyName=x;SharedAccessKey=eA==",
    "MAINTENANCE_ALLOWED_SCOPES": "/subscriptions/11111111-1111-4111-8111-111111111111",
}


@pytest.mark.parametrize(
    ("environment", "signals"),
    [
        ({}, ()),
        (ENDPOINT, ("traces", "metrics", "logs")),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, ()),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "TRUE"}, ()),
        ({**ENDPOINT, "OTEL_LOGS_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"}, ("traces",)),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318/v1/traces"}, ("traces",)),
    ],
)
def test_environment_says_what_is_exported(environment: dict[str, str], signals: tuple[str, ...]) -> None:
    assert asks_for_otlp(environment) == signals


def started(**environment: str) -> tuple[list[bool], str]:
    """Whether a worker has telemetry and OpenTelemetry was imported, and what it logs."""
    run = subprocess.run(
        [sys.executable, "-c", WORKER],
        cwd=ROOT,
        env={**SETTINGS, **environment},
        capture_output=True,
        check=True,
        text=True,
    )
    return json.loads(run.stdout.splitlines()[-1]), run.stderr


def test_worker_without_telemetry_imports_nothing_of_it() -> None:
    assert started() == ([False, False], "")


def test_worker_whose_settings_cannot_be_read_by_opentelemetry_works_without_and_says_so() -> None:
    found, log = started(**ENDPOINT, OTEL_BLRP_SCHEDULE_DELAY="-1")
    assert found[0] is False
    assert "Telemetry is off, since OpenTelemetry could not be set up: ValueError" in log


def test_missing_package_is_named_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delitem(sys.modules, "maintenance.telemetry.otlp", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk._logs", None)
    start_telemetry(ENDPOINT)
    assert "OTEL_EXPORTER_OTLP_ENDPOINT is set, and the package opentelemetry.sdk._logs is missing" in caplog.text
    assert "requirements-telemetry.txt" in caplog.text


def test_what_others_set_up_is_used_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    assert find_watch(queue="q", server="s", now=lambda: NOW) is None
    with global_telemetry():
        start_telemetry(ENDPOINT)
        assert "OpenTelemetry was set up by others" in caplog.text
        assert find_watch(queue="q", server="s", now=lambda: NOW) is not None
    stop_telemetry()


def test_spans_metrics_and_logs_reach_a_collector_with_the_names_of_the_service() -> None:
    script = """
import logging, os, datetime
logging.basicConfig(level=logging.INFO)
from maintenance.telemetry.start import find_watch, start_telemetry, stop_telemetry
start_telemetry(os.environ)
watch = find_watch(queue="q", server="s", now=lambda: datetime.datetime.now(datetime.UTC))
from maintenance.domain.messages import Envelope
with watch.receiving(Envelope(body=b"", sequence_number=1), None):
    watch.request("taken", "req-1")
    logging.getLogger("maintenance.x").warning("said", extra={"vmss.maintenance.line": "start"})
logging.getLogger("others").warning("unsaid")
stop_telemetry()
"""
    with OtlpReceiver() as receiver:
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, "OTEL_SERVICE_NAME": "mine"}
        subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment, check=True, capture_output=True)
    (span,) = receiver.telemetry.spans
    (line,) = receiver.telemetry.logs
    assert (span.name, span.service, span.kind) == ("process q", "mine", "consumer")
    assert (line.text, line.severity, line.attributes["vmss.maintenance.line"]) == ("said", "WARN", "start")
    assert (line.trace_id, line.span_id) == (span.trace_id, span.span_id)
    assert {(point.name, point.value) for point in receiver.telemetry.points if point.value} == {
        ("vmss.maintenance.requests", 1)
    }
