"""One request is one trace, in however many processes it is carried out, and whenever these are killed."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from sandbox.otlp import OtlpReceiver
from tests.reliability import stories
from tests.reliability.environment import environment
from tests.reliability.killable_worker import CrashPoint
from tests.reliability.traces import TRACEPARENT, check_one_trace
from tests.support.secret_scanner import SECRET_SCANNER

# In the second wave when its POST has a response, and when that wave's event is published.
KILLS = (
    CrashPoint("POST …/web/performMaintenance", 2),
    CrashPoint("send_messages maintenance-events progressed", 1),
)


def test_request_of_three_waves_killed_twice_is_one_whole_trace(tmp_path: Path) -> None:
    with OtlpReceiver() as receiver:
        settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint}
        story = replace(stories.THREE_WAVES, settings=settings, properties={"traceparent": TRACEPARENT})
        with environment(story, tmp_path) as services:
            services.send_requests()
            for crash in (*KILLS, None):
                with ExitStack() as runs:
                    worker = runs.enter_context(services.worker(crash=crash))
                    finished = services.finish(worker)
                    assert finished == (crash is None), services.report()
                services.expire_locks()
            services.check()
            check_one_trace(services, receiver.telemetry, waves=3)
        SECRET_SCANNER.scan_telemetry(receiver.telemetry)
