"""Requests queue: validates requests, applies policy, starts operations, schedules retries, cancels."""
