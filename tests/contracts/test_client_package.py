"""The client as a package of its own, which other teams install."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.limit import LIMIT

CLIENT = Path(__file__).parents[2] / "maintenance_client"
BUILD = "import setuptools; setuptools.setup()"


@pytest.mark.skipif(importlib.util.find_spec("setuptools") is None, reason="setuptools is not installed")
def test_package_of_the_client_has_its_modules_its_types_and_one_need(tmp_path: Path) -> None:
    # In a copy: the build leaves files beside the source.
    source = shutil.copytree(CLIENT, tmp_path / "source", ignore=shutil.ignore_patterns("__pycache__"))
    built = tmp_path / "built"
    command = [sys.executable, "-c", BUILD, "--quiet", "build", "--build-lib", str(built), "egg_info"]
    run = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    modules = {path.name for path in CLIENT.glob("*.py")} | {"py.typed"}
    assert {path.name for path in (built / "maintenance_client").iterdir()} == modules
    (needs,) = source.glob("*.egg-info/requires.txt")
    assert [line.partition(">")[0] for line in needs.read_text().split()] == ["azure-servicebus"]
    # Nothing of the project is in sight there.
    script = "import sys, maintenance_client.aio; sys.exit('maintenance' in sys.modules)"
    environment = {"PYTHONPATH": str(built), "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, check=True)
