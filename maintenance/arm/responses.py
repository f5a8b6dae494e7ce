"""Reads responses of Azure Resource Manager: from a status, headers and a body to one value. Pure.

Sources: the REST reference of Virtual Machine Scale Sets - Perform Maintenance (2024-07-01), and the asynchronous
operations part of the ARM resource provider contract. Where the two are silent, nothing is called a success.
"""

from __future__ import annotations

import json
from codecs import BOM_UTF8
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from maintenance.domain.observations import (
    Accepted,
    Ambiguous,
    ErrorDetail,
    Failed,
    Reading,
    Refused,
    Running,
    Submission,
    Succeeded,
    Throttled,
    Unreadable,
    Unreported,
    UrlKind,
)

# An error is carried in a record, several times over, and in an event; neither may outgrow a Service Bus message.
MAX_NAME = 200
MAX_TEXT = 2_000
MAX_DETAIL_TEXT = 500
MAX_DETAILS = 20
LONGEST_RETRY_AFTER = timedelta(days=1)
_ARM_COUNTERS = (
    "x-ms-ratelimit-remaining-subscription-reads",
    "x-ms-ratelimit-remaining-subscription-global-reads",
)
_COMPUTE_COUNTERS = "x-ms-ratelimit-remaining-resource"


@dataclass(frozen=True, slots=True)
class ArmResponse:
    """One HTTP answer: status, headers that are found by their lower-case names, the whole body."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


def read_submission(answer: ArmResponse, now: datetime) -> Submission:
    """What the answer to `POST …/performMaintenance` means."""
    retry_after = read_retry_after(answer.headers, now)
    document = _document(answer.body)
    if answer.status == 200 and answer.body.strip() and not isinstance(document, dict):
        # A page of some proxy's, which says nothing of what ARM did.
        told = f"HTTP 200 with a body that is no JSON object ({len(answer.body)} bytes)"
        return Ambiguous(ErrorDetail("UnreadableAnswer", told), retry_after)
    if answer.status in (200, 201, 202):
        kind: UrlKind = "async-operation"
        url = answer.headers.get("azure-asyncoperation") or None
        if url is None and answer.status != 200:
            kind, url = "location", answer.headers.get("location") or None
        status = _operation_status(document)
        if status in ("failed", "canceled"):
            return Failed(_operation_error(document, status), canceled=status == "canceled")
        if answer.status == 200 and (status == "succeeded" or (url is None and status is None)):
            return Succeeded()
        return Accepted(url, kind, retry_after)
    error = _error(answer, document)
    if answer.status == 429:
        return Throttled(error, retry_after)
    if answer.status == 409 and (retry_after is not None or _advises_retry(error)):
        return Throttled(error, retry_after, whole_subscription=False)
    if answer.status == 408 or answer.status >= 500 or answer.status < 300:
        return Ambiguous(error, retry_after)
    return Refused(error, answer.status)


def read_operation(answer: ArmResponse, kind: UrlKind, now: datetime) -> Reading:
    """What the answer to a poll means, by the kind of URL that was polled."""
    retry_after = read_retry_after(answer.headers, now)
    document = _document(answer.body)
    if 200 <= answer.status < 300:
        return _read_state(answer, document, kind, retry_after)
    error = _error(answer, document)
    if answer.status == 429:
        return Throttled(error, retry_after)
    if answer.status in (403, 404, 410):
        return Unreported(error, gone=answer.status != 403)
    final = 400 <= answer.status < 500 and answer.status not in (401, 408)
    if kind == "location" and final and retry_after is None:
        return Failed(error)
    return Unreadable(error, retry_after)


def _read_state(answer: ArmResponse, document: object, kind: UrlKind, retry_after: timedelta | None) -> Reading:
    status = _operation_status(document)
    moved = (answer.headers.get("location") or None) if kind == "location" else None
    if status == "succeeded":
        return Succeeded()
    if status in ("failed", "canceled"):
        return Failed(_operation_error(document, status), canceled=status == "canceled")
    if status is not None:
        return Running(status, retry_after, moved, read_remaining(answer.headers))
    if kind == "location":
        if answer.status in (201, 202):
            return Running("inprogress", retry_after, moved, read_remaining(answer.headers))
        if isinstance(document, dict) and isinstance(document.get("error"), dict):
            return Failed(_error(answer, document))
        if not answer.body.strip() or isinstance(document, dict):
            return Succeeded()
    return Unreadable(
        ErrorDetail("UnreadableAnswer", f"HTTP {answer.status} without an operation status in its body"),
        retry_after,
    )


def read_error(answer: ArmResponse) -> ErrorDetail:
    """ARM's own account of an error, in either of its two forms (with and without the `error` envelope)."""
    return _error(answer, _document(answer.body))


