"""The listeners of triggers: each receives or waits, converts, and invokes the function."""
