"""Names in a Bicep file: each is declared, each that is declared is used, each output that is read exists."""

from __future__ import annotations

import re
from collections import Counter

from tests.infra.bicep import Node, files, nodes, text_of

# The functions of Bicep that the template uses; a new one is looked up before it is added here.
FUNCTIONS = frozenset(
    {
        "any",
        "concat",
        "empty",
        "environment",
        "filter",
        "flatten",
        "guid",
        "indexOf",
        "join",
        "last",
        "listKeys",
        "loadJsonContent",
        "loadTextContent",
        "map",
        "replace",
        "resourceGroup",
        "split",
        "startsWith",
        "string",
        "subscription",
        "subscriptionResourceId",
        "tenant",
        "toLower",
        "union",
        "uniqueString",
    }
)
DECORATORS = frozenset(
    {"allowed", "batchSize", "description", "maxLength", "maxValue", "metadata", "minLength", "minValue"}
)
_DECLARATIONS = (
    "parameter_declaration",
    "variable_declaration",
    "resource_declaration",
    "module_declaration",
)
# What only gives a name to something; nothing comes of it unless it is read.
_TO_BE_READ = ("parameter_declaration", "variable_declaration")


def name_problems(text: str) -> list[str]:
    """Names that are not declared, functions that are not known, and parameters and variables that nothing reads."""
    declared: dict[str, str] = {}
    local: set[str] = set()
    read: Counter[str] = Counter()
    problems = []
    source = text.encode()
    for node in nodes(text):
        parent = node.parent
        if node.type in ("loop_variable", "loop_enumerator"):
            local.add(text_of(node))
        if node.type != "identifier" or parent is None:
            continue
        name = text_of(node)
        if parent.type in _DECLARATIONS and _gives_name(node, parent):
            if declared.setdefault(name, parent.type) != parent.type:
                problems.append(f"{name} is declared twice")
        elif _is_lambda_parameter(node, parent):
            local.add(name)
        elif source[node.end_byte : node.end_byte + 1] == b"(":
            known = DECORATORS if parent.parent is not None and parent.parent.type == "decorator" else FUNCTIONS
            if name not in known:
                problems.append(f"{name} is no known function")
        elif not (parent.type in ("object_property", "output_declaration") and _gives_name(node, parent)):
            read[name] += 1
    problems += [f"{name} is not declared" for name in read if name not in declared and name not in local]
    for name, kind in declared.items():
        if not read[name] and kind in _TO_BE_READ:
            problems.append(f"{name} is not used")
    return problems


def output_reference_problems(path: str, text: str) -> list[str]:
    """Outputs of modules that are read but do not exist, and modules that are read but not declared."""
    folder = path.rpartition("/")[0]
    modules = dict(re.findall(r"^module (\w+) '([\w/.-]+)'", text, re.MULTILINE))
    problems = []
    for symbol, output in re.findall(r"(\w+)!?(?:\[[^\n]*?\])?\.outputs\.(\w+)", text):
        found = files().get(f"{folder}/{modules.get(symbol, '')}".lstrip("/"), "")
        if not re.search(rf"^output {output} ", found, re.MULTILINE):
            problems.append(f"{symbol} has no output {output}")
    return problems


def conditional_problems(text: str) -> list[str]:
    """Outputs of modules under a condition that are read without saying that the module is there: BCP318."""
    conditional = re.findall(r"^module (\w+) '[^']+' = if ", text, re.MULTILINE)
    return [f"{symbol} may be absent" for symbol in conditional if re.search(rf"\b{symbol}\.outputs\.", text)]


def _gives_name(node: Node, parent: Node) -> bool:
    return parent.named_children[0] == node


def _is_lambda_parameter(node: Node, parent: Node) -> bool:
    if parent.type == "parenthesized_expression" and parent.parent is not None:
        node, parent = parent, parent.parent
    return parent.type == "lambda_expression" and parent.children[0] == node
