"""What the worker does, as spans, metrics and log records of OpenTelemetry; nothing where nobody asked for them."""
