"""The operator's command line, `vmss-maintenance`: plan, send, follow, cancel, dead letters, doctor. Never deployed."""
