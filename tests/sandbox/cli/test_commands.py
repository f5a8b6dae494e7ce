"""What the command line says before any command runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_python_without_the_packages_is_told_which_one_has_them() -> None:
    # -S: without site-packages, as a Python that nothing was installed for.
    done = subprocess.run(
        [sys.executable, "-S", "-m", "sandbox", "demo"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "Run `make demo` once, then .venv/bin/python -m sandbox" in done.stderr
    assert "Traceback" not in done.stderr
