"""The workbook that comes with the template: `python -m tools.workbook` writes infra/workbook.json from its queries.

Format: Azure Monitor's workbooks, `Notebook/1.0`. Item types: 1 text, 3 query, 9 parameters. `{componentId}` and
`{requestId}` in queries are the workbook's parameters, which it fills in.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
QUERIES = PROJECT / "infra" / "queries"
WORKBOOK = PROJECT / "infra" / "workbook.json"
# What the template puts in place of these when it deploys the workbook.
WORKSPACE, COMPONENT = "__WORKSPACE_ID__", "__COMPONENT_ID__"
_TYPE = "microsoft.operationalinsights/workspaces"
# In this order, with how each is shown. The rest are the queries of alerts.
SHOWN = {
    "under-way": "table",
    "ended": "barchart",
    "instances": "barchart",
    "failures": "table",
    "put-off": "table",
    "slowest": "table",
    "waves": "table",
    "throttling": "timechart",
    "overdue": "timechart",
    "dead-letters": "table",
    "timeline": "table",
}
INTRODUCTION = """\
# VM scale set maintenance

What the worker does, from its traces, metrics and log. Most of it is there once the worker exports its telemetry:
docs/observability.md says how."""


def query(name: str) -> tuple[str, str]:
    """The question that a query answers, which is its first line, and its text."""
    first, _, text = (QUERIES / f"{name}.kql").read_text("utf-8").partition("\n")
    return first.removeprefix("// "), text.strip()


def workbook() -> str:
    """The workbook as JSON text."""
    items: list[dict[str, Any]] = [
        {"type": 1, "name": "introduction", "content": {"json": INTRODUCTION}},
        _parameters(),
        *(_query_item(name, visualization) for name, visualization in SHOWN.items()),
    ]
    document = {"version": "Notebook/1.0", "items": items, "fallbackResourceIds": [WORKSPACE]}
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _parameters() -> dict[str, Any]:
    time_range = {
        "id": "7c0a4f0e-2f0f-4a86-9d53-5a4ac1f0d001",
        "version": "KqlParameterItem/1.0",
        "name": "timeRange",
        "label": "Time",
        "type": 4,
        "isRequired": True,
        "value": {"durationMs": 604_800_000},
        "typeSettings": {
            "selectableValues": [{"durationMs": each} for each in (3_600_000, 86_400_000, 604_800_000, 2_592_000_000)],
            "allowCustom": True,
        },
    }
    component = {
        "id": "7c0a4f0e-2f0f-4a86-9d53-5a4ac1f0d002",
        "version": "KqlParameterItem/1.0",
        "name": "componentId",
        "type": 1,
        "isRequired": True,
        "isHiddenWhenLocked": True,
        "value": COMPONENT,
    }
    request = {
        "id": "7c0a4f0e-2f0f-4a86-9d53-5a4ac1f0d003",
        "version": "KqlParameterItem/1.0",
        "name": "requestId",
        "label": "Request id, for the timeline",
        "type": 1,
        "value": "",
    }
    content = {
        "version": "KqlParameterItem/1.0",
        "parameters": [time_range, component, request],
        "style": "pills",
        "queryType": 0,
        "resourceType": _TYPE,
    }
    return {"type": 9, "name": "parameters", "content": content}


def _query_item(name: str, visualization: str) -> dict[str, Any]:
    title, text = query(name)
    content = {
        "version": "KqlItem/1.0",
        "query": text,
        "size": 0,
        "title": title,
        "timeContextFromParameter": "timeRange",
        "queryType": 0,
        "resourceType": _TYPE,
        "crossComponentResources": [WORKSPACE],
        "visualization": visualization,
    }
    return {"type": 3, "name": name, "content": content}


if __name__ == "__main__":
    WORKBOOK.write_text(workbook(), "utf-8")
    print(f"{WORKBOOK.relative_to(PROJECT)}: {len(SHOWN)} queries")
