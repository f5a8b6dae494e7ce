"""Runs the Azure CLI and reads its JSON; sets variables of the azd environment."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import Any

# Arguments in, parsed output out. Tests pass their own.
Az = Callable[..., Any]
# A deployment of the Service Health rules takes about a minute.
TIMEOUT_SECONDS = 900


class AzureCliError(Exception):
    """The Azure CLI or azd is missing, or a command failed. The text has its message."""


def az(*arguments: str) -> Any:
    """Run `az` with these arguments. Raises AzureCliError."""
    program = shutil.which("az")
    if program is None:
        raise AzureCliError("The Azure CLI (az) is not installed: https://aka.ms/install-az-cli. Then run az login.")
    done = completed(program, *arguments, "--output", "json", "--only-show-errors")
    if done.returncode:
        raise AzureCliError(f"az {' '.join(arguments[:3])} failed: {done.stderr.strip()[:2000]}")
    return json.loads(done.stdout) if done.stdout.strip() else None


def remember(name: str, value: str) -> None:
    """Set a variable of the azd environment. Raises AzureCliError."""
    program = shutil.which("azd")
    if program is None:
        raise AzureCliError("azd is not on the path.")
    done = completed(program, "env", "set", name, value)
    if done.returncode:
        raise AzureCliError(f"azd env set {name} failed: {done.stderr.strip()[:2000]}")


def completed(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its end and keep its output. Raises AzureCliError where it does not end or cannot be run."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)  # noqa: S603
    except (subprocess.TimeoutExpired, OSError) as error:
        raise AzureCliError(f"{' '.join(command[:4])} did not run to its end: {error}") from None


def say(text: str) -> None:
    """Print a line for the person who runs azd."""
    sys.stdout.write(text + "\n")
