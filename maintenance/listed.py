"""A scale set as a list of Resource Manager's shows it. Pure.

Source: `VirtualMachineScaleSets_ListAll`, REST reference of Compute 2024-07-01.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from maintenance.resources import ScaleSet, parse_scale_set_id


@dataclass(frozen=True, slots=True)
class ListedScaleSet:
    """`location` in small letters and without spaces, as `westeurope`."""

    scale_set: ScaleSet
    location: str
    flexible: bool = False


def read_listed(document: Mapping[str, Any]) -> ListedScaleSet:
    """Read one element of the list. Raises ValueError, LookupError, TypeError or AttributeError where it is none."""
    properties = document.get("properties")
    mode = properties.get("orchestrationMode") if isinstance(properties, Mapping) else None
    return ListedScaleSet(
        scale_set=parse_scale_set_id(document["id"]),
        location=str(document.get("location") or "").replace(" ", "").lower(),
        flexible=isinstance(mode, str) and mode.lower() == "flexible",
    )
