"""Every generated file of the contracts, by its path."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from contracts.asyncapi import document
from contracts.event_models import EVENTS
from contracts.event_schemas import cloud_event_schema, event_schema
from contracts.identity import ROOT, older_ids, schema_path
from contracts.reference import pages
from contracts.request_schemas import (
    cancellation_schema,
    pause_schema,
    proceed_schema,
    request_schema,
    resume_schema,
)
from contracts.yaml_text import yaml_text

DOCS = ROOT.parent / "docs" / "reference"


def schemas() -> dict[str, dict[str, Any]]:
    """The newest schema of each message by its `$id`."""
    sent = [request_schema(), cancellation_schema(), pause_schema(), resume_schema(), proceed_schema()]
    found = [*sent, cloud_event_schema(), *(event_schema(kind) for kind in EVENTS)]
    return {schema["$id"]: schema for schema in found}


def files() -> dict[Path, str]:
    """The text of every generated file."""
    written = {
        schema_path(identifier): json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
        for identifier, schema in schemas().items()
    }
    for path in map(schema_path, older_ids()):
        written[path] = path.read_text(encoding="utf-8")
    written[ROOT / "asyncapi.yaml"] = yaml_text(document())
    return {**written, **{DOCS / name: text for name, text in pages(schemas()).items()}}
