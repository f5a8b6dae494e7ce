"""X"""

from __future__ import annotations

from datetime import datetime, timedelta

from maintenance.domain.observations import ErrorDetail

HELD = ErrorDetail("Throttled", "ARM asked for a pause in this subscription, which is not over yet.")


class Holds:
    """Until when no call is made for a subscription. After a restart ARM says it again, at the cost of one call."""

    def __init__(self) -> None:
        self._until: dict[str, datetime] = {}

    def note(self, subscription_id: str, until: datetime) -> None:
        key = subscription_id.lower()
        self._until[key] = max(until, self._until.get(key, until))

    def left(self, subscription_id: str, now: datetime) -> timedelta | None:
        """How long still; None where calls may be made."""
        key = subscription_id.lower()
        until = self._until.get(key)
        if until is None:
            return None
        if until <= now:
            del self._until[key]
            return None
        return until - now
