"""Worker process that kills itself right after an awaited step.

Steps are found, not listed: in this process every public coroutine of the Service Bus SDK's senders and receivers, and
aiohttp's request (which both httpx and azure-identity use), counts itself as it returns. Only classes of these
libraries are changed, nothing of `maintenance` or `sandbox`.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import multiprocessing
import os
import re
import signal
import sys
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import aiohttp
from azure.servicebus import ServiceBusMessage, ServiceBusReceivedMessage
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver, ServiceBusSender

from maintenance.servicebus import connection
from sandbox.functions_host import FunctionsHost, load_app
from sandbox.functions_host.listeners import servicebus as listener
from tests.support.completions import Completions

APP = Path(__file__).parent.parent.parent
TIMER = "poll_operations"
# Few pumps: each opens a connection, in each new worker process.
HOST_JSON = {"version": "2.0", "extensions": {"serviceBus": {"maxConcurrentCalls": 2}}}
# Read in the process that workers are forked from: each would take a fifth of its processor time for it.
TRUSTED = connection.trusted()
listener.trusted()
# Lines of the log of steps that are not steps.
BEGUN, FAILED = "begun", "failed"
GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class CrashPoint:
    """Point at which a worker is killed: right after the `time`-th step of this kind."""

    kind: str
    time: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRun:
    """One run of the worker.

    `steps`: the file that steps are written to. `crash`: when it is killed (None: never). `timers`: how many timers
    fire at once, each again as soon as it has ended. `twice`: every message is abandoned once after it was handled.
    """

    environment: Mapping[str, str]
    steps: Path
    log: Path
    crash: CrashPoint | None = None
    timers: int = 1
    twice: bool = False


class Steps:
    """Log of the steps of a worker, which kills the process at its crash point.

    A line of the file is the start of a call (`BEGUN`), its failure (`FAILED`), or the step that it ended with.
    """

    def __init__(self, written: Path, crash: CrashPoint | None) -> None:
        # Unbuffered, so that everything written before the process is killed is in the file.
        self._file = written.open("ab", buffering=0)
        self._crash = crash
        self._taken: Counter[str] = Counter()

    def begun(self) -> None:
        self._file.write(f"{BEGUN}\n".encode())

    def failed(self) -> None:
        self._file.write(f"{FAILED}\n".encode())

    def taken(self, what: str) -> None:
        self._file.write(f"{what}\n".encode())
        for kind in kinds_of(what):
            self._taken[kind] += 1
            if CrashPoint(kind, self._taken[kind]) == self._crash:
                os.kill(os.getpid(), signal.SIGKILL)

    def watch(self, kind: type) -> None:
        """Count every public coroutine of a class."""
        for name, method in inspect.getmembers(kind, inspect.iscoroutinefunction):
            # Closing a link changes nothing, and happens at any time.
            if not name.startswith("_") and name not in ("close", "complete_message"):
                setattr(kind, name, self._counted(name, method))

    def watch_completions(self, *, abandon_once: bool) -> None:
        """Count every completion. `abandon_once`: each message is abandoned in place of its first completion, as if its
        lock had expired too early."""

        def began(message: ServiceBusReceivedMessage) -> ServiceBusReceivedMessage:
            self.begun()
            return message

        def ended(message: ServiceBusReceivedMessage, confirmed: bool) -> None:
            if confirmed:
                self.taken(f"complete_message {message._receiver._entity_name} {_subjects(message)}".rstrip())
            else:
                self.failed()

        abandons = (lambda message: not message.delivery_count) if abandon_once else (lambda message: False)
        for target, name, value in Completions(began, ended, abandons=abandons).changes():
            setattr(target, name, value)

    def watch_requests(self) -> None:
        """Count every HTTP request of aiohttp, whoever sends it."""
        request: Callable[..., Awaitable[Any]] = aiohttp.ClientSession._request

        async def counted(session: aiohttp.ClientSession, method: str, url: object, **options: Any) -> Any:
            self.begun()
            try:
                response = await request(session, method, url, **options)
            except BaseException:
                self.failed()
                raise
            path = GUID.sub("…", str(url).partition("?")[0])
            self.taken(f"{method} …/{'/'.join(path.split('/')[-2:])} {response.status}")
            return response

        setattr(aiohttp.ClientSession, "_request", counted)  # noqa: B010 - its many parameters are passed through

    def _counted(self, name: str, method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        @functools.wraps(method)
        async def counted(link: Any, *arguments: Any, **options: Any) -> Any:
            if name == "receive_messages":
                # An empty receive changes nothing, and an idle worker receives for ever.
                if result := await method(link, *arguments, **options):
                    self.begun()
                    self.taken(f"{name} {link._entity_name} {_subjects(result)}".rstrip())
                return result
            self.begun()
            try:
                result = await method(link, *arguments, **options)
            except BaseException:
                self.failed()
                raise
            self.taken(f"{name} {link._entity_name} {_subjects(next(iter(arguments), None))}".rstrip())
            return result

        return counted


def kinds_of(step: str) -> tuple[str, ...]:
    """The kinds of a step: what is called, and each of the messages that it is about. Which are sent together depends
    on how fast the machine is."""
    what, _, which = step.partition(" ")
    where, _, about = which.partition(" ")
    subjects = dict.fromkeys(subject for subject in about.split() if not subject.isdigit()) or ("",)
    return tuple(f"{what} {where} {subject}".strip() for subject in subjects)


def _subjects(about: object) -> str:
    """What messages are: the phase of a record, `lease`, `cancellation`, the kind of an event."""
    messages = about if isinstance(about, list) else [about]
    return " ".join(subject for message in messages if (subject := _subject(message)))


def _subject(message: object) -> str:
    if not isinstance(message, (ServiceBusMessage, ServiceBusReceivedMessage)):
        return ""
    text = str(message.subject or "")
    return text.split(".")[-2] if "." in text else text


def run_worker(run: WorkerRun) -> None:
    """Run the functions of the app until killed. It changes the environment of its process."""
    log = os.open(run.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, sys.stdout.fileno())
    os.dup2(log, sys.stderr.fileno())
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s")
    logging.getLogger("azure").setLevel(logging.WARNING)
    os.environ.clear()
    os.environ.update(run.environment)
    # Where the tests themselves are killed, it would call services that are gone for ever.
    threading.Thread(target=_end_with_parent, daemon=True).start()
    steps = Steps(run.steps, run.crash)
    steps.watch(ServiceBusSender)
    steps.watch(ServiceBusReceiver)
    steps.watch_completions(abandon_once=run.twice)
    steps.watch_requests()
    asyncio.run(_run(run))


def _end_with_parent() -> None:
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)


async def _run(run: WorkerRun) -> None:
    async with (
        FunctionsHost(load_app(APP), environment=os.environ, host_json=HOST_JSON) as host,
        asyncio.TaskGroup() as timers,
    ):
        for _ in range(run.timers):
            timers.create_task(_fire(host))


async def _fire(host: FunctionsHost) -> None:
    while True:
        await host.fire(TIMER)


def send(
    connection_string: str,
    queue: str,
    bodies: Mapping[str, bytes],
    properties: Mapping[str | bytes, str],
    sent: Connection,
) -> None:
    """Send messages by id, say so, and exit at once, since the SDK takes a second to close its links."""

    async def send_all() -> None:
        client = ServiceBusClient.from_connection_string(connection_string, ssl_context=TRUSTED)
        sender = client.get_queue_sender(queue)
        await sender.send_messages(
            [
                ServiceBusMessage(body, message_id=name, application_properties={**properties})
                for name, body in bodies.items()
            ]
        )
        sent.send(True)
        os._exit(0)

    asyncio.run(send_all())
