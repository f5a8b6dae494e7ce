"""The file in which `up` leaves the worker's variables, for `worker`, `alert` and shells: one NAME='value' a line."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
ENVIRONMENT_FILE = PROJECT / "build" / "sandbox.env"
_EXAMPLE = PROJECT / "local.settings.example.json"


class FileInTheWayError(Exception):
    """A file that would be overwritten holds something else; the text says which, and what to do."""


def write_environment(path: Path, environment: Mapping[str, str]) -> None:
    """Write the file, readable by its owner alone: it holds the key of the HTTP functions. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text("".join(f"{name}={shlex.quote(value)}\n" for name, value in environment.items()), "utf-8")


def read_environment(path: Path) -> dict[str, str]:
    """What `write_environment` wrote; empty where there is no such file. Raises ValueError if it is another kind."""
    if not path.is_file():
        return {}
    pairs = [shlex.split(line) for line in path.read_text("utf-8").splitlines()]
    if any(len(words) != 1 or "=" not in words[0] for words in pairs):
        raise ValueError(f"{path} is no environment file: NAME='value' is expected on each line")
    return dict(words[0].split("=", 1) for words in pairs)


def adopt_environment(path: Path = ENVIRONMENT_FILE) -> bool:
    """Add the file's variables to those of this process, unless these name a Service Bus already; whether it did."""
    if any(name.startswith("ServiceBusConnection") for name in os.environ):
        return False
    found = read_environment(path)
    for name, value in found.items():
        os.environ.setdefault(name, value)
    return bool(found)


def write_local_settings(path: Path, environment: Mapping[str, str]) -> None:
    """Write the settings file of Azure Functions Core Tools: the project's example with these variables.

    Raises FileInTheWayError where the file names a Service Bus that is not on this machine, and OSError.
    """
    document = json.loads(_EXAMPLE.read_text("utf-8"))
    if path.exists() and "127.0.0.1" not in path.read_text("utf-8"):
        raise FileInTheWayError(f"{path} holds settings that are not the sandbox's; move it away first")
    document["Values"].update(environment)
    path.touch(mode=0o600)
    path.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
