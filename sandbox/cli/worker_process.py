"""The worker as a process of its own beside `up`: it can be killed as a crash would, and started again."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping

from sandbox.cli.environment_file import PROJECT

# Longer than the host lets functions finish (30 s).
_GRACE = 45.0


class WorkerProcess:
    """`python -m sandbox worker` with these settings. Safe for threads.

    It ends in order with this process, however that ends: its standard input is a pipe from here, and it stops when
    that closes. A Ctrl-C in the terminal reaches it through here alone.
    """

    def __init__(self, *, http_port: int, ended: Callable[[int], None] = lambda code: None) -> None:
        """`http_port`: 0 = any free one. `ended`: called with the exit code when it ends and nobody ended it here."""
        self.http_port = http_port or _free_port()
        self._environment: dict[str, str] = {}
        self._ended = ended
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    @property
    def endpoint(self) -> str:
        """Where its HTTP functions are."""
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def running(self) -> bool:
        """Whether it is there."""
        process = self._process
        return process is not None and process.poll() is None

    def start(self, environment: Mapping[str, str] | None = None) -> None:
        """Start it, unless it runs; with the settings of the time before where none are given."""
        with self._lock:
            if self.running:
                return
            self._environment = dict(environment or self._environment)
            command = [sys.executable, "-m", "sandbox", "worker", "--until-input-ends"]
            process = subprocess.Popen(  # noqa: S603 - our own arguments
                [*command, "--http-port", str(self.http_port)],
                cwd=PROJECT,
                env=os.environ | self._environment,
                stdin=subprocess.PIPE,
                start_new_session=True,
            )
            self._process = process
            threading.Thread(target=self._watch, args=(process,), name="worker-process", daemon=True).start()

    def kill(self) -> None:
        """End it at once, as a crash would. Nothing is done if it does not run."""
        process = self._take()
        if process is not None:
            process.kill()
            _close(process)

    def close(self) -> None:
        """Let it end in order, and wait for that."""
        process = self._take()
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
        _close(process)

    def _take(self) -> subprocess.Popen[bytes] | None:
        with self._lock:
            process, self._process = self._process, None
            return process

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        code = process.wait()
        if self._process is process:
            # Ended by a signal, as a shell has it.
            self._ended(code if code >= 0 else 128 - code)


def _close(process: subprocess.Popen[bytes]) -> None:
    process.wait()
    if process.stdin is not None:
        process.stdin.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
