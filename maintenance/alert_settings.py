"""How the settings for alerts are written. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from maintenance.errors import InvalidRequest


def parse_names(text: str) -> tuple[str, ...]:
    """Names between commas or semicolons; they may hold spaces. Raises ValueError where there is none."""
    names = tuple(name for part in text.replace(";", ",").split(",") if (name := part.strip()))
    if not names:
        raise ValueError("must name something, or be left out")
    return names


def parse_severities(text: str) -> tuple[str, ...]:
    """Some of `Sev0` to `Sev4`. Raises ValueError that names the others."""
    names = parse_names(text)
    if wrong := [name for name in names if name.lower() not in ("sev0", "sev1", "sev2", "sev3", "sev4")]:
        raise ValueError(f"must be some of Sev0 to Sev4, not {', '.join(wrong)}")
    return names


def parse_rollout(text: str) -> Mapping[str, Any]:
    """The `rollout` of a request, as JSON; returned as it is written. Raises ValueError with every problem."""
    from maintenance.contracts import Envelope, read_request  # noqa: PLC0415 - as in durations.py

    # Whatever a request may ask for, and only that.
    names = {"subscriptionId": str(UUID(int=0)), "resourceGroupName": "any", "vmScaleSetName": "any"}
    try:
        rollout = json.loads(text)
        read_request(Envelope(body=b""), {**names, "rollout": rollout})
    except InvalidRequest as error:
        raise ValueError("; ".join(f"{problem.field}: {problem.message}" for problem in error.problems)) from None
    except (ValueError, RecursionError):
        raise ValueError('must be a JSON object, as {"maxInstancesPerWave": "20%"}') from None
    return rollout or {}
