"""A stranger's validator: JSON Schema alone, with the committed schemas in a local registry, by their `$id`."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry, Resource

SCHEMAS = Path(__file__).parents[2] / "contracts" / "schemas"
REQUEST = "maintenance-request"
CANCELLATION = "maintenance-cancellation"
EVENT = "maintenance-event"


@functools.cache
def schemas() -> dict[str, dict[str, Any]]:
    """Every committed schema by its `$id`."""
    documents = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(SCHEMAS.rglob("schema.json"))]
    return {document["$id"]: document for document in documents}


@functools.cache
def validator(identifier: str, *, closed: bool = False) -> Draft202012Validator:
    """The validator of a schema. `closed`: fields that the schema does not name are wrong."""
    registry: Registry[Any] = Registry().with_resources(
        (each, Resource.from_contents(schema)) for each, schema in schemas().items()
    )
    schema = schemas()[identifier]
    return Draft202012Validator(
        _closed(schema) if closed else schema, registry=registry, format_checker=FormatChecker()
    )


def named(name: str) -> Draft202012Validator:
    """The validator of the first schema of a name."""
    return validator(next(each for each in schemas() if f"/schemas/{name}/1/" in each))


def check_event(document: dict[str, Any]) -> None:
    """Raise ValidationError unless the event, and its data by its `dataschema`, are what the schemas say, no more and
    no less."""
    named(EVENT).validate(document)
    validator(document["dataschema"], closed=True).validate(document["data"])
    assert document["dataschema"].split("/")[-3] == f"maintenance-{document['type'].split('.')[-2]}"


def _closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _closed(value) for name, value in schema.items()}
    return {**found, "additionalProperties": False} if "properties" in schema and "type" in schema else found
