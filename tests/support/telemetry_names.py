"""The names that the code emits: of spans, attributes, metrics and log lines, read from the code itself."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

from maintenance.domain.operation import Result
from maintenance.operations.units import Tick
from maintenance.telemetry.metrics import METRICS
from maintenance.telemetry.spans import attribute_of

ROOT = Path(__file__).parents[2]
PREFIX = re.compile(r"(?:vmss|messaging|http|url|server|azure\.(?:service|resource_\w+)|faas|error)\.[a-z_.]*[a-z]")
LINE = "vmss.maintenance.line"
# By these they begin; what follows is a name or a number.
SPANS = ("maintenance ", "wave ", "POST performMaintenance", "process ", "tick")


@functools.cache
def _strings() -> list[str]:
    """Every text in the code that is deployed, but for docstrings."""
    found: list[str] = []
    for path in sorted((ROOT / "maintenance").rglob("*.py")):
        tree = ast.parse(path.read_text())
        docstrings = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        found += [
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
        ]
    return found


def span_attributes() -> set[str]:
    """The attributes of spans and log records."""
    names = {text for text in _strings() if PREFIX.fullmatch(text)}
    # Parts of names that are put together.
    names -= {"vmss.maintenance", *metric_names()}
    names |= {attribute_of(result) for result in Result}
    return names | {f"vmss.maintenance.tick.{name}" for name in Tick(views=None, stop_at=0, batch=1).counts}  # type: ignore[arg-type] # not used


def metric_names() -> set[str]:
    return {metric.name for metric in METRICS}


def metric_attributes() -> set[str]:
    return {name for metric in METRICS for name in metric.attributes}


@functools.cache
def log_lines() -> set[str]:
    """The values of the attribute that says which line a log record is."""
    sources = "\n".join(path.read_text() for path in sorted((ROOT / "maintenance").rglob("*.py")))
    return set(re.findall(rf'"{re.escape(LINE)}": "(\w+)"', sources))
