"""Sample alerts as Azure Monitor sends them, and variations of them."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent / "data" / "alerts"
# The subscription of the payloads: that of the sandbox's example scale sets.
ALERTED = "11111111-1111-4111-8111-111111111111"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))
TESTS = [name for name in NAMES if "testaction" in name]
HEALTH = "common_servicehealth_maintenance"


def payload(name: str = HEALTH) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return document


def health(*, essentials: dict[str, Any] | None = None, **properties: Any) -> dict[str, Any]:
    """The Service Health alert with changed fields; `...` omits one."""
    document = copy.deepcopy(payload())
    _change(document["data"]["essentials"], essentials or {})
    _change(document["data"]["alertContext"]["properties"], properties)
    return document


def targeting(*resource_ids: str, custom: Any = None, **essentials: Any) -> dict[str, Any]:
    """A fired metric alert on resources."""
    document = copy.deepcopy(payload("common_metric_scale_set_perform"))
    document["data"]["customProperties"] = custom
    _change(document["data"]["essentials"], {"alertTargetIDs": list(resource_ids), **essentials})
    return document


def scale_set_id(name: str = "web", group: str = "shop") -> str:
    return f"/subscriptions/{ALERTED}/resourceGroups/{group}/providers/Microsoft.Compute/virtualMachineScaleSets/{name}"


def _change(fields: dict[str, Any], changes: dict[str, Any]) -> None:
    for name, value in changes.items():
        if value is ...:
            fields.pop(name, None)
        else:
            fields[name] = value
