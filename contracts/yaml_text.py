"""YAML of plain values. Texts are written as JSON writes them, which YAML 1.2 reads as they are."""

from __future__ import annotations

import json
import re
from typing import Any

# Every other text is quoted: `yes`, `1.0` and `null` are no texts to YAML.
_PLAIN_NAME = re.compile(r"[A-Za-z$][A-Za-z0-9_$.\-]*")
_NOT_NAMES = frozenset(("y", "n", "yes", "no", "on", "off", "true", "false", "null"))


def yaml_text(value: dict[str, Any]) -> str:
    """The document in block style."""
    return "\n".join(_lines(value, 0)) + "\n"


def _lines(value: Any, depth: int) -> list[str]:
    indent = "  " * depth
    lines = []
    if isinstance(value, dict):
        for name, below in value.items():
            lines += _entry(f"{indent}{_name(name)}:", below, depth)
    else:
        for below in value:
            lines += _entry(f"{indent}-", below, depth)
    return lines


def _entry(head: str, below: Any, depth: int) -> list[str]:
    if isinstance(below, (dict, list)) and below:
        return [head, *_lines(below, depth + 1)]
    return [f"{head} {json.dumps(below, ensure_ascii=False)}"]


def _name(name: str) -> str:
    return (
        name if _PLAIN_NAME.fullmatch(name) and name.lower() not in _NOT_NAMES else json.dumps(name, ensure_ascii=False)
    )
