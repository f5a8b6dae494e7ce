"""`schema`, `completion` and `version`: what this installation holds."""

from __future__ import annotations

import argparse
import json
import platform
from contextlib import suppress
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from maintenance.version import VERSION
from maintenance_cli.drawing.output import Output
from maintenance_cli.exits import Code, Ended

_PROJECT = Path(__file__).resolve().parents[2]


def main(parsed: argparse.Namespace, output: Output) -> Code:
    """Print what was asked for."""
    match parsed.command:
        case "version":
            if output.form == "table":
                output.text(f"vmss-maintenance {VERSION}")
            else:
                output.document({"version": VERSION, "python": platform.python_version()})
        case "schema":
            output.document(json.loads(_newest_schema(f"maintenance-{parsed.name}").read_text("utf-8")))
        case _:
            script = files("maintenance_cli") / "completion" / f"vmss-maintenance.{parsed.shell}"
            output.text(script.read_text("utf-8").rstrip())
    return Code.AS_WISHED


def _newest_schema(name: str) -> Traversable:
    found, version = resource("schemas", f"{name}/1/schema.json"), 1
    with suppress(Ended):
        while True:
            version += 1
            found = resource("schemas", f"{name}/{version}/schema.json")
    return found


def resource(folder: str, name: str) -> Traversable:
    """A file that the project has elsewhere (`contracts/schemas`, `infra`), as it is installed, or where it is kept."""
    installed = files("maintenance_cli").joinpath(folder, *name.split("/"))
    if installed.is_file():
        return installed
    kept = _PROJECT.joinpath("contracts" if folder == "schemas" else "", folder, *name.split("/"))
    if kept.is_file():
        return kept
    raise Ended(Code.ERROR, f"This installation lacks {folder}/{name}; install vmss-maintenance again.")
