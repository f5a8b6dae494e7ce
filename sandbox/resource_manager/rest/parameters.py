"""Query and body parameters of calls, parsed and validated."""

from __future__ import annotations

import base64
import json
import uuid
from typing import Any

from sandbox.resource_manager import errors

API_VERSIONS = (
    "2021-07-01",
    "2021-11-01",
    "2022-03-01",
    "2022-08-01",
    "2022-11-01",
    "2023-03-01",
    "2023-07-01",
    "2023-09-01",
    "2024-03-01",
    "2024-07-01",
    "2024-11-01",
    "2025-04-01",
    "2026-03-02",
    "2026-03-03",
    "2026-04-01",
)
"""Those since Flexible orchestration, up to what azure-mgmt-compute 39 sends."""


def check_api_version(query: dict[str, str]) -> None:
    """Raises ArmError if it is missing or not one of `API_VERSIONS`."""
    version = query.get("api-version")
    if not version:
        raise errors.no_api_version()
    if version not in API_VERSIONS:
        raise errors.api_version_unknown(version, API_VERSIONS)


def check_subscription(subscription_id: str) -> None:
    """Raises ArmError if it is not a GUID."""
    try:
        if str(uuid.UUID(subscription_id)) == subscription_id.lower():
            return
    except ValueError:
        pass
    raise errors.bad_subscription(subscription_id)


def instance_ids(body: bytes) -> list[str] | None:
    """The instance ids a body names; None = all. Raises ArmError."""
    if not body:
        return None
    try:
        content: Any = json.loads(body)
    except ValueError as error:
        raise errors.bad_body("it is not JSON.") from error
    if not isinstance(content, dict):
        raise errors.bad_body("it is not an object.")
    ids = content.get("instanceIds")
    if ids is None:
        return None
    if not isinstance(ids, list) or not all(isinstance(each, str) for each in ids):
        raise errors.bad_body("instanceIds is not a list of strings.")
    if not ids:
        # Undocumented. It must not be "all", and a list of nothing is more likely a mistake than meant.
        raise errors.bad_parameter("instanceIds", "The list of instanceIds must not be empty.")
    return ids


def skip_token(offset: int) -> str:
    """The value of `$skiptoken` in the link to a page that begins at this item."""
    return base64.urlsafe_b64encode(f"from:{offset}".encode()).decode()


def offset(token: str | None) -> int:
    """The item that a page begins at. Raises ArmError for a token that was not given out."""
    if token is None:
        return 0
    try:
        prefix, _, offset = base64.urlsafe_b64decode(token).decode().partition(":")
        if prefix == "from" and offset.isdecimal():
            return int(offset)
    except ValueError:
        pass
    raise errors.bad_parameter("$skiptoken", "The $skiptoken is not one of those given out.")
