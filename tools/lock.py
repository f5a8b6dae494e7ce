"""The locks: every package that an environment needs, each file of it by its hash, for all supported Pythons.

`python -m tools.lock` writes them with uv; further arguments are uv's, such as `--upgrade`.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
NAMES = (
    *("requirements", "requirements-telemetry", "requirements-sandbox", "requirements-dev", "requirements-page"),
    "requirements-tools",
)
"""Without suffix: `.in` holds the direct needs, `.txt` the lock. One that includes another comes after it."""

OLDEST_PYTHON = "3.11"
_INCLUDE = re.compile(r"^-r\s+(\S+)", re.MULTILINE)
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)(?:\s*;\s*([^\\\n]+?))?\s*\\?$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Pin:
    """One version of one package; `marker` says for which Pythons and systems, empty for all."""

    name: str
    version: str
    marker: str
    hashes: tuple[str, ...] = ()


def needs(name: str, folder: Path = PROJECT) -> list[Pin]:
    """The direct needs of a file and of those that it includes."""
    text = (folder / f"{name}.in").read_text("utf-8")
    included = [pin for other in _INCLUDE.findall(text) for pin in needs(other.removesuffix(".in"), folder)]
    return included + _pins(text)


def locked(name: str, folder: Path = PROJECT) -> list[Pin]:
    """What a lock holds."""
    return _pins((folder / f"{name}.txt").read_text("utf-8"))


def header(name: str, folder: Path = PROJECT) -> str:
    """How a lock begins: what it was made from, with a hash of that. Whoever installs it checks all hashes: Azure's
    remote build too, which takes no options."""
    return f"# Made by `make lock` from {name}.in (sha256 {_digest(name, folder)}). Do not edit.\n--require-hashes\n"


def problems(name: str, folder: Path = PROJECT) -> list[str]:
    """What shows, without a network, that a lock is not current; empty if nothing does."""
    text = (folder / f"{name}.txt").read_text("utf-8")
    pins = _pins(text)
    versions = {(pin.name, pin.version) for pin in pins}
    found = [
        f"{pin.name}=={pin.version} is in {name}.in and not in {name}.txt"
        for pin in needs(name, folder)
        if (pin.name, pin.version) not in versions
    ]
    found += [f"{pin.name}=={pin.version} has no hash in {name}.txt" for pin in pins if not pin.hashes]
    if not text.startswith(header(name, folder)):
        found.append(f"{name}.txt was made from another {name}.in")
    if "://" in text:
        found.append(f"{name}.txt names an address")
    return [f"{problem}: run make lock" for problem in found]


def write(name: str) -> None:
    """Write a lock. What it shares with the lock before it has the same versions.

    Raises subprocess.CalledProcessError where uv fails; it has said why.
    """
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "lock.txt"
        # Versions that are locked already stay, unless the needs changed or `--upgrade` was given.
        old = PROJECT / f"{name}.txt"
        if old.exists():
            made.write_text("".join(old.read_text("utf-8").partition("--require-hashes\n")[::2]), "utf-8")
        command = ["uv", "pip", "compile", f"{name}.in", "--output-file", str(made), "--quiet", "--universal"]
        command += ["--python-version", OLDEST_PYTHON, "--generate-hashes", "--no-header", "--no-annotate"]
        command += ["--no-emit-index-url", "--no-config", *sys.argv[1:]]
        for included in _INCLUDE.findall((PROJECT / f"{name}.in").read_text("utf-8")):
            command += ["--constraints", f"{included.removesuffix('.in')}.txt"]
        subprocess.run([sys.executable, "-m", *command], cwd=PROJECT, check=True)  # noqa: S603 - our own arguments
        old.write_text(header(name) + made.read_text("utf-8"), "utf-8")


def main() -> int:
    """Write all locks. Returns the exit code."""
    for name in NAMES:
        try:
            write(name)
        except subprocess.CalledProcessError as error:
            return error.returncode
        print(f"{name}.txt: {len(locked(name))} packages")
    return 0


def _digest(name: str, folder: Path) -> str:
    text = (folder / f"{name}.in").read_text("utf-8")
    parts = [text, *(_digest(other.removesuffix(".in"), folder) for other in _INCLUDE.findall(text))]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _pins(text: str) -> list[Pin]:
    found = list(_PIN.finditer(text))
    ends = [match.start() for match in found[1:]] + [len(text)]
    pins = []
    for match, end in zip(found, ends, strict=True):
        name, version, marker = match.groups()
        hashes = re.findall(r"--hash=(sha256:[0-9a-f]{64})\b", text[match.end() : end])
        pins.append(Pin(re.sub(r"[-_.]+", "-", name).lower(), version, marker or "", tuple(hashes)))
    return pins


if __name__ == "__main__":
    sys.exit(main())
