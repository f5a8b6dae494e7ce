"""Tests of the worker's telemetry."""
