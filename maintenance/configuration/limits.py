"""The text of the setting of limits. Pure; raises ValueError with every rule that it breaks."""

from __future__ import annotations

import re
from typing import Any

from maintenance.domain.formats import parse_json
from maintenance.policies.limits import Limits

_EXAMPLE = (
    'must be a JSON object, for example {"scaleSets": 2, "instances": 50, "per": "region", '
    '"instancesPerScaleSet": "20%"}'
)
_NAMES = ("scaleSets", "instances", "per", "instancesPerScaleSet")
_PER = ("app", "subscription", "region")
_MOST = 100_000
_SHARE = re.compile(r"(?:[1-9][0-9]?|100)%", re.ASCII)


def parse_limits(text: str) -> Limits:
    """Parse limits over several scale sets, and in each."""
    try:
        document: Any = parse_json(text)
    except ValueError:
        raise ValueError(_EXAMPLE) from None
    if not isinstance(document, dict) or not document.keys() - {"per"}:
        raise ValueError(_EXAMPLE)
    unknown = sorted(document.keys() - set(_NAMES))
    problems = [f"{name[:40]} is none of {', '.join(_NAMES)}" for name in unknown]
    problems += [
        f"{name} must be a whole number from 1 to {_MOST}"
        for name in ("scaleSets", "instances")
        if name in document and not _is_number(document[name])
    ]
    own = document.get("instancesPerScaleSet", 1)
    if not _is_number(own) and not (isinstance(own, str) and _SHARE.fullmatch(own)):
        problems.append('instancesPerScaleSet must be a whole number from 1, or a share from "1%" to "100%"')
    if document.get("per", "app") not in _PER:
        problems.append(f"per must be one of {', '.join(_PER)}")
    if problems:
        raise ValueError("; ".join(problems))
    return Limits(
        scale_sets=document.get("scaleSets"),
        instances=document.get("instances"),
        per=document.get("per", "app"),
        instances_per_scale_set=document.get("instancesPerScaleSet"),
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _MOST
