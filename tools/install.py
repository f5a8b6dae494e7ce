"""Makes the project's virtual environment and installs a lock into it, with one line that says how far it is.

`python3 tools/install.py .venv requirements-sandbox.txt`; needs nothing but Python 3.11 with pip.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import venv
from collections.abc import Iterable
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
_COLLECTED = re.compile(r"(?:Collecting|Requirement already satisfied:) ([A-Za-z0-9._-]+)")
# How pip says that it reached no index at all.
_UNREACHABLE = ("from versions: none", "NewConnectionError", "NameResolutionError", "ConnectTimeoutError", "ProxyError")


def main(arguments: list[str]) -> int:
    """Install. Returns the exit code: 0, 1 with a line that says why, or 130 after Ctrl-C."""
    folder, lock = Path(arguments[0]), Path(arguments[1])
    names = set(re.findall(r"^([A-Za-z0-9._-]+)==", lock.read_text("utf-8"), re.MULTILINE))
    print(f"Installing up to {len(names)} packages of {lock} into {folder}, once: up to a minute.", flush=True)
    try:
        python = make_environment(folder)
        command = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--retries", "2"]
        output = run([*command, "--require-hashes", "--requirement", str(lock)], len(names))
    except KeyboardInterrupt:
        print("\nInterrupted. The next make goes on from here.", file=sys.stderr)
        return 130
    if output is None:
        write_launcher(folder)
        return 0
    print(explanation(output), file=sys.stderr)
    return 1


def make_environment(folder: Path) -> Path:
    """The interpreter of the virtual environment in `folder`, which is made where it is missing or has no pip.

    Raises SystemExit with what to do where this Python cannot make one.
    """
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if python.exists():
        asked = subprocess.run([python, "-m", "pip", "--version"], check=False, capture_output=True)  # noqa: S603
        if asked.returncode == 0:
            return python
    try:
        venv.EnvBuilder(with_pip=True, clear=True, symlinks=os.name != "nt").create(folder)
    except (subprocess.CalledProcessError, ImportError) as error:
        raise SystemExit(
            f"{sys.executable} cannot make a virtual environment ({type(error).__name__}). On Debian and Ubuntu: "
            f"apt-get install python{sys.version_info.major}.{sys.version_info.minor}-venv"
        ) from error
    return python


def write_launcher(folder: Path) -> None:
    """Put the command line beside the interpreter, for this clone: `.venv/bin/vmss-maintenance`. Not on Windows, where
    it is `python -m maintenance_cli`."""
    if os.name == "nt":
        return
    code = "import sys; sys.path.insert(0, sys.argv.pop(1)); from maintenance_cli.main import main; main()"
    # Through a shell: no path with a space may begin a script. -P: nothing is imported from the folder one is in.
    text = f"""#!/bin/sh
exec "$(dirname "$0")/python" -P -c '{code}' {shlex.quote(str(PROJECT))} "$@"
"""
    launcher = folder / "bin" / "vmss-maintenance"
    launcher.write_text(text, "utf-8")
    launcher.chmod(0o755)


def run(command: list[str], total: int) -> list[str] | None:
    """Run pip and show how far it is. Returns None when it is done, its output if it failed."""
    shown = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    lines = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as pip:  # noqa: S603
        for line in pip.stdout or ():
            lines.append(line.rstrip())
            if shown and (text := progress(lines, total)):
                print(f"\r\x1b[K{text}", end="", flush=True)
    if shown:
        print("\r\x1b[K", end="", flush=True)
    return lines if pip.returncode else None


def progress(lines: list[str], total: int) -> str:
    """What the last line of pip's output tells, in under 60 columns; empty if nothing."""
    if lines[-1].startswith("Installing collected packages"):
        return "  unpacking …"
    if match := _COLLECTED.match(lines[-1]):
        count = sum(1 for line in lines if _COLLECTED.match(line))
        return f"  {min(count, total)} of {total}: {match[1][:30]}"
    return ""


def explanation(output: Iterable[str]) -> str:
    """Why pip failed and what to do, from its output."""
    lines = list(output)
    if any(mark in line for line in lines for mark in _UNREACHABLE):
        return (
            "pip could not reach a package index. Check the network; behind a proxy or with an index of your own set "
            "HTTPS_PROXY or PIP_INDEX_URL. Then run make again."
        )
    errors = [line for line in lines if line.startswith("ERROR")] or lines[-5:]
    return "pip could not install the lock:\n" + "\n".join(errors)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
