"""The command line as it is installed: what the package holds, how little `--help` imports, the usage errors."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from maintenance.version import VERSION
from maintenance_cli.arguments import SCHEMAS, SHELLS, parser, seconds
from maintenance_cli.commands.documents import resource
from maintenance_cli.exits import Code
from maintenance_cli.main import MODULES, run
from tests.cli.completion import scripts
from tools.install import write_launcher
from tools.lock import needs

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SLOW = ("azure", "pydantic", "aiohttp", "httpx", "rich", "asyncio", "json")


def test_packages_of_project_are_the_folders_of_worker_client_and_command_line() -> None:
    tops = ("maintenance", "maintenance_cli", "maintenance_client")
    found = {
        ".".join(path.parent.relative_to(ROOT).parts) for top in tops for path in (ROOT / top).rglob("__init__.py")
    }
    elsewhere = PROJECT["tool"]["setuptools"]["package-dir"]
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == found | set(elsewhere)
    for package, folder in elsewhere.items():
        (pattern,) = PROJECT["tool"]["setuptools"]["package-data"][package]
        assert list((ROOT / folder).glob(pattern))


def test_dependencies_are_pinned_as_for_the_sandbox() -> None:
    pinned = {f"{pin.name}=={pin.version}" for pin in needs("requirements-sandbox")}
    assert set(PROJECT["project"]["dependencies"]) <= pinned


def test_completion_scripts_are_those_of_the_arguments() -> None:
    assert {path: path.read_text() for path in scripts()} == scripts(), "run make completion"


def test_help_of_any_verb_imports_no_library() -> None:
    script = (
        "import sys\nfrom maintenance_cli.main import run\n"
        "try:\n    run(['status', '--help'])\nexcept SystemExit:\n    print(*sys.modules, sep='\\n', file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "request id, or run id" in done.stdout
    assert [name for name in done.stderr.split() if name.partition(".")[0] in SLOW] == []


def test_launcher_runs_the_clone_from_any_folder_with_a_space(tmp_path: Path) -> None:
    folder = tmp_path / "a b"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    (tmp_path / "maintenance_cli.py").write_text("raise SystemExit('the wrong one')")
    write_launcher(folder)
    done = subprocess.run(
        [folder / "bin" / "vmss-maintenance", "version"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"vmss-maintenance {VERSION}\n"


@pytest.mark.parametrize("name", SCHEMAS)
def test_schema_is_that_of_the_contracts(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["schema", name]) == 0
    newest = max((ROOT / f"contracts/schemas/maintenance-{name}").iterdir(), key=lambda version: int(version.name))
    assert json.loads(capsys.readouterr().out) == json.loads((newest / "schema.json").read_text())


def test_documents_need_no_azure(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["version", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["version"] == VERSION
    for shell in SHELLS:
        assert run(["completion", shell]) == 0
    assert "vmss-maintenance" in capsys.readouterr().out
    assert resource("infra", "topology.json").is_file()


@pytest.mark.parametrize(
    "arguments",
    [[], ["nothing"], ["status"], ["watch", "x", "--timeout", "soon"], ["list", "--sandbox", "--namespace", "x"]],
)
def test_wrong_usage_is_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(arguments)
    assert ended.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_namespace_that_nobody_names_is_2(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ServiceBusConnection", raising=False)
    assert run(["list"]) == 2
    assert "--namespace HOST" in capsys.readouterr().err


def test_every_verb_has_its_module() -> None:
    (verbs,) = (action for action in parser()._actions if action.dest == "command")
    assert verbs.choices is not None
    for verb in verbs.choices:
        assert (ROOT / f"maintenance_cli/commands/{MODULES.get(verb, verb)}.py").exists(), verb


def test_times_have_units() -> None:
    assert [seconds(text) for text in ("90", "1.5s", "5m", "2h", "7d")] == [90, 1.5, 300, 7200, 604_800]


def test_commands_of_the_page_are_understood() -> None:
    page = (ROOT / "docs" / "operating.md").read_text()
    named = re.findall(r"^\$ (vmss-maintenance [^\n|>]+?)(?: 2>&1.*)?$", page, re.MULTILINE)
    assert len(named) > 8
    named += re.findall(r"`(vmss-maintenance [^`\n]+)`", page)
    for command in named:
        words = shlex.split(command)[1:]
        if words != ["cancel"]:  # in prose
            parser().parse_args(words)


def test_page_names_every_exit_code() -> None:
    page = (ROOT / "docs" / "operating.md").read_text()
    assert {int(each) for each in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)} == {code.value for code in Code}
