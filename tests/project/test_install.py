"""What `make` says while it installs, and when it cannot."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools import install

ROOT = Path(__file__).parents[2]


def test_progress_counts_the_packages_in_few_columns() -> None:
    lines = ["Collecting aiohttp==3.14.5 (from -r requirements.txt (line 4))", "  Downloading aiohttp.whl"]
    assert install.progress(lines[:1], 40) == "  1 of 40: aiohttp"
    assert install.progress(lines, 40) == ""
    assert install.progress([*lines, "Collecting " + "x" * 200 + "==1"], 1) == "  1 of 1: " + "x" * 30
    assert install.progress(["Installing collected packages: x"], 1) == "  unpacking …"


@pytest.mark.parametrize(
    "line",
    [
        "ERROR: Could not find a version that satisfies the requirement aiohttp==3.14.5 (from versions: none)",
        "WARNING: Retrying (Retry(total=4)) after connection broken by 'NewConnectionError('...')'",
        "WARNING: Retrying (Retry(total=4)) after connection broken by 'ProxyError('Cannot connect to proxy.')'",
    ],
)
def test_missing_network_is_explained_without_pip_s_lines(line: str) -> None:
    text = install.explanation([line])
    assert text.startswith("pip could not reach a package index. Check the network")
    assert "ERROR" not in text


def test_other_error_of_pip_is_quoted() -> None:
    text = install.explanation(["Collecting x", "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES", "more"])
    assert text == "pip could not install the lock:\nERROR: THESE PACKAGES DO NOT MATCH THE HASHES"


def test_output_of_a_failed_run_is_returned() -> None:
    assert install.run([sys.executable, "-c", "print('so'); raise SystemExit(3)"], 1) == ["so"]
    assert install.run([sys.executable, "-c", "print('so')"], 1) is None


def make(*arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    # Not as a part of the make that runs the tests, of which it would say so.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        ["make", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def python_that_is(version: str, folder: Path) -> Path:
    """A stand-in for an interpreter of that version, which is all that the Makefile asks it for."""
    path = folder / f"python{version}"
    numbers = version.replace(".", ", ")
    pretend = f'import sys; sys.version_info = ({numbers}, 0); sys.version = "{version}.0 (old)"; exec(sys.argv[1])'
    # Through a shell: no path with a space may begin a script.
    path.write_text(f"#!/bin/sh\nexec '{sys.executable}' -c '{pretend}' \"$2\"\n")
    path.chmod(0o755)
    return path


def test_python_that_is_too_old_is_named_with_what_to_do(tmp_path: Path) -> None:
    old = python_that_is("3.8", tmp_path)
    done = make("demo", f"PYTHON={old}", f"VENV={tmp_path}/venv")
    assert done.returncode != 0
    assert f"Python 3.11 or newer is needed; {old} is 3.8.0. Name a newer one: make PYTHON=" in done.stderr
    assert "Traceback" not in done.stderr


def test_python_that_is_missing_is_named_with_what_to_do(tmp_path: Path) -> None:
    done = make("demo", "PYTHON=python3.99", f"VENV={tmp_path}/venv")
    assert done.returncode != 0
    assert "python3.99 was not found. Install Python 3.11 or newer, or name it: make PYTHON=" in done.stderr


def test_help_is_the_default_and_lists_every_target() -> None:
    done = make()
    assert done.stdout == make("help").stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    listed = {line.split()[0] for line in done.stdout.splitlines()[1:]}
    makefile = (ROOT / "Makefile").read_text()
    phony = {name for line in makefile.splitlines() if line.startswith(".PHONY:") for name in line.split()[1:]}
    assert listed == phony
