"""The shape of the packages: sizes, what `__init__` files hold, and what indexing the functions imports."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("maintenance", "maintenance_cli", "maintenance_client", "sandbox")
MOST_LINES = 300
MOST_MODULES = 10
# Each of them takes as long to import as all that indexing the functions needs, or longer.
CLIENTS = ("aiohttp", "azure.core", "azure.identity", "azure.servicebus", "httpx", "opentelemetry", "pydantic")


def modules(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", modules(*PACKAGES, "tests/support"), ids=name_of)
def test_module_has_few_lines(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= MOST_LINES, f"{name_of(path)} has {lines} lines: split it along its stories"


def test_package_has_few_modules() -> None:
    counts = Counter(path.parent for path in modules(*PACKAGES) if path.name != "__init__.py")
    large = {name_of(package): count for package, count in counts.items() if count > MOST_MODULES}
    assert not large, f"packages of over {MOST_MODULES} modules: {large}"


def test_every_folder_of_modules_is_a_package() -> None:
    folders = {path.parent for path in modules(*PACKAGES)}
    assert [name_of(folder) for folder in folders if not (folder / "__init__.py").exists()] == []


@pytest.mark.parametrize("path", [path for path in modules("maintenance") if path.name == "__init__.py"], ids=name_of)
def test_init_file_of_worker_holds_a_docstring_only(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), f"{name_of(path)} does not say what the package is for"
    assert len(tree.body) == 1, f"{name_of(path)} holds more than a docstring: importing it must cost nothing"


def test_indexing_the_functions_imports_no_client() -> None:
    script = "import sys, json, function_app; function_app.app.get_functions(); print(json.dumps(sorted(sys.modules)))"
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env={}, stdout=subprocess.PIPE, check=True, text=True
    )
    imported: list[str] = json.loads(run.stdout)
    assert "maintenance.settings" in imported
    assert [
        name for name in imported if name in CLIENTS or name.startswith(tuple(f"{each}." for each in CLIENTS))
    ] == []
