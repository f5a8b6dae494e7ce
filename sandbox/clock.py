"""The time as the sandbox sees it: a function to call, so that a test moves it by hand."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Answers the present as an aware datetime in UTC. It must never go backwards."""


def system_clock() -> datetime:
    """The present by the system's clock, in UTC."""
    return datetime.now(UTC)
