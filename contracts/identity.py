"""The ids of schemas, and where their files stand."""

from __future__ import annotations

from pathlib import Path

from maintenance.lifecycle.events import DATA_SCHEMA

DIALECT = "https://json-schema.org/draft/2020-12/schema"
ROOT = Path(__file__).parent
BASE = DATA_SCHEMA[: DATA_SCHEMA.index("schemas/")]


def schema_id(name: str, number: int = 1) -> str:
    """The `$id` of a schema: an absolute URI that never changes once published, and names another schema with each
    number."""
    return f"{BASE}schemas/{name}/{number}/schema.json"


def schema_place(identifier: str) -> str:
    """Where the file of a schema stands below `contracts`, from its `$id`."""
    return identifier.removeprefix(BASE)


def schema_path(identifier: str) -> Path:
    """The file of a schema, from its `$id`."""
    return ROOT / schema_place(identifier)
