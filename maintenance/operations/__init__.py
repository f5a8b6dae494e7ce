"""Runs of operations: performs actions, persists records, publishes events, and polls on the timer."""
