"""Records the session of docs/operating.md: python -m tests.cli.session (`make session`).

Starts the sandbox, dead-letters a request, starts a worker, then runs each command in a terminal of 100 columns and
writes down what it shows. Takes a minute.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import shlex
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from azure.servicebus import ServiceBusClient, ServiceBusMessage

from tests.support.entities import REQUESTS
from tests.support.limit import LIMIT

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "operating.md"
BEGIN, END = "<!-- Recorded by `make session`. -->\n", "<!-- The end of what was recorded. -->"
COLUMNS = 100
SUBSCRIPTION = "11111111-1111-4111-8111-111111111111"
# Each command, what is typed when it asks, and the seconds that pass before the next one.
COMMANDS: tuple[tuple[str, str, float], ...] = (
    ("vmss-maintenance plan shop/web --by-update-domain", "", 0),
    ("vmss-maintenance send shop/web --by-update-domain --request-id patch-42 --reason 'CHG-42'", "y\n", 5),
    ("vmss-maintenance status patch-42", "", 0),
    ("vmss-maintenance send shop/web --request-id too-much --yes", "", 5),
    ("vmss-maintenance list", "", 0),
    ("vmss-maintenance cancel too-much --yes --reason 'sent by mistake'", "", 0),
    ("vmss-maintenance watch patch-42 2>&1 | cat", "", 0),
    ("vmss-maintenance dlq list", "", 0),
    ("vmss-maintenance dlq replay requests --id left-behind", "y\n", 12),
    ("vmss-maintenance history", "", 0),
    ("vmss-maintenance doctor", "", 0),
)


def main() -> None:
    with sandbox() as environment:
        leave_dead_letter(environment["ServiceBusConnection"])
        # Else the worker deals with the dead letter before anybody can look at it.
        never = {**environment, "DEAD_LETTER_SCHEDULE": "0 0 0 1 1 *"}
        with process("worker", "--http-port", "0", environment=never) as worker:
            assert worker.stderr is not None
            while "HTTP functions at" not in (line := worker.stderr.readline()):
                assert line, "the worker has ended"
            text = "".join(recorded(*command, environment) for command in COMMANDS)
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n```console\n{text.rstrip()}\n```\n\n{END}{after}", "utf-8")


@contextmanager
def sandbox() -> Iterator[dict[str, str]]:
    options = ("--servicebus-port", "0", "--arm-port", "0", "--duration", "6", "--json")
    with process("up", *options, environment={}) as up:
        assert up.stdout is not None
        yield json.loads(up.stdout.readline())["environment"]


@contextmanager
def process(*arguments: str, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "sandbox", *arguments]
    pipe = subprocess.PIPE
    env = {**os.environ, **environment}
    with subprocess.Popen(command, cwd=ROOT, env=env, stdout=pipe, stderr=pipe, text=True) as running:
        try:
            yield running
        finally:
            running.terminate()
            running.communicate()


def leave_dead_letter(connection: str) -> None:
    """A request that was given up while no worker was there."""
    names = {"subscriptionId": SUBSCRIPTION, "resourceGroupName": "shop", "vmScaleSetName": "batch"}
    with ServiceBusClient.from_connection_string(connection) as client:
        with client.get_queue_sender(REQUESTS) as sender:
            sender.send_messages(ServiceBusMessage(json.dumps(names), message_id="left-behind"))
        with client.get_queue_receiver(REQUESTS) as receiver:
            (message,) = receiver.receive_messages(max_message_count=1, max_wait_time=LIMIT)
            receiver.dead_letter_message(message, reason="MaxDeliveryCountExceeded")


def recorded(command: str, typed: str, pause: float, environment: dict[str, str]) -> str:
    """What a terminal shows of one command."""
    shown = in_terminal(command, typed, environment, COLUMNS)
    time.sleep(pause)
    return "$ {}\n{}\n\n".format(command, shown.strip("\n"))


def in_terminal(command: str, typed: str, environment: dict[str, str], columns: int) -> str:
    """Run a shell command in a terminal without colours, and return what it shows."""
    runs = command.replace("vmss-maintenance", f"{shlex.quote(sys.executable)} -m maintenance_cli", 1)
    env = {**os.environ, **environment, "NO_COLOR": "1", "TERM": "xterm", "USER": "alice", "LOGNAME": "alice"}
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 60, columns, 0, 0))
    with subprocess.Popen(["sh", "-c", runs], cwd=ROOT, env=env, stdin=child, stdout=child, stderr=child) as running:
        os.close(child)
        shown = bytearray()
        answered = not typed
        while True:
            try:
                data = os.read(parent, 65_536)
            except OSError:
                break
            if not data:
                break
            shown += data
            if not answered and shown.rstrip().endswith(b"[y/N]"):
                os.write(parent, typed.encode())
                answered = True
        running.wait()
    os.close(parent)
    text = shown.decode(errors="replace").replace("\r\n", "\n")
    return "\n".join(line.rstrip() for line in re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", text).split("\n"))


if __name__ == "__main__":
    main()
