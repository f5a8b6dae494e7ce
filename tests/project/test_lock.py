"""The locks are current and whole, as far as that shows without a package index."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from tools import lock


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the locks and of what they were made from."""
    for name in lock.NAMES:
        for suffix in (".in", ".txt"):
            shutil.copy(lock.PROJECT / f"{name}{suffix}", tmp_path)
    return tmp_path


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize("name", lock.NAMES)
def test_lock_is_current_and_every_file_of_it_hashed(name: str) -> None:
    assert lock.problems(name) == []


def test_direct_need_of_another_version_is_reported(folder: Path) -> None:
    edit(folder / "requirements.in", "httpx==", "httpx==9.")
    found = lock.problems("requirements-dev", folder)
    assert "httpx==9.0.28.1 is in requirements-dev.in and not in requirements-dev.txt: run make lock" in found


def test_needs_that_changed_since_are_reported(folder: Path) -> None:
    edit(folder / "requirements.in", "httpx==", "# no pin changes\nhttpx==")
    assert lock.problems("requirements-sandbox", folder) == [
        "requirements-sandbox.txt was made from another requirements-sandbox.in: run make lock"
    ]


def test_package_without_a_hash_is_reported(folder: Path) -> None:
    with (folder / "requirements.txt").open("a") as file:
        file.write("six==1.17.0\n")
    assert lock.problems("requirements", folder) == ["six==1.17.0 has no hash in requirements.txt: run make lock"]


def test_address_of_an_index_is_reported(folder: Path) -> None:
    with (folder / "requirements.txt").open("a") as file:
        file.write("--index-url https://packages.example/simple\n")
    assert lock.problems("requirements", folder) == ["requirements.txt names an address: run make lock"]


def test_what_is_deployed_is_tested_in_the_same_versions() -> None:
    deployed, tested = (
        {(pin.name, pin.version) for pin in lock.locked(name)} for name in ("requirements", "requirements-dev")
    )
    assert deployed <= tested


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("requirements", ("function_app.py", "maintenance", "maintenance_client")),
        ("requirements-sandbox", ("function_app.py", "maintenance", "maintenance_client", "sandbox", "contracts")),
    ],
)
def test_what_the_code_imports_is_in_its_lock(name: str, code: tuple[str, ...]) -> None:
    """The tests have every package: what is missing from a smaller lock shows at its users alone."""
    locked = {pin.name for pin in lock.locked(name)}
    distributions = importlib.metadata.packages_distributions()
    missing = {
        f"{path.relative_to(lock.PROJECT)}: {imported}"
        for top in code
        for path in [lock.PROJECT / top, *(lock.PROJECT / top).rglob("*.py")]
        if path.is_file()
        for imported in imports(path)
        if (owners := owners_of(imported, distributions)) and not owners & locked
    }
    assert missing == set()


def owners_of(module: str, distributions: Mapping[str, list[str]]) -> set[str]:
    """The packages that may bring a module; none for those of Python and of this project."""
    named = module.split(".")
    owners = {re.sub(r"[-_.]+", "-", each).lower() for each in distributions.get(named[0], ())}
    # Many packages share the namespace of `azure`: it is the second name that tells them apart.
    return {each for each in owners if each == "-".join(named[:2])} or owners if named[0] == "azure" else owners


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found.add(node.module)
    return found


def test_needs_are_pinned_to_one_version_each() -> None:
    for name in lock.NAMES:
        lines = (lock.PROJECT / f"{name}.in").read_text().splitlines()
        pins = [line for line in lines if line and not line.startswith(("#", "-r "))]
        assert all("==" in line.partition(";")[0] for line in pins), name


def test_telemetry_is_tested_in_the_versions_that_are_deployed() -> None:
    """But for Azure's part of it, which brings two dozen packages."""
    deployed, tested = (
        {pin.name: pin.version for pin in lock.locked(name)} for name in ("requirements-telemetry", "requirements-dev")
    )
    shared = deployed.keys() & tested.keys()
    assert {"opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http"} <= shared
    assert {name: deployed[name] for name in shared} == {name: tested[name] for name in shared}
