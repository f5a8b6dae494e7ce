"""Workers of the soak, one after another: `python -m sandbox worker`, killed, with its memory measured."""

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
class WorkerRun:
    """Run of a worker: its duration in seconds, and its memory in MB at the end and at the peak."""

    duration: float
    rss: float
    peak: float


class Workers:
    """Starts and kills one worker at a time."""

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        self.runs: list[WorkerRun] = []
        self._environment = {"PATH": os.environ["PATH"], **environment}
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "sandbox", "worker", "--app", str(ROOT)],
                cwd=ROOT,
                env=self._environment,
                stdout=log,
                stderr=log,
            )
        self._started = time.monotonic()

    def kill(self) -> None:
        """Send SIGKILL. Raises RuntimeError if the worker has exited by itself."""
        process = self._process
        if process is None:
            return
        if process.poll() is not None:
            raise RuntimeError(f"the worker exited by itself with {process.returncode}; see {self._log}")
        status = Path(f"/proc/{process.pid}/status").read_text()
        process.kill()
        process.wait()
        duration = time.monotonic() - self._started
        self.runs.append(WorkerRun(duration, _megabytes(status, "VmRSS"), _megabytes(status, "VmHWM")))
        self._process = None


def _megabytes(status: str, name: str) -> float:
    found = re.search(rf"^{name}:\s+(\d+) kB", status, re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0
