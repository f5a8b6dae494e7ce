"""Writes the completion scripts of the command line: python -m tests.cli.completion (`make completion`)."""

from __future__ import annotations

from pathlib import Path

import shtab

from maintenance_cli.arguments import PROG, SHELLS, parser

PREFIX = "vmss_maintenance"
FOLDER = Path(__file__).parents[2] / "maintenance_cli" / "completion"


def scripts() -> dict[Path, str]:
    """Each script by its file."""
    return {
        FOLDER / f"{PROG}.{shell}": shtab.complete(parser(), shell=shell, root_prefix="vmss_maintenance").rstrip()
        + "\n"
        for shell in SHELLS
    }


if __name__ == "__main__":
    for path, text in scripts().items():
        path.write_text(text, "utf-8")
