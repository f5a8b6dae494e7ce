"""The ids of schemas, and where their files stand."""

from __future__ import annotations

from pathlib import Path

from maintenance.lifecycle.events import DATA_NUMBERS, DATA_SCHEMA

DIALECT = "https://json-schema.org/draft/2020-12/schema"
ROOT = Path(__file__).parent
BASE = DATA_SCHEMA[: DATA_SCHEMA.index("schemas/")]


# The newest number of each schema that has more than one.
NUMBERS = {"maintenance-request": 2, "maintenance-event": 2, **{f"maintenance-{k}": n for k, n in DATA_NUMBERS.items()}}


def schema_id(name: str, number: int | None = None) -> str:
    """The `$id` of a schema, by default of its newest number: an absolute URI that never changes once published, and
    names another schema with each number."""
    return f"{BASE}schemas/{name}/{number or NUMBERS.get(name, 1)}/schema.json"


def older_ids() -> list[str]:
    """The `$id`s of schemas that have a newer number: they stay as they were published."""
    return [schema_id(name, number) for name, newest in NUMBERS.items() for number in range(1, newest)]


def schema_place(identifier: str) -> str:
    """Where the file of a schema stands below `contracts`, from its `$id`."""
    return identifier.removeprefix(BASE)


def schema_path(identifier: str) -> Path:
    """The file of a schema, from its `$id`."""
    return ROOT / schema_place(identifier)