def read_retry_after(headers: Mapping[str, str], now: datetime) -> timedelta | None:
    """The pause asked for: `Retry-After` in seconds or as an HTTP date (RFC 9110, 10.2.3), or its millisecond forms.

    Never negative, never more than a day; None where absent or unreadable.
    """
    for name, unit in (("retry-after-ms", 0.001), ("x-ms-retry-after-ms", 0.001), ("retry-after", 1.0)):
        if name in headers:
            text = headers[name].strip()
            if text.isascii() and text.isdigit():
                seconds = int(text[:12]) * unit
                return min(timedelta(seconds=seconds), LONGEST_RETRY_AFTER)
    text = headers.get("retry-after", "").strip()
    if not text:
        return None
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max(moment - now, timedelta(0)), LONGEST_RETRY_AFTER)


def read_remaining(headers: Mapping[str, str]) -> int | None:
    """How many calls of this kind may still be made: the lowest counter told, ARM's own (a number) or one of Compute's
    (`Microsoft.Compute/GetOperationResource;44,…`). None where none is told."""
    told = [headers[name] for name in _ARM_COUNTERS if name in headers]
    if _COMPUTE_COUNTERS in headers:
        told += [counter.rpartition(";")[2] for counter in headers[_COMPUTE_COUNTERS].split(",")]
    counters = [int(text[:9]) for each in told if (text := each.strip()).isascii() and text.isdigit()]
    return min(counters, default=None)


def _document(body: bytes) -> object:
    """The body's JSON; None where it holds none. Azure sends a byte order mark at times."""
    try:
        return json.loads(body.removeprefix(BOM_UTF8).decode()) if body.strip() else None
    except (ValueError, RecursionError):
        return None


def _operation_status(document: object) -> str | None:
    if not isinstance(document, dict):
        return None
    status = document.get("status")
    return status.strip().lower() if isinstance(status, str) and status.strip() else None


def _operation_error(document: object, status: str) -> ErrorDetail:
    error = document.get("error") if isinstance(document, dict) else None
    if isinstance(error, dict):
        return _detail(error)
    return ErrorDetail(f"Operation{status.capitalize()}", f"The operation ended as {status}; ARM gave no error.")


def _error(answer: ArmResponse, document: object) -> ErrorDetail:
    if isinstance(document, dict):
        inner = document.get("error")
        if isinstance(inner, dict):
            return _detail(inner)
        if "code" in document or "message" in document:
            return _detail(document)
    shown = "no body" if not answer.body.strip() else f"a body that is no ARM error ({len(answer.body)} bytes)"
    return ErrorDetail(f"Http{answer.status}", f"HTTP {answer.status} with {shown}")


def _detail(error: Mapping[str, Any]) -> ErrorDetail:
    details = error.get("details")
    inner = details if isinstance(details, list) else []
    return ErrorDetail(
        code=_text(error.get("code"), MAX_NAME) or "Unknown",
        message=_text(error.get("message"), MAX_TEXT) or "ARM gave no message.",
        target=_text(error.get("target"), MAX_NAME),
        details=tuple(_inner_detail(item) for item in inner[:MAX_DETAILS] if isinstance(item, dict)),
    )


def _inner_detail(error: Mapping[str, Any]) -> ErrorDetail:
    """An `ApiErrorBase`, which has no details of its own."""
    return ErrorDetail(
        code=_text(error.get("code"), MAX_NAME) or "Unknown",
        message=_text(error.get("message"), MAX_DETAIL_TEXT) or "ARM gave no message.",
        target=_text(error.get("target"), MAX_NAME),
    )


def _text(value: object, most: int) -> str | None:
    if value is None or value == "":
        return None
    text = value if isinstance(value, str) else str(value)
    # JSON can hold half of a surrogate pair, which no record could be written with or read from.
    text = text.encode(errors="replace").decode()
    return text if len(text) <= most else text[:most] + "…"


def _advises_retry(error: ErrorDetail) -> bool:
    text = " ".join([error.message, *(detail.message for detail in error.details)]).lower()
    return any(advice in text for advice in ("retry", "try again"))
