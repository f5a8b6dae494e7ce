"""A receiver of OpenTelemetry's protocol over HTTP, on loopback, and what it received as plain values."""

from sandbox.otlp.receiver import OtlpReceiver
from sandbox.otlp.signals import LogLine, Point, Span, Telemetry

__all__ = ["LogLine", "OtlpReceiver", "Point", "Span", "Telemetry"]
