"""Deterministic simulation: the real use cases over models of Service Bus and ARM, under a loop that owns time."""
