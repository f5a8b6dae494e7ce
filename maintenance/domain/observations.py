"""What Azure Resource Manager said, as values: errors, submissions, readings of an operation."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

UrlKind = Literal["async-operation", "location"]


@dataclass(frozen=True, slots=True)
class ErrorDetail:
    """An error as ARM reports it (`ApiError`), cut to lengths that fit an event. `innererror` is left out: it may
    hold an exception dump."""

    code: str
    message: str
    target: str | None = None
    details: tuple[ErrorDetail, ...] = ()


@dataclass(frozen=True, slots=True)
class Accepted:
    """202: ARM works on it. Without a url (headers missing) only the instance views can tell how it goes on."""

    url: str | None
    kind: UrlKind = "async-operation"
    retry_after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Running:
    """Not finished; `url` is where to ask next if ARM moved it. `remaining`: how many calls are left, where told."""

    status: str
    retry_after: timedelta | None = None
    url: str | None = None
    remaining: int | None = None


@dataclass(frozen=True, slots=True)
class Succeeded:
    """ARM says it is done. The instance views are read before anybody else is told so."""


@dataclass(frozen=True, slots=True)
class Failed:
    """ARM says it ended without success; `canceled` where it says it was canceled."""

    error: ErrorDetail
    canceled: bool = False


@dataclass(frozen=True, slots=True)
class Throttled:
    """Nothing was done; not before `retry_after` again. `whole_subscription`: nor anything else in the subscription."""

    error: ErrorDetail
    retry_after: timedelta | None = None
    whole_subscription: bool = True


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing was done, and the same call would be refused again."""

    error: ErrorDetail
    status: int


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """It may have been done or not: only looking at the instances can tell."""

    error: ErrorDetail
    retry_after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """The state of the operation could not be read; the operation itself may be well."""

    error: ErrorDetail
    retry_after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Unreported:
    """ARM does not tell: it no longer keeps the operation (404, 410), or we may not read it (403). Not a failure: the
    instance views are left to judge by. `gone`: the operation is no longer kept, so it no longer runs."""

    error: ErrorDetail
    gone: bool = False


Submission = Accepted | Succeeded | Failed | Throttled | Refused | Ambiguous
Reading = Running | Succeeded | Failed | Throttled | Unreadable | Unreported
