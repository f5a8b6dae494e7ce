"""Packages of Node.js for tests, kept from run to run under `build/`, which is not in git."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

BUILD = Path(__file__).parents[2] / "build"


def installed(name: str, *packages: str) -> Path:
    """The directory below which the packages are; skips the test where npm is missing or finds no registry."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip(f"Node.js and npm are not installed: {', '.join(packages)} is not tried")
    directory = BUILD / name
    whole = directory / "installed"  # written last: says that the installation is whole
    if not whole.exists() or whole.read_text(encoding="utf-8").split() != list(packages):
        directory.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--no-save", "--ignore-scripts"]
        patience = ["--fetch-retries=0", "--fetch-timeout=30000"]
        try:
            subprocess.run([*command, *patience, *packages], cwd=directory, capture_output=True, timeout=90, check=True)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            pytest.skip(f"{', '.join(packages)} cannot be installed: {error} {str(error.stderr)[-300:]}")
        whole.write_text("\n".join(packages), encoding="utf-8")
    return directory
