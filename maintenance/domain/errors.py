"""Errors of the domain: problems with an input, and failures of Azure with what is known of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from maintenance.domain.redaction import printable
from maintenance.domain.resources import ScaleSet

if TYPE_CHECKING:
    # As in `policies.tags`.
    from maintenance.domain.observations import ErrorDetail


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with an input: where, what, and the offending value as text (shortened).

    What is not printable in them is escaped: names of fields are the sender's, and may hold half of a surrogate pair.
    """

    field: str
    message: str
    value: str | None = None

    def __post_init__(self) -> None:
        for name in ("field", "message", "value"):
            text = getattr(self, name)
            if text is not None and not text.isprintable():
                object.__setattr__(self, name, printable(text))

    def __str__(self) -> str:
        shown = "" if self.value is None else f" (got {self.value})"
        return f"{self.field}: {self.message}{shown}"


class MaintenanceError(Exception):
    """The root of everything this package raises on purpose."""


class ProblemsError(MaintenanceError):
    """An input that cannot be acted on; carries every problem found, never just the first."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        super().__init__("; ".join(str(problem) for problem in problems))


class InvalidRequest(ProblemsError):
    """The message is not a maintenance request."""


class InvalidAlert(ProblemsError):
    """The payload is no alert of Azure Monitor's, or lacks what must be known to act on it."""


class PolicyViolation(ProblemsError):
    """The request is well formed, but this app does not allow it. `scale_set` and `reason` are the request's."""

    def __init__(
        self, problems: tuple[Problem, ...], scale_set: ScaleSet | None = None, reason: str | None = None
    ) -> None:
        super().__init__(problems)
        self.scale_set = scale_set
        self.reason = reason


class SettingsError(ProblemsError):
    """The app's settings are incomplete or wrong."""


class UnreadableRecord(MaintenanceError):
    """A message in the operations queue that this version cannot read."""

    def __init__(self, reason: str, description: str) -> None:
        self.reason = reason
        self.description = description
        super().__init__(f"{reason}: {description}")


class ArmError(MaintenanceError):
    """Azure Resource Manager did not give what was asked of it.

    `status` is the HTTP status, None where no response came. `error` is ARM's own account of it.
    """

    def __init__(
        self,
        doing: str,
        error: ErrorDetail,
        *,
        status: int | None = None,
        retry_after: timedelta | None = None,
    ) -> None:
        self.doing = doing
        self.error = error
        self.status = status
        self.retry_after = retry_after
        outcome = "no response" if status is None else f"HTTP {status}"
        super().__init__(f"{doing}: {outcome}: {error.code}: {error.message}")


class ThrottledError(ArmError):
    """Too many calls; none before `retry_after`."""


class TransientError(ArmError):
    """A transient error: a time-out, a lost connection, a 5xx."""


class RefusedError(ArmError):
    """A final no: the same call will be refused again."""


class BusUnavailable(MaintenanceError):
    """Service Bus did not take or give a message."""


class EntityMissing(BusUnavailable):
    """There is no queue or topic of that name. Waiting a minute or two does not help."""


class MessageTooLarge(BusUnavailable):
    """Service Bus takes no message of that size, now or later."""


class IdentityUnavailable(MaintenanceError):
    """No token could be obtained. Nothing was sent."""


class UntrustedUrl(MaintenanceError):
    """A URL that is not followed; names the host, never the query."""

    def __init__(self, host: str, why: str) -> None:
        self.host = host
        self.why = why
        super().__init__(f"ARM's response points to {host!r}, which is not followed: {why}")
