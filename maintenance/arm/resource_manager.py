"""Gateway to Azure Resource Manager: starts maintenance, reads operations, lists instances and scale sets.

Source: REST reference of Compute, 2024-07-01. Nothing here retries a call: `lifecycle` decides the next action.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import quote, unquote

import httpx

from maintenance.arm.client import ArmClient
from maintenance.arm.error_details import (
    MAY_PERFORM,
    MAY_PERFORM_ON_VM,
    MAY_READ_INSTANCES,
    MAY_READ_OPERATIONS,
    MAY_READ_SCALE_SETS,
    MAY_READ_VMS,
    redirected,
    untrusted,
    with_identity,
    with_permission,
    without_response,
)
from maintenance.arm.responses import ArmResponse, read_error, read_operation, read_retry_after, read_submission
from maintenance.arm.urls import (
    check_next_link,
    check_operation_url,
    group_path,
    origin_bound,
    scale_set_path,
    subscription_path,
    vm_path,
)
from maintenance.arm.views import read_instance, read_scale_set_summary, read_tags
from maintenance.domain.errors import (
    ArmError,
    IdentityUnavailable,
    RefusedError,
    ThrottledError,
    TransientError,
    UntrustedUrl,
)
from maintenance.domain.formats import parse_json
from maintenance.domain.instances import Instance, ScaleSetSummary, Tags
from maintenance.domain.observations import (
    Accepted,
    Ambiguous,
    ErrorDetail,
    Reading,
    Refused,
    Running,
    Submission,
    Throttled,
    Unreadable,
    Unreported,
)
from maintenance.domain.operation import Call
from maintenance.domain.redaction import redact
from maintenance.domain.resources import ScaleSet, fold

T = TypeVar("T")
logger = logging.getLogger(__name__)
API_VERSION = "2024-07-01"
# Of one listing, over all its pages. A scale set has 1,000 instances at most, of a few KB each, and a page some 50; a
# listing must leave time for others within one message lock (300 s).
MAX_PAGES = 200
MAX_ENTRIES = 10_000
MAX_LISTED_BYTES = 64 * 1024 * 1024
LISTING_TIMEOUT = 90.0


class ResourceManager:
    """Gateway to ARM; one per process. `now` returns the time that Retry-After dates are compared with;
    `listing_timeout` (seconds) bounds a listing over all its pages."""

    def __init__(
        self,
        client: ArmClient,
        *,
        endpoint: str,
        now: Callable[[], datetime],
        listing_timeout: float = LISTING_TIMEOUT,
    ) -> None:
        self._client = client
        self._listing_timeout = listing_timeout
        self._endpoint = endpoint.rstrip("/")
        self._now = now

    async def perform_maintenance(self, scale_set: ScaleSet, instance_ids: Sequence[str] | None) -> Submission:
        """POST performMaintenance once. No `instance_ids`: for the whole scale set, without a body.

        Raises UntrustedUrl if ARM accepted it and returned an operation URL that must not be followed.
        """
        if instance_ids is not None and not instance_ids:
            raise ValueError("an empty list of instances is undefined, and ARM might take it for all of them")
        body = None if instance_ids is None else json.dumps({"instanceIds": list(instance_ids)}).encode()
        return await self._perform(scale_set, scale_set_path(scale_set), body, MAY_PERFORM)

    async def perform_vm_maintenance(self, scale_set: ScaleSet, vm_name: str) -> Submission:
        """POST performMaintenance once for one VM, the only form that a Flexible scale set accepts.

        Raises UntrustedUrl as `perform_maintenance` does.
        """
        return await self._perform(scale_set, vm_path(scale_set, vm_name), None, MAY_PERFORM_ON_VM)

    async def _perform(self, scale_set: ScaleSet, path: str, body: bytes | None, permission: str) -> Submission:
        url = f"{self._endpoint}{path}/performMaintenance?api-version={API_VERSION}"
        try:
            response = await self._client.send("POST", url, body)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, IdentityUnavailable) as error:
            return Throttled(without_response(error), whole_subscription=False)
        except (httpx.TransportError, TimeoutError) as error:
            return Ambiguous(without_response(error))
        if 300 <= response.status < 400:
            return Refused(untrusted(redirected(response)), response.status)
        submission = read_submission(response, self._now())
        match submission:
            case Accepted(url=str(url)):
                checked = check_operation_url(url, endpoint=self._endpoint, subscription_id=scale_set.subscription_id)
                return replace(submission, url=checked)
            case Refused(error=denied, status=403):
                return replace(submission, error=with_permission(denied, permission, unquote(path)))
            case Refused(error=denied, status=401):
                return replace(submission, error=with_identity(denied))
        return submission

    async def read_operation(self, scale_set: ScaleSet, call: Call) -> Reading:
        """GET an operation URL. Raises UntrustedUrl, before anything is sent, if it must not be followed."""
        checked = check_operation_url(
            call.url or "", endpoint=self._endpoint, subscription_id=scale_set.subscription_id
        )
        try:
            response = await self._client.send("GET", checked)
        except (httpx.TransportError, TimeoutError, IdentityUnavailable) as error:
            return Unreadable(without_response(error))
        if 300 <= response.status < 400:
            raise redirected(response)
        reading = read_operation(response, call.kind, self._now())
        match reading:
            case Running(url=str(moved)):
                moved = check_operation_url(moved, endpoint=self._endpoint, subscription_id=scale_set.subscription_id)
                return replace(reading, url=moved)
            case Unreported(error=denied) if response.status == 403:
                scope = f"/subscriptions/{scale_set.subscription_id}"
                denied = with_permission(denied, MAY_READ_OPERATIONS, scope)
                # The instance views may then report a success, and this line alone reports that this is not allowed.
                logger.warning("Reading an operation on %s not permitted: %s", scale_set, redact(denied.message))
                return replace(reading, error=denied)
            case Unreadable(error=denied) if response.status == 401:
                return replace(reading, error=with_identity(denied))
        return reading

    async def is_flexible(self, scale_set: ScaleSet) -> bool:
        """Whether the scale set has Flexible orchestration. Raises ThrottledError, TransientError or RefusedError."""
        document = await self._read_scale_set(f"read {scale_set}", scale_set)
        properties = document.get("properties")
        mode = properties.get("orchestrationMode") if isinstance(properties, dict) else None
        return isinstance(mode, str) and mode.lower() == "flexible"

    async def read_tags(self, scale_set: ScaleSet) -> Tags:
        """The scale set's tags. Raises as `is_flexible` does."""
        doing = f"read the tags of {scale_set}"
        document = await self._read_scale_set(doing, scale_set)
        try:
            return read_tags(document)
        except AttributeError:
            raise TransientError(doing, ErrorDetail("UnreadableResponse", "ARM's tags are malformed")) from None

    async def _read_scale_set(self, doing: str, scale_set: ScaleSet) -> dict[str, Any]:
        url = f"{self._endpoint}{scale_set_path(scale_set)}?api-version={API_VERSION}"
        document, _ = await self._read(doing, url, MAY_READ_SCALE_SETS, scale_set.resource_id)
        return document

    async def list_instances(self, scale_set: ScaleSet, *, flexible: bool = False) -> list[Instance]:
        """List the instances with their views, in ARM's order.

        A Flexible scale set does not expand views, so they are read from the VMs that belong to it. Raises
        ThrottledError, TransientError or RefusedError.
        """
        doing = f"list the instances of {scale_set}"
        if flexible:
            url = f"{self._endpoint}{group_path(scale_set)}/providers/Microsoft.Compute/virtualMachines?$filter="
            url += quote(f"'virtualMachineScaleSet/id' eq '{scale_set.resource_id}'", safe="'/")
            url += f"&$expand=instanceView&api-version={API_VERSION}"
        else:
            url = f"{self._endpoint}{scale_set_path(scale_set)}/virtualMachines"
            url += f"?$expand=instanceView&api-version={API_VERSION}"
        permission = MAY_READ_VMS if flexible else MAY_READ_INSTANCES
        return await self._list(doing, url, permission, scope=scale_set.resource_id, read=read_instance)

    async def list_scale_sets(self, subscription_id: str) -> list[ScaleSetSummary]:
        """List the scale sets of a subscription that the identity may read. Raises as `list_instances` does."""
        doing = f"list the scale sets of subscription {subscription_id}"
        scope = subscription_path(subscription_id)
        url = f"{self._endpoint}{scope}/providers/Microsoft.Compute/virtualMachineScaleSets?api-version={API_VERSION}"
        return await self._list(doing, url, MAY_READ_SCALE_SETS, scope=scope, read=read_scale_set_summary)

    async def _list(
        self,
        doing: str,
        url: str,
        permission: str,
        *,
        scope: str,
        read: Callable[[dict[str, Any]], T],
    ) -> list[T]:
        try:
            async with asyncio.timeout(self._listing_timeout):
                return await self._list_all(doing, url, permission, scope=scope, read=read)
        except TimeoutError:
            message = f"ARM's list does not end within {self._listing_timeout:g} seconds"
            raise TransientError(doing, ErrorDetail("Timeout", message)) from None

    async def _list_all(
        self,
        doing: str,
        url: str,
        permission: str,
        *,
        scope: str,
        read: Callable[[dict[str, Any]], T],
    ) -> list[T]:
        subscription_id = scope.split("/")[2]
        found: list[T] = []
        seen = {fold(url)}
        size = 0
        for _ in range(MAX_PAGES):
            page, length = await self._read(doing, url, permission, scope)
            size += length
            try:
                found += [read(entry) for entry in page["value"]]
            except (LookupError, ValueError, AttributeError, TypeError) as error:
                message = f"ARM's list is malformed ({type(error).__name__})"
                raise TransientError(doing, ErrorDetail("UnreadableResponse", message), status=200) from None
            next_link = page.get("nextLink")
            if not next_link:
                return found
            try:
                url = check_next_link(str(next_link), endpoint=self._endpoint, subscription_id=subscription_id)
            except UntrustedUrl as error:
                raise RefusedError(doing, untrusted(error), status=200) from None
            if (key := fold(origin_bound(url, self._endpoint))) in seen:
                raise RefusedError(doing, ErrorDetail("EndlessList", "ARM's list leads back to a page seen before"))
            seen.add(key)
            if len(found) > MAX_ENTRIES or size > MAX_LISTED_BYTES:
                message = f"ARM's list does not end after {len(found):,} entries and {size:,} bytes"
                raise RefusedError(doing, ErrorDetail("ListTooLong", message))
        raise RefusedError(doing, ErrorDetail("TooManyPages", f"ARM's list does not end after {MAX_PAGES} pages"))

    async def _read(self, doing: str, url: str, permission: str, scope: str) -> tuple[dict[str, Any], int]:
        """The document at a URL, and its size in bytes."""
        try:
            response = await self._client.send("GET", url)
        except (httpx.TransportError, TimeoutError, IdentityUnavailable) as error:
            raise TransientError(doing, without_response(error)) from None
        if response.status == 200:
            try:
                document = parse_json(response.body.decode("utf-8-sig"))
            except ValueError:
                document = None
            if isinstance(document, dict):
                return document, len(response.body)
            unreadable = ErrorDetail("UnreadableResponse", "ARM's response is not a JSON object")
            raise TransientError(doing, unreadable, status=response.status)
        raise self._error(doing, response, permission, scope)

    def _error(self, doing: str, response: ArmResponse, permission: str, scope: str) -> ArmError:
        error = read_error(response)
        retry_after = read_retry_after(response.headers, self._now())
        if 300 <= response.status < 400:
            return RefusedError(doing, untrusted(redirected(response)), status=response.status)
        if response.status == 429:
            return ThrottledError(doing, error, status=429, retry_after=retry_after)
        if response.status == 401:
            return TransientError(doing, with_identity(error), status=401, retry_after=retry_after)
        if response.status == 403:
            return RefusedError(doing, with_permission(error, permission, scope), status=403)
        if response.status == 408 or response.status >= 500 or response.status < 400 or retry_after is not None:
            return TransientError(doing, error, status=response.status, retry_after=retry_after)
        return RefusedError(doing, error, status=response.status)
