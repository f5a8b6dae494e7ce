"""Reference pages in Markdown, one for each schema."""

from __future__ import annotations

import json
from typing import Any

from contracts.identity import schema_place

Schema = dict[str, Any]
_HEAD = "<!-- Written by `make contracts`; changes here are lost. -->\n"


def pages(schemas: dict[str, Schema]) -> dict[str, str]:
    """The text of each page by its file name."""
    names = {identifier: identifier.split("/")[-3] for identifier in schemas}
    listed = "\n".join(
        f"| [{names[each]}]({names[each]}.md) | {schema['description']} | `{each}` |"
        for each, schema in schemas.items()
    )
    index = f"{_HEAD}\n# Reference of messages\n\n| message | | schema |\n|---|---|---|\n{listed}\n"
    return {"README.md": index, **{f"{names[each]}.md": _page(schema) for each, schema in schemas.items()}}


def _page(schema: Schema) -> str:
    parts = [
        f"{_HEAD}\n# {schema['title']}\n\n{schema['description']}\n",
        f"Schema: [`{schema['$id']}`](../../contracts/{schema_place(schema['$id'])})\n",
        *([_listed(schema["$comment"])] if "$comment" in schema else []),
        *_objects("", schema),
    ]
    for name, definition in schema.get("$defs", {}).items():
        parts += [f"## {name}\n\n{definition['description']}\n", *_objects("", definition)]
    for example in schema["examples"]:
        parts.append(f"```json\n{json.dumps(example, indent=2, ensure_ascii=False)}\n```\n")
    return "\n".join(parts)


def _listed(comment: str) -> str:
    """`head: one; two.` as a list."""
    return comment.removesuffix(".").replace(": ", ":\n\n- ", 1).replace("; ", "\n- ") + "\n"


def _objects(title: str, schema: Schema) -> list[str]:
    """The table of an object's fields, then those of the objects in it."""
    rows = [
        f"| `{name}` | {_type(field)} | {_presence(name, field, schema)} | {_cell(field.get('description', ''))} |"
        for name, field in schema["properties"].items()
    ]
    table = "\n".join(("| field | type | | |", "|---|---|---|---|", *rows))
    parts = [f"## {title}\n"] if title else []
    parts.append(f"{table}\n")
    for name, field in schema["properties"].items():
        if "properties" in field:
            parts += _objects(f"`{name}`", field)
        if "properties" in field.get("items", {}):
            parts += _objects(f"each of `{name}`", field["items"])
    return parts


def _presence(name: str, field: Schema, schema: Schema) -> str:
    if name in schema.get("required", ()):
        return "always"
    if "default" in field:
        return f"default `{json.dumps(field['default'])}`"
    return "optional"


def _type(field: Schema) -> str:
    if "$ref" in field:
        return str(field["$ref"].split("/")[-1])
    if "const" in field:
        return f"`{json.dumps(field['const'])}`"
    if "enum" in field:
        return ", ".join(f"`{json.dumps(each)}`" for each in field["enum"] if each is not None)
    if "oneOf" in field:
        return " or ".join(_type(each) for each in field["oneOf"] if each != {"type": "null"})
    if "anyOf" in field:
        return " or ".join(map(_type, field["anyOf"]))
    kind = field["type"]
    # In requests, null means "left out"; where an event has null, it has `anyOf`.
    kinds = [kind] if isinstance(kind, str) else [each for each in kind if each != "null"]
    if kinds == ["array"]:
        return f"list of {_type(field['items'])}"
    text = " or ".join(kinds)
    return f"{text}, {field['format']}" if "format" in field else text


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
