"""Reads Bicep without its compiler: two independent parsers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tree_sitter
import tree_sitter_bicep
from pycep import BicepParser

PROJECT = Path(__file__).parent.parent.parent
INFRA = PROJECT / "infra"
Node = tree_sitter.Node
_PARSER = tree_sitter.Parser(tree_sitter.Language(tree_sitter_bicep.language()))
_PYCEP = BicepParser()


@dataclass(frozen=True)
class Literal:
    """An object literal: the literals in the value of each property. `whole`: nothing else is merged into it."""

    properties: dict[str, tuple[Literal, ...]]
    whole: bool


@dataclass(frozen=True)
class Resource:
    """A resource declaration: symbol, type with version, its name where that is a literal, text and body."""

    symbol: str
    type: str
    name: str
    text: str
    body: Literal
    exists: bool


@dataclass(frozen=True)
class Parameter:
    """A parameter declaration: type, default as written (None: there is none), description, allowed values."""

    type: str
    default: str | None
    description: str
    allowed: tuple[str, ...]


def parameters(text: str) -> dict[str, Parameter]:
    """The parameters of a file by name, in its order."""
    found = {}
    for block in re.split(r"\n\n", text):
        declared = re.search(r"^param (\w+) (\w+)(?: = (.+))?$", block, re.MULTILINE)
        if declared is not None:
            description = re.search(r"^@description\('(.*)'\)$", block, re.MULTILINE)
            allowed = re.search(r"^@allowed\(\[\n(.*?)^\]\)", block, re.MULTILINE | re.DOTALL)
            default = declared[3]
            if default == "[":
                default = " ".join(block.rpartition(" = ")[2].split())
            found[declared[1]] = Parameter(
                type=declared[2],
                default=default,
                description=description[1].replace("\\'", "'") if description else "",
                allowed=tuple(allowed[1].split()) if allowed else (),
            )
    return found


def files() -> dict[str, str]:
    """Every Bicep file by its path below `infra`."""
    return {str(path.relative_to(INFRA)): path.read_text() for path in sorted(INFRA.rglob("*.bicep"))}


def syntax_problems(text: str) -> list[str]:
    """What either parser cannot read."""
    problems = [f"line {node.start_point[0] + 1}: {node.type}" for node in nodes(text) if _broken(node)]
    try:
        _PYCEP.parse(text=text)
    except Exception as error:
        problems.append(f"pycep: {type(error).__name__}")
    return problems


def resources(text: str) -> list[Resource]:
    """The resource declarations of a file, in its order."""
    found = []
    for node in nodes(text):
        if node.type == "resource_declaration":
            named = [child for child in node.children if child.is_named]
            body = next(iter(_literals(named[-1])), Literal({}, whole=False))
            name = re.search(r"^  name: '([^'$]*)'$", text_of(node), re.MULTILINE)
            found.append(
                Resource(
                    symbol=text_of(named[0]),
                    type=text_of(named[1]).strip("'"),
                    name=name[1] if name else "",
                    text=text_of(node),
                    body=body,
                    exists=any(child.type == "existing" for child in node.children),
                )
            )
    return found


def _literals(node: Node, *, whole: bool = True) -> list[Literal]:
    """The object literals in an expression, but for those inside of others."""
    if node.type == "object":
        properties: dict[str, tuple[Literal, ...]] = {}
        for child in node.children:
            if child.type == "object_property" and (name := _property_name(child)):
                properties[name] = tuple(_literals(child.children[-1]))
        return [Literal(properties, whole)]
    merged = node.type == "call_expression"
    return [literal for child in node.children for literal in _literals(child, whole=whole and not merged)]


def topology() -> dict[str, Any]:
    document: dict[str, Any] = json.loads((INFRA / "topology.json").read_text())
    return document


def nodes(text: str) -> Iterator[Node]:
    """Every node of the syntax tree, from the outside in."""
    yield from _walk(_PARSER.parse(text.encode()).root_node)


def _walk(node: Node) -> Iterator[Node]:
    yield node
    for child in node.children:
        yield from _walk(child)


def _broken(node: Node) -> bool:
    return node.type == "ERROR" or node.is_missing


def text_of(node: Node) -> str:
    """The text that a node stands for."""
    return (node.text or b"").decode()


def _property_name(node: Node) -> str:
    name = text_of(node.children[0]).strip("'")
    return "" if "${" in name else name
