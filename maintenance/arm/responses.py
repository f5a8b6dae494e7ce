"""Reader of ARM's HTTP responses: from status, headers and body to one observation. Pure.

Sources: the REST reference of Virtual Machine Scale Sets - Perform Maintenance (2024-07-01), and the asynchronous
operations part of the ARM resource provider contract. A response that neither defines is never a success.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from maintenance.domain.formats import parse_json
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
from maintenance.domain.redaction import redact

# A record holds several errors and an event holds one; neither may exceed the size of a Service Bus message.
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
# A 409 of these kinds is about another write (autoscale, an upgrade, an extension) and not about this one, of which
# nothing was done: github.com/cloudfoundry/bosh-azure-cpi-release/issues/762, github.com/Azure/azure-cli/issues/15765.
_CONCURRENT_CODES = ("conflictingconcurrentwritenotallowed", "anotheroperationinprogress", "retryableerror")
_CONCURRENT_TEXTS = (
    *("retry", "try again", "concurrent", "preempted", "currently being updated", "exclusive access"),
    *("another operation", "operation is in progress", "operation in progress", "operation is already in progress"),
)
# A 409 of OperationNotAllowed for such an instance stays so, whatever else its text says.
_INELIGIBLE = "not eligible"


@dataclass(frozen=True, slots=True)
class ArmResponse:
    """HTTP response of ARM: status, headers by their lower-case names, the whole body."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


def read_submission(response: ArmResponse, now: datetime) -> Submission:
    """Read the response to `POST …/performMaintenance`."""
    retry_after = read_retry_after(response.headers, now)
    document = _document(response.body)
    if response.status == 200 and response.body.strip() and not isinstance(document, dict):
        # A proxy's page, which does not report what ARM did.
        message = f"HTTP 200 with a body that is not a JSON object ({len(response.body)} bytes)"
        return Ambiguous(ErrorDetail("UnreadableResponse", message), retry_after)
    if response.status in (200, 201, 202):
        kind: UrlKind = "async-operation"
        url = response.headers.get("azure-asyncoperation") or None
        if url is None and response.status != 200:
            kind, url = "location", response.headers.get("location") or None
        status = _operation_status(document)
        if status in ("failed", "canceled"):
            return Failed(_operation_error(document, status), canceled=status == "canceled")
        if response.status == 200 and (status == "succeeded" or (url is None and status is None)):
            return Succeeded()
        return Accepted(url, kind, retry_after)
    error = _error(response, document)
    if response.status == 429:
        return Throttled(error, retry_after)
    if response.status == 409 and (retry_after is not None or _is_concurrent(error)):
        return Throttled(error, retry_after, whole_subscription=False)
    if response.status == 408 or response.status >= 500 or response.status < 300:
        return Ambiguous(error, retry_after)
    return Refused(error, response.status)


def read_operation(response: ArmResponse, kind: UrlKind, now: datetime) -> Reading:
    """Read the response to a poll, by the kind of URL that was polled."""
    retry_after = read_retry_after(response.headers, now)
    document = _document(response.body)
    if 200 <= response.status < 300:
        return _read_state(response, document, kind, retry_after)
    error = _error(response, document)
    if response.status == 429:
        return Throttled(error, retry_after)
    if response.status in (403, 404, 410):
        return Unreported(error, gone=response.status != 403)
    final = 400 <= response.status < 500 and response.status not in (401, 408)
    if kind == "location" and final and retry_after is None:
        return Failed(error)
    return Unreadable(error, retry_after)


def _read_state(response: ArmResponse, document: object, kind: UrlKind, retry_after: timedelta | None) -> Reading:
    status = _operation_status(document)
    moved = (response.headers.get("location") or None) if kind == "location" else None
    if status == "succeeded":
        return Succeeded()
    if status in ("failed", "canceled"):
        return Failed(_operation_error(document, status), canceled=status == "canceled")
    if status is not None:
        return Running(status, retry_after, moved, read_remaining(response.headers))
    if kind == "location":
        if response.status in (201, 202):
            return Running("inprogress", retry_after, moved, read_remaining(response.headers))
        if isinstance(document, dict) and isinstance(document.get("error"), dict):
            return Failed(_error(response, document))
        if not response.body.strip() or isinstance(document, dict):
            return Succeeded()
    return Unreadable(
        ErrorDetail("UnreadableResponse", f"HTTP {response.status} without an operation status in its body"),
        retry_after,
    )


