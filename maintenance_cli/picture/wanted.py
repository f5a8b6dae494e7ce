"""The request that flags, a file or standard input describe, as the document that is sent. Pure."""

from __future__ import annotations

import argparse
import getpass
import uuid
from contextlib import suppress
from typing import Any

from maintenance.domain.errors import InvalidRequest
from maintenance.domain.formats import read_json
from maintenance.domain.messages import MAX_BODY
from maintenance.domain.resources import ScaleSet
from maintenance_cli.arguments import seconds
from maintenance_cli.exits import Code, Ended

# Options that say what is wanted, and so go with no file.
_FLAGS = (
    "set",
    "instance",
    "max_per_wave",
    "by_update_domain",
    "pause",
    "max_failed",
    "health_timeout",
    "ineligible",
    "not_before",
    "deadline",
)


def document_of_flags(parsed: argparse.Namespace, scale_set: ScaleSet) -> dict[str, Any]:
    """The request that the flags describe. What is wrong with their values shows when it is read as a request."""
    rollout = {
        "maxInstancesPerWave": _number(parsed.max_per_wave),
        "byUpdateDomain": parsed.by_update_domain or None,
        "pauseBetweenWaves": _duration(parsed.pause),
        "maxFailedInstances": _number(parsed.max_failed),
        "healthTimeout": _duration(parsed.health_timeout),
    }
    document = {
        "schemaVersion": 1,
        "subscriptionId": scale_set.subscription_id,
        "resourceGroupName": scale_set.resource_group_name,
        "vmScaleSetName": scale_set.name,
        "instanceIds": parsed.instance,
        "notBefore": getattr(parsed, "not_before", None),
        "deadline": getattr(parsed, "deadline", None),
        "rollout": _without_none(rollout) or None,
        "ineligible": parsed.ineligible,
    }
    return _without_none(document)


def document_of_file(parsed: argparse.Namespace, body: bytes) -> dict[str, Any]:
    """The request in a file. Raises Ended with every problem."""
    given = [f"--{name.replace('_', '-')}" for name in _FLAGS if getattr(parsed, name, None)]
    if given:
        given = ["SET" if name == "--set" else name for name in given]
        raise Ended(Code.USAGE, f"--file has the whole request: leave out {', '.join(given)}")
    try:
        document = read_json(body, MAX_BODY)
    except InvalidRequest as error:
        raise Ended(Code.USAGE, *map(str, error.problems)) from None
    if "cancel" in document:
        raise Ended(Code.USAGE, f"cancel: is a cancellation; send it by `vmss-maintenance cancel {document['cancel']}`")
    for kind in ("pause", "resume"):
        if kind in document:
            raise Ended(Code.USAGE, f"{kind}: is no request; send it by `vmss-maintenance {kind}`")
    return document


def completed(document: dict[str, Any], parsed: argparse.Namespace) -> dict[str, Any]:
    """The document with the request id, and what `send` adds to any request."""
    own = parsed.request_id or document.get("requestId") or str(uuid.uuid4())
    more = {
        "requestId": own,
        "reason": parsed.reason or document.get("reason") or by_whom("sent"),
        "dryRun": parsed.dry_run or document.get("dryRun"),
    }
    return {**document, **_without_none(more)}


def by_whom(done: str) -> str:
    """A reason that names who does it, for who gives none."""
    user = "somebody"
    # OSError where the user has no entry, KeyError before Python 3.13.
    with suppress(OSError, KeyError, ImportError):
        user = getpass.getuser()
    return f"{done} by {user} with vmss-maintenance"


def _number(text: str | None) -> int | str | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 10 else text


def _duration(text: str | None) -> str | None:
    """ISO 8601; what is not understood is left to whoever reads the request."""
    if text is None or text.startswith(("P", "p")):
        return text
    try:
        length = seconds(text)
    except argparse.ArgumentTypeError:
        return text
    return f"PT{length:g}S" if length < 1e6 else f"PT{int(length)}S"


def _without_none(document: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if value is not None}
