"""Documents made of a JSON Schema, as far as the schemas of requests use the language: whatever the schema accepts."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import strategies as st

Schema = dict[str, Any]


def values(schema: Schema) -> st.SearchStrategy[Any]:
    """Values that a schema accepts."""
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "oneOf" in schema and "type" not in schema:
        return st.one_of(*map(values, schema["oneOf"]))
    kinds = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    return st.one_of(*(_of_type(kind, schema) for kind in kinds))


def messages(schema: Schema) -> st.SearchStrategy[dict[str, Any]]:
    """Documents that a schema of whole messages accepts: those of each of its branches."""
    return st.one_of(*(_object(schema, branch) for branch in schema.get("oneOf", ({},))))


def _of_type(kind: str, schema: Schema) -> st.SearchStrategy[Any]:
    match kind:
        case "null":
            return st.none()
        case "boolean":
            return st.booleans()
        case "integer":
            return st.integers(schema["minimum"], schema["maximum"])
        case "string":
            return _text(schema)
        case "array":
            # Few: a thousand of each would take minutes. How many there may be is tried beside this.
            return st.lists(
                values(schema["items"]),
                min_size=schema["minItems"],
                max_size=4,
                unique=schema.get("uniqueItems", False),
            )
        case "object":
            return _object(schema, {})
    raise AssertionError(f"{kind} is not used so far: make it here")


def _text(schema: Schema) -> st.SearchStrategy[str]:
    # To Python, `$` is true before a last line break too; the schema forbids it there.
    pattern = re.compile(schema["pattern"].removeprefix("^").removesuffix(r"(?!\n)$"))
    return st.from_regex(pattern, fullmatch=True).filter(lambda text: len(text) <= schema.get("maxLength", len(text)))


def _object(schema: Schema, branch: Schema) -> st.SearchStrategy[dict[str, Any]]:
    required = {*schema.get("required", ()), *branch.get("required", ())}
    fields = {}
    for name, field in schema["properties"].items():
        fields[name] = values({**field, **branch.get("properties", {}).get(name, {})})
    return st.fixed_dictionaries(
        {name: field for name, field in fields.items() if name in required},
        optional={name: field for name, field in fields.items() if name not in required},
    )
