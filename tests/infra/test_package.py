"""What `.funcignore` leaves for the deployment, and `.azdignore` for who starts from this template."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.infra.bicep import PROJECT


def left_by(ignore_file: str) -> set[str]:
    """The files under version control that the rules of this file leave, as git reads them."""
    command = ["git", "ls-files", "--cached", "--ignored", f"--exclude-from={ignore_file}"]
    return set(_lines(["git", "ls-files"])) - set(_lines(command))


def _lines(command: list[str]) -> list[str]:
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True).stdout.splitlines()


def test_only_the_worker_is_deployed() -> None:
    files = left_by(".funcignore")
    assert {path for path in files if "/" not in path} == {"function_app.py", "host.json", "requirements.txt"}
    assert {path.split("/")[0] for path in files if "/" in path} == {"maintenance"}
    assert all(path.endswith(".py") for path in files if "/" in path)
    assert sum((PROJECT / path).stat().st_size for path in files) < 1_000_000


def test_vendored_packages_are_deployed_and_the_virtual_environment_is_not(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    paths = [".python_packages/lib/site-packages/httpx/__init__.py", ".venv/lib/x.py"]
    rules = ["-c", f"core.excludesFile={PROJECT / '.funcignore'}"]
    ignored = subprocess.run(
        ["git", *rules, "check-ignore", "--no-index", *paths], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert ignored.stdout.split() == [".venv/lib/x.py"]


def test_template_keeps_what_deployment_needs_and_drops_what_only_contributors_need() -> None:
    kept = left_by(".azdignore")
    assert left_by(".funcignore") <= kept
    assert {"azure.yaml", ".funcignore", "infra/main.bicep", "infra/topology.json", "infra/hooks/rights.py"} <= kept
    assert {".ci/run", "Makefile", "tests/infra/example.bicep", ".github/workflows/infra.yml"} <= kept
    assert not [path for path in kept if path.startswith(".github/ISSUE_TEMPLATE/")]
