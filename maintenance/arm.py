"""Azure Resource Manager over httpx: start maintenance, read how it goes, list instances.

Source: REST reference of Compute, 2024-07-01. Nothing here retries: what comes next is decided in `lifecycle.py`.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import httpx

from maintenance.errors import ArmError, Refused, Throttled, Transient
from maintenance.identity import IdentityUnavailable
from maintenance.instances import Instance, read_instance
from maintenance.observations import (
    Accepted,
    Ambiguous,
    ArmAnswer,
    ErrorDetail,
    Reading,
    Running,
    Submission,
    Unreadable,
    Untold,
    read_error,
    read_operation,
    read_retry_after,
    read_submission,
)
from maintenance.observations import Refused as SubmissionRefused
from maintenance.observations import Throttled as SubmissionThrottled
from maintenance.operation import Call
from maintenance.operation_urls import UntrustedUrl, check_next_link, check_operation_url
from maintenance.resources import ScaleSet

API_VERSION = "2024-07-01"
TIMEOUT = httpx.Timeout(connect=10, read=30, write=10, pool=30)
# Over all of one call, since the read time-out starts anew with each piece of an answer.
CALL_TIMEOUT = 60.0
MAX_PAGES = 100
MAY_PERFORM = "Microsoft.Compute/virtualMachineScaleSets/performMaintenance/action"
MAY_READ_INSTANCES = "Microsoft.Compute/virtualMachineScaleSets/virtualMachines/read"
MAY_READ_OPERATIONS = "Microsoft.Compute/locations/operations/read"
# The server may answer in any encoding it likes; asked for none, ARM sends none, and a page's size is what is read.
HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "vmss-maintenance/0.1"}


class ResourceManager:
    """One per process. `endpoint` has no trailing slash; `now` is the time that Retry-After dates are read against."""

    def __init__(self, client: httpx.AsyncClient, *, endpoint: str, now: Callable[[], datetime]) -> None:
        self._client = client
        self._endpoint = endpoint.rstrip("/")
        self._now = now

    async def perform_maintenance(self, scale_set: ScaleSet, instance_ids: Sequence[str] | None) -> Submission:
        """POST performMaintenance once. No `instance_ids`: every VM of the scale set, sent without a body.

        Raises UntrustedUrl where ARM accepted it and points to a place that must not be followed.
        """
        if instance_ids is not None and not instance_ids:
            raise ValueError("an empty list of instances has no defined meaning, and might mean all of them")
        url = f"{self._endpoint}{scale_set.resource_id}/performMaintenance?api-version={API_VERSION}"
        body = None if instance_ids is None else json.dumps({"instanceIds": list(instance_ids)}).encode()
        headers = {} if body is None else {"Content-Type": "application/json"}
        try:
            answer = await self._send("POST", url, body, headers)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, IdentityUnavailable) as error:
            return SubmissionThrottled(_trouble(error))
        except (httpx.TransportError, TimeoutError) as error:
            return Ambiguous(_trouble(error))
        submission = read_submission(answer, self._now())
        match submission:
            case Accepted(url=str(told)):
                checked = check_operation_url(told, endpoint=self._endpoint, subscription_id=scale_set.subscription_id)
                return replace(submission, url=checked)
            case SubmissionRefused(error=denied, status=403):
                return replace(submission, error=_with_permission(denied, MAY_PERFORM, scale_set.resource_id))
        return submission

    async def read_operation(self, scale_set: ScaleSet, call: Call) -> Reading:
        """GET an operation URL. Raises UntrustedUrl, before anything is sent, where it must not be followed."""
        checked = check_operation_url(
            call.url or "", endpoint=self._endpoint, subscription_id=scale_set.subscription_id
        )
        try:
            answer = await self._send("GET", checked)
        except (httpx.TransportError, TimeoutError, IdentityUnavailable) as error:
            return Unreadable(_trouble(error))
        if 300 <= answer.status < 400:
            host = urlsplit(answer.headers.get("location", "")).hostname or "nowhere"
            raise UntrustedUrl(host[:100], f"it answered with a redirect, HTTP {answer.status}")
        reading = read_operation(answer, call.kind, self._now())
        match reading:
            case Running(url=str(moved)):
                moved = check_operation_url(moved, endpoint=self._endpoint, subscription_id=scale_set.subscription_id)
                return replace(reading, url=moved)
            case Untold(error=denied) if answer.status == 403:
                scope = f"/subscriptions/{scale_set.subscription_id}"
                return replace(reading, error=_with_permission(denied, MAY_READ_OPERATIONS, scope))
        return reading

    async def list_instances(self, scale_set: ScaleSet) -> list[Instance]:
        """Every instance with its view, in ARM's order.

        Raises ArmError: Throttled, Transient, or Refused.
        """
        doing = f"list the instances of {scale_set}"
        url = f"{self._endpoint}{scale_set.resource_id}/virtualMachines"
        url += f"?$expand=instanceView&api-version={API_VERSION}"
        instances: list[Instance] = []
        for _ in range(MAX_PAGES):
            page = await self._read(doing, url, MAY_READ_INSTANCES, scale_set)
            try:
                instances += [read_instance(entry) for entry in page.get("value") or ()]
            except (ValueError, AttributeError, TypeError) as error:
                unreadable = ErrorDetail("UnreadableAnswer", f"ARM's list of instances cannot be read: {error}")
                raise Transient(doing, unreadable, status=200) from None
            next_link = page.get("nextLink")
            if not next_link:
                return instances
            try:
                url = check_next_link(
                    str(next_link), endpoint=self._endpoint, subscription_id=scale_set.subscription_id
                )
            except UntrustedUrl as error:
                raise Refused(doing, untrusted(error), status=200) from None
        raise Refused(doing, ErrorDetail("TooManyPages", f"ARM's list does not end after {MAX_PAGES} pages"))

    async def _read(self, doing: str, url: str, permission: str, scale_set: ScaleSet) -> dict[str, Any]:
        try:
            answer = await self._send("GET", url)
        except (httpx.TransportError, TimeoutError, IdentityUnavailable) as error:
            raise Transient(doing, _trouble(error)) from None
        if answer.status == 200:
            try:
                document = json.loads(answer.body)
            except (ValueError, RecursionError):
                document = None
            if isinstance(document, dict):
                return document
            unreadable = ErrorDetail("UnreadableAnswer", "ARM's answer is no JSON object")
            raise Transient(doing, unreadable, status=answer.status)
        raise self._refusal(doing, answer, permission, scale_set)

    def _refusal(self, doing: str, answer: ArmAnswer, permission: str, scale_set: ScaleSet) -> ArmError:
        error = read_error(answer)
        retry_after = read_retry_after(answer.headers, self._now())
        if answer.status == 429:
            return Throttled(doing, error, status=429, retry_after=retry_after)
        if answer.status == 403:
            return Refused(doing, _with_permission(error, permission, scale_set.resource_id), status=403)
        if answer.status in (401, 408) or answer.status >= 500 or answer.status < 400 or retry_after is not None:
            return Transient(doing, error, status=answer.status, retry_after=retry_after)
        return Refused(doing, error, status=answer.status)

    async def _send(
        self, method: str, url: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> ArmAnswer:
        async with asyncio.timeout(CALL_TIMEOUT):
            response = await self._client.request(method, url, content=body, headers=headers)
        return ArmAnswer(response.status_code, {k.lower(): v for k, v in response.headers.items()}, response.content)


def arm_client(transport: httpx.AsyncBaseTransport, auth: httpx.Auth | None) -> httpx.AsyncClient:
    """The client that talks to ARM: no redirects, since a redirect would take the token along; no environment."""
    # At INFO it logs every URL, and ARM's operation URLs are signed.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    return httpx.AsyncClient(
        transport=transport, auth=auth, timeout=TIMEOUT, follow_redirects=False, headers=HEADERS, trust_env=False
    )


def untrusted(error: UntrustedUrl) -> ErrorDetail:
    """A refused URL as an error for events."""
    return ErrorDetail("UntrustedUrl", str(error), target=error.host)


def _trouble(error: Exception) -> ErrorDetail:
    if isinstance(error, IdentityUnavailable):
        return ErrorDetail("IdentityUnavailable", str(error))
    name = type(error).__name__
    return ErrorDetail(
        name if isinstance(error, httpx.HTTPError) else "Timeout", f"No answer from ARM: {error or name}"
    )


def _with_permission(error: ErrorDetail, permission: str, scope: str) -> ErrorDetail:
    told = f"{error.message} The app's managed identity needs the permission {permission} on {scope}."
    return replace(error, message=told)
