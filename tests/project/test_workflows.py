"""What the public CI runs, and that nobody can change an action under it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PINNED = re.compile(r"^[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+(\.\d+)*$")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_action_is_pinned_by_commit_with_its_version(path: Path) -> None:
    used = re.findall(r"uses: (.+)$", path.read_text(), re.MULTILINE)
    assert [action for action in used if not PINNED.match(action)] == []


def test_one_action_has_one_commit_everywhere() -> None:
    commits: dict[str, set[str]] = {}
    for path in WORKFLOWS:
        for name, commit in re.findall(r"uses: ([\w./-]+)@(\S+)", path.read_text()):
            commits.setdefault(name.lower(), set()).add(commit)
    assert {name: found for name, found in commits.items() if len(found) > 1} == {}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflow_has_only_the_permissions_that_it_names(path: Path) -> None:
    assert re.search(r"^permissions:\n(  [\w-]+: (read|write)\n)+", path.read_text(), re.MULTILINE)
    written = re.findall(r"^ +([\w-]+): write$", path.read_text(), re.MULTILINE)
    assert set(written) <= {"id-token"}, f"{path.name} may write"


def test_ci_runs_the_project_s_own_script_from_the_oldest_python_on() -> None:
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    oldest = project["requires-python"].removeprefix(">=")
    pythons = re.findall(r"python: \[(.+)\]", text)
    assert pythons
    for row in pythons:
        assert row.split(", ")[0] == f'"{oldest}"'
    assert "run: bash .ci/run" in text


def test_commit_hooks_run_what_lint_runs() -> None:
    makefile = (ROOT / "Makefile").read_text()
    lint = makefile.partition("\nlint:")[2].partition("\n\n")[0]
    commands = re.findall(r"\$\(BIN\)/(.+?)(?: \.)?$", lint, re.MULTILINE)
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    assert commands
    assert [command for command in commands if f"entry: .venv/bin/{command}" not in hooks] == []
