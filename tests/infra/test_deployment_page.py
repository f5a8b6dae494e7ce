"""docs/deployment.md against what it describes: each parameter of main.bicep, with its variable and its default."""

from __future__ import annotations

import json
import re

import pytest

from tests.infra.bicep import INFRA, PROJECT, Parameter, files, parameters

PAGE = (PROJECT / "docs" / "deployment.md").read_text()
ROW = re.compile(r"^\| (`\w+`(?:, `\w+`)*) \| ([^|]*) \| ([^|]*) \|$", re.MULTILINE)
# Read by the hooks, not by main.bicep.
OF_THE_HOOKS = {
    "WORKER_WIRE_SERVICE_HEALTH",
    "WORKER_ALERT_ACTION_GROUP_ID",
    "WORKER_ALERT_OBJECT_ID",
    "WORKER_ALERT_IDENTIFIER_URI",
}
MAIN = parameters(files()["main.bicep"])


def given() -> dict[str, tuple[str, str]]:
    """The environment variable of each parameter in main.parameters.json, and the default that stands there."""
    document = json.loads((INFRA / "main.parameters.json").read_text())["parameters"]
    found = {}
    for name, entry in document.items():
        match = re.fullmatch(r"\$\{(\w+)(?:=(\w+))?\}", entry["value"])
        assert match, f"{name}: {entry['value']} is not one variable"
        found[name] = (match[1], match[2] or "")
    return found


def table(page: str) -> dict[str, tuple[str, str]]:
    """Default and text of each variable in the page's table of parameters."""
    section = page.partition("## Parameters\n")[2].partition("\n## ")[0]
    return {
        name.strip("`"): (default, text) for names, default, text in ROW.findall(section) for name in names.split(", ")
    }


def page_problems(page: str) -> list[str]:
    rows, variables = table(page), given()
    problems = [f"{name} has no variable" for name in MAIN if name not in variables]
    for name, (variable, _) in variables.items():
        expected = (shown_default(MAIN[name]), MAIN[name].description)
        if rows.get(variable) != expected:
            problems.append(f"{variable}: {rows.get(variable)} should be {expected}")
    known = {variable for variable, _ in variables.values()} | OF_THE_HOOKS
    return problems + [f"{variable} is no parameter" for variable in rows if variable not in known]


def shown_default(parameter: Parameter) -> str:
    if parameter.default is None:
        return "required"
    return parameter.default.strip("'[]{} ") or "none"


def test_page_has_each_parameter_with_its_default_and_description() -> None:
    assert page_problems(PAGE) == []


def test_default_in_the_parameters_file_is_that_of_the_template() -> None:
    for name, (_, default) in given().items():
        assert default in ("", MAIN[name].default), name


def test_numbers_and_flags_have_a_default_for_the_variable_that_is_not_set() -> None:
    # azd sends what it cannot read as a number or a flag as nothing, and Bicep's default then holds.
    for name, (_, default) in given().items():
        assert bool(default) == (MAIN[name].type in ("int", "bool")), name


@pytest.mark.parametrize("name", [name for name, each in MAIN.items() if each.type == "string"])
def test_allowed_values_of_a_parameter_contain_its_default(name: str) -> None:
    parameter = MAIN[name]
    if parameter.allowed and parameter.default is not None:
        assert parameter.default in parameter.allowed


def test_variables_of_the_hooks_are_read_by_them() -> None:
    hooks = "".join(path.read_text() for path in (INFRA / "hooks").glob("*.py"))
    assert all(f'"{name}"' in hooks for name in OF_THE_HOOKS)
    assert set(table(PAGE)) >= OF_THE_HOOKS


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("| `WORKER_SUBNET_ID` |", "| `WORKER_SUBNET` |"),
        ("| `WORKER_PYTHON_VERSION` | 3.12 |", "| `WORKER_PYTHON_VERSION` | 3.11 |"),
        ("Memory of an instance in MB.", "Memory of an instance in GB."),
    ],
)
def test_row_that_differs_from_the_template_is_found(before: str, after: str) -> None:
    assert before in PAGE
    assert page_problems(PAGE.replace(before, after, 1))
