"""Observations of Azure Resource Manager as values: errors, submissions, readings of an operation."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

UrlKind = Literal["async-operation", "location"]


@dataclass(frozen=True, slots=True)
class ErrorDetail:
    """Error as ARM reports it (`ApiError`), cut to lengths that fit an event.

    `innererror` is omitted, since it may contain an exception dump.
    """

    code: str
    message: str
    target: str | None = None
    details: tuple[ErrorDetail, ...] = ()


@dataclass(frozen=True, slots=True)
class Accepted:
    """Submission accepted (202): ARM works on it. Without a `url` only the instance views show the progress."""

    url: str | None
    kind: UrlKind = "async-operation"
    retry_after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Running:
    """Operation still running. `url`: the next URL to poll, if ARM moved it. `remaining`: calls left, if reported."""

    status: str
    retry_after: timedelta | None = None
    url: str | None = None
    remaining: int | None = None


@dataclass(frozen=True, slots=True)
class Succeeded:
    """Operation that ARM reports as succeeded. The instance views must confirm it before it is published."""


@dataclass(frozen=True, slots=True)
class Failed:
    """Operation that ARM reports as failed, or as canceled (`canceled`)."""

    error: ErrorDetail
    canceled: bool = False


@dataclass(frozen=True, slots=True)
class Throttled:
    """Call that was throttled: nothing was done, and it can be retried after `retry_after`.

    `whole_subscription`: ARM throttles every call to the subscription, not only this one.
    """

    error: ErrorDetail
    retry_after: timedelta | None = None
    whole_subscription: bool = True


@dataclass(frozen=True, slots=True)
class Refused:
    """Submission that ARM refused: nothing was done, and the same call would be refused again."""

    error: ErrorDetail
    status: int


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """Submission with an unknown result: it may have started. The instance views must show whether it has."""

    error: ErrorDetail
    retry_after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Poll that could not be read: a transient error, which says nothing about the operation itself."""

    error: ErrorDetail
    retry_after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Unreported:
    """Operation whose status ARM does not report. Not a failure: the instance views must show how it ended.

    `gone`: ARM has deleted the operation (404, 410), so it no longer runs. Otherwise the app's identity is not allowed
    to read it (403).
    """

    error: ErrorDetail
    gone: bool = False


Submission = Accepted | Succeeded | Failed | Throttled | Refused | Ambiguous
Reading = Running | Succeeded | Failed | Throttled | Unreadable | Unreported
