"""Turns telemetry on, by the environment alone, and finds what others have turned on.

Where `OTEL_EXPORTER_OTLP_ENDPOINT` is set, traces, metrics and logs are exported as OTLP over HTTP. Where somebody else
has set up OpenTelemetry for this process, as the Functions host's worker for Python does for Application Insights, that
is used as it is. Otherwise nothing of OpenTelemetry is imported.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from azure.core.settings import settings

from maintenance.domain.redaction import place_of
from maintenance.version import VERSION

if TYPE_CHECKING:
    from maintenance.telemetry.watch import Watch

logger = logging.getLogger(__name__)

SERVICE = "vmss-maintenance"
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
SIGNALS = ("traces", "metrics", "logs")
MISSING = (
    "Telemetry is off: %s is set, and the package %s is missing. Deploy requirements-telemetry.txt in place of "
    "requirements.txt"
)
# What this module set up, to be ended with the process.
_started: list[Callable[[], object]] = []
SHUTDOWN_LIMIT = 5.0  # seconds


def asks_for_otlp(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The signals that are to be exported as OTLP, of `SIGNALS`."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return ()
    return tuple(
        signal
        for signal in SIGNALS
        if environment.get(f"OTEL_{signal.upper()}_EXPORTER", "otlp").strip().lower() in ("", "otlp")
        and (
            environment.get(ENDPOINT, "").strip()
            or environment.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT", "").strip()
        )
    )


def start_telemetry(environment: Mapping[str, str]) -> None:
    """Set up OpenTelemetry for this process, if the environment asks for it and nobody has. Raises nothing: what is
    wrong is logged, and the worker works without."""
    signals = asks_for_otlp(environment)
    if not signals or _started:
        return
    if _is_set_up():
        logger.info("OpenTelemetry was set up by others, and %s is left to them", ENDPOINT)
        return
    protocol = environment.get("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf").strip()
    if protocol not in ("", "http/protobuf"):
        logger.warning("OTEL_EXPORTER_OTLP_PROTOCOL is %s; exported is http/protobuf", protocol[:40])
    try:
        from maintenance.telemetry import otlp  # noqa: PLC0415 - where telemetry is off, nothing of it is imported

        _started.extend(otlp.start(signals, otlp.resource(_resource(environment))))
        atexit.register(stop_telemetry)
    except ModuleNotFoundError as error:
        logger.error(MISSING, ENDPOINT, error.name)
    except Exception as error:
        # A setting of OpenTelemetry's that it cannot read, mostly. No text: headers may hold a key.
        logger.error("Telemetry is off, since OpenTelemetry could not be set up: %s", place_of(error))


def stop_telemetry(limit: float = SHUTDOWN_LIMIT) -> None:
    """Export what is left, for at most `limit` seconds."""
    ends, _started[:] = list(_started), []
    # Daemons, since a backend that does not respond must not keep the process from ending; and one for each, so that
    # what one waits for the others do not.
    threads = [threading.Thread(target=end, name="telemetry-stop", daemon=True) for end in ends]
    give_up = time.monotonic() + limit
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(give_up - time.monotonic(), 0))


def find_watch(*, queue: str, server: str, now: Callable[[], datetime]) -> Watch | None:
    """The worker's telemetry, if OpenTelemetry is set up for this process; else None. See `Watch`."""
    if not _is_set_up():
        return None
    from opentelemetry import metrics, trace  # noqa: PLC0415 - as above

    from maintenance.telemetry.emitter import Emitter  # noqa: PLC0415
    from maintenance.telemetry.flushing import Flusher  # noqa: PLC0415
    from maintenance.telemetry.metrics import Meters  # noqa: PLC0415
    from maintenance.telemetry.watch import Watch  # noqa: PLC0415

    provider = trace.get_tracer_provider()
    flush = getattr(provider, "force_flush", None)
    return Watch(
        Emitter(provider.get_tracer(SERVICE, VERSION)),
        Meters(metrics.get_meter(SERVICE, VERSION)),
        Flusher([flush] if flush is not None else []),
        queue=queue,
        server=server,
        now=now,
    )


def turn_sdk_tracing_off(environment: Mapping[str, str]) -> None:
    """Have Azure's SDKs make no spans, unless the environment names an implementation: they make four for each message,
    which doubles its processor time. Azure Monitor's distro turns them on, whether they are wanted or not."""
    if not environment.get("AZURE_SDK_TRACING_IMPLEMENTATION", "").strip():
        settings.tracing_implementation = None


def _is_set_up() -> bool:
    # Whoever has set it up has imported it.
    if "opentelemetry.trace" not in sys.modules or os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    from opentelemetry import metrics, trace  # noqa: PLC0415 - as above

    providers: tuple[Any, ...] = (trace.get_tracer_provider(), metrics.get_meter_provider())
    return any(hasattr(provider, "force_flush") for provider in providers)


def _resource(environment: Mapping[str, str]) -> dict[str, str]:
    """What names this service, where `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` do not."""
    attributes = {"service.version": VERSION}
    if not environment.get("OTEL_SERVICE_NAME") and "service.name=" not in environment.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    ):
        attributes["service.name"] = environment.get("WEBSITE_SITE_NAME") or SERVICE
    return attributes
