"""docs/observability.md has every span, attribute, metric, log line and error code that the code has, and no others."""

from __future__ import annotations

import ast
import re

from maintenance.arm.guard import CODE
from maintenance.telemetry.metrics import METRICS
from tests.support import telemetry_names as names

PAGE = (names.ROOT / "docs" / "observability.md").read_text()


def section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def first_cells(title: str) -> list[str]:
    """What stands in backticks in the first column of a section's table."""
    rows = re.findall(r"^\| ([^|]*) \|", section(title), re.MULTILINE)
    return [quoted for row in rows for quoted in re.findall(r"`([^`]+)`", row)]


def test_every_span_has_a_row() -> None:
    assert set(first_cells("Traces")) == set(names.SPANS)


def test_every_attribute_has_a_row() -> None:
    rows = first_cells("Attributes")
    assert sorted(rows) == sorted(names.span_attributes() - only_of_metrics())


def only_of_metrics() -> set[str]:
    return names.metric_attributes() - {"vmss.maintenance.status", "vmss.maintenance.result"}


def test_every_metric_has_a_row_that_says_what_it_is() -> None:
    rows = re.findall(r"^\| `(\S+)` \| (\w+) \| `(\S+)` \| (.*?) ?\| (.*) \|$", section("Metrics"), re.MULTILINE)
    assert rows == [
        (
            metric.name,
            metric.kind,
            metric.unit,
            ", ".join(f"`{name}`" for name in metric.attributes),
            metric.description,
        )
        for metric in METRICS
    ]


def test_every_log_line_with_attributes_has_a_row() -> None:
    assert set(first_cells("Log")) - {names.LINE} == names.log_lines()


def test_every_error_code_has_a_row() -> None:
    codes = {CODE}
    for path in sorted((names.ROOT / "maintenance").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "ErrorDetail" and node.args:
                first = node.args[0]
                codes |= {first.value} if isinstance(first, ast.Constant) and isinstance(first.value, str) else set()
    assert sorted(first_cells("Error codes")) == sorted(codes)