def read_error(response: ArmResponse) -> ErrorDetail:
    """Read ARM's error from a body, with or without the `error` envelope."""
    return _error(response, _document(response.body))


def read_retry_after(headers: Mapping[str, str], now: datetime) -> timedelta | None:
    """Read `Retry-After`, in seconds or as an HTTP date (RFC 9110, 10.2.3), or its millisecond forms.

    The result is between zero and a day; None if it is absent or malformed.
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
    """Read the number of calls left before throttling: the lowest of the reported counters, None if there are none.

    A counter is ARM's own (a number) or one of Compute's (`Microsoft.Compute/GetOperationResource;44,…`).
    """
    counters = [headers[name] for name in _ARM_COUNTERS if name in headers]
    if _COMPUTE_COUNTERS in headers:
        counters += [counter.rpartition(";")[2] for counter in headers[_COMPUTE_COUNTERS].split(",")]
    numbers = [int(text[:9]) for each in counters if (text := each.strip()).isascii() and text.isdigit()]
    return min(numbers, default=None)


def _document(body: bytes) -> object:
    """Parse the body's JSON; None if it is empty or malformed. Azure sometimes sends a byte order mark."""
    try:
        return parse_json(body.removeprefix(BOM_UTF8).decode()) if body.strip() else None
    except ValueError:
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


def _error(response: ArmResponse, document: object) -> ErrorDetail:
    if isinstance(document, dict):
        inner = document.get("error")
        if isinstance(inner, dict):
            return _detail(inner)
        if "code" in document or "message" in document:
            return _detail(document)
    shown = "no body" if not response.body.strip() else f"a body that is not an ARM error ({len(response.body)} bytes)"
    return ErrorDetail(f"Http{response.status}", f"HTTP {response.status} with {shown}")


def _detail(error: Mapping[str, Any]) -> ErrorDetail:
    details = error.get("details")
    inner = details if isinstance(details, list) else []
    return ErrorDetail(
        code=error_text(error.get("code"), MAX_NAME) or "Unknown",
        message=error_text(error.get("message"), MAX_TEXT) or "ARM gave no message.",
        target=error_text(error.get("target"), MAX_NAME),
        details=tuple(_inner_detail(item) for item in inner[:MAX_DETAILS] if isinstance(item, dict)),
    )


def _inner_detail(error: Mapping[str, Any]) -> ErrorDetail:
    """Read an `ApiErrorBase`, which has no details of its own."""
    return ErrorDetail(
        code=error_text(error.get("code"), MAX_NAME) or "Unknown",
        message=error_text(error.get("message"), MAX_DETAIL_TEXT) or "ARM gave no message.",
        target=error_text(error.get("target"), MAX_NAME),
    )


def error_text(value: object, most: int) -> str | None:
    """A text of ARM's for records and events: without secrets, encodable, and cut to `most` characters."""
    if value is None or value == "":
        return None
    # Cut first, since a response may have megabytes; redaction makes texts shorter, but not to a quarter.
    text = redact((value if isinstance(value, str) else str(value))[: 4 * most])
    # JSON can hold half of a surrogate pair, which cannot be encoded in a record.
    text = text.encode(errors="replace").decode()
    return text if len(text) <= most else text[:most] + "…"


def _is_concurrent(error: ErrorDetail) -> bool:
    """Whether a conflict is with another write, and the same call may succeed later."""
    errors = (error, *error.details)
    text = " ".join(each.message for each in errors).lower()
    if _INELIGIBLE in text:
        return False
    by_code = any(each.code.lower() in _CONCURRENT_CODES for each in errors)
    return by_code or any(words in text for words in _CONCURRENT_TEXTS)
