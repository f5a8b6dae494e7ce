"""Tests of the sandbox's receiver of OpenTelemetry."""
