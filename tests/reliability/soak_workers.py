"""The workers of the soak, one after the other: `python -m sandbox worker`, killed, its memory written down."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True, slots=True)
class Life:
    """How long a worker lived, in seconds, and the memory it had at its end, in MB: as it was, and at the most."""

    lasted: float
    rss: float
    peak: float


class Workers:
    """One worker at a time."""

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        self.lives: list[Life] = []
        self._environment = {"PATH": os.environ["PATH"], **environment}
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._born = 0.0

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "sandbox", "worker", "--app", str(ROOT)],
                cwd=ROOT,
                env=self._environment,
                stdout=log,
                stderr=log,
            )
        self._born = time.monotonic()

    def kill(self) -> None:
        """SIGKILL. Raises RuntimeError where it had ended by itself."""
        process = self._process
        if process is None:
            return
        if process.poll() is not None:
            raise RuntimeError(f"the worker ended by itself with {process.returncode}; see {self._log}")
        status = Path(f"/proc/{process.pid}/status").read_text()
        process.kill()
        process.wait()
        self.lives.append(Life(time.monotonic() - self._born, _megabytes(status, "VmRSS"), _megabytes(status, "VmHWM")))
        self._process = None


def _megabytes(status: str, name: str) -> float:
    found = re.search(rf"^{name}:\s+(\d+) kB", status, re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0
