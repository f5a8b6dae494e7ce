"""The queries look for names that the worker emits, and are those of the workbook, the alerts and the documentation."""

from __future__ import annotations

import json
import re

import pytest

from maintenance.domain.operation import Status
from tests.infra.bicep import PROJECT, files
from tests.support import telemetry_names as names
from tools import workbook

QUERIES = {path.stem: path.read_text() for path in sorted(workbook.QUERIES.glob("*.kql"))}
TABLES = {"AppDependencies", "AppTraces", "AppMetrics", "AppRequests"}
COLUMNS = {
    *("TimeGenerated", "Name", "Message", "OperationName", "OperationId", "DurationMs", "Success", "Properties"),
    *("Sum", "Max", "_ResourceId"),
}


def problems(text: str) -> list[str]:
    """What a query looks for and the worker does not emit."""
    quoted = re.findall(r'"([^"]*)"', text)
    known = names.span_attributes() | names.metric_names() | names.metric_attributes()
    found = [each for each in quoted if each.startswith("vmss.") and each not in known]
    named = re.findall(r'Name (?:startswith|==) "([^"]+)"', text)
    found += [each for each in named if each not in names.SPANS and each not in names.metric_names()]
    lines = re.findall(r'(?:\bline|\["vmss\.maintenance\.line"\]\)) == "(\w+)"', text)
    found += [each for each in lines if each not in names.log_lines()]
    ends = re.findall(r'"ended as (\w+) on"', text)
    found += [each for each in ends if each not in {status.value for status in Status}]
    found += [each for each in re.findall(r"\b(App[A-Z]\w+)", text) if each not in TABLES]
    code = re.sub(r'"[^"]*"|^//.*$', "", text, flags=re.MULTILINE)
    found += [each for each in re.findall(r"\b([A-Z]\w+)\b", code) if each not in TABLES | COLUMNS]
    for opening, closing in ("()", "[]"):
        if code.count(opening) != code.count(closing):
            found.append(f"{opening} without {closing}")
    return found


@pytest.mark.parametrize("name", QUERIES)
def test_query_looks_for_what_the_worker_emits(name: str) -> None:
    assert problems(QUERIES[name]) == []
    assert QUERIES[name].startswith("// ") and '_ResourceId =~ "{componentId}"' in QUERIES[name]


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("slowest", "vmss.maintenance.waves", "vmss.maintenance.wavez"),
        ("throttling", "vmss.maintenance.arm.calls", "vmss.maintenance.arm.call"),
        ("waves", '"wave "', '"waves "'),
        ("failures", "POST performMaintenance", "POST perform"),
        ("under-way", '"start"', '"begin"'),
        ("put-off", '"retry"', '"retries"'),
        ("failed-requests", "as TimedOut", "as Timedout"),
        ("ended", "AppDependencies", "AppDependency"),
        ("ended", "DurationMs", "Duration"),
        ("ended", "bin(ended, 1h)", "bin(ended, 1h"),
    ],
)
def test_query_that_looks_for_something_else_is_found(name: str, before: str, after: str) -> None:
    assert before in QUERIES[name]
    assert problems(QUERIES[name].replace(before, after))


def test_workbook_is_made_of_the_queries() -> None:
    assert workbook.WORKBOOK.read_text() == workbook.workbook(), "run make workbook"
    items = json.loads(workbook.workbook())["items"]
    assert {item["type"] for item in items} == {1, 3, 9}
    parameters = {each["name"] for each in items[1]["content"]["parameters"]}
    used = {name for text in QUERIES.values() for name in re.findall(r"\{(\w+)\}", text)}
    assert used <= parameters


def test_every_query_is_in_the_workbook_or_an_alert() -> None:
    alerts = re.findall(r"'\.\./queries/([\w-]+)\.kql'", files()["modules/operators-alerts.bicep"])
    assert set(alerts) | set(workbook.SHOWN) == set(QUERIES)
    assert "query: '" not in files()["modules/operators-alerts.bicep"]


def test_every_question_of_the_page_has_the_query_of_its_file() -> None:
    page = (PROJECT / "docs" / "observability.md").read_text()
    shown = re.findall(r"^### (.+?)\n\n`infra/queries/([\w-]+)\.kql`:\n\n```kusto\n(.*?)^```", page, re.M | re.S)
    assert [(title, text.strip()) for title, _, text in shown] == [workbook.query(name) for _, name, _ in shown]
    assert {name for _, name, _ in shown} == set(QUERIES)
