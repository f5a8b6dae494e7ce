"""The worker in a process of its own that kills itself right after an awaited step.

Steps are found, not listed: in this process every public coroutine of the Service Bus SDK's senders and receivers,
and aiohttp's request (below both httpx and azure-identity), counts itself as it returns. What is counted are third
parties' classes; nothing of `maintenance` or `sandbox` is touched.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from azure.servicebus import ServiceBusMessage, ServiceBusReceivedMessage
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver, ServiceBusSender

from sandbox.functions_host import FunctionsHost, load_app

APP = Path(__file__).parent.parent.parent
TIMER = "poll_operations"
# Few pumps: each opens a connection, and each life of the worker opens them anew.
HOST_JSON = {"version": "2.0", "extensions": {"serviceBus": {"maxConcurrentCalls": 2}}}
GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Death:
    """Right after the `time`-th step of this kind."""

    kind: str
    time: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """One life of the worker.

    `steps`: the file that steps are written to. `death`: when it is killed; None = not at all. `timers`: how many
    timers fire at once, each again as soon as it has ended. `twice`: every message is given back once after it was
    handled.
    """

    environment: Mapping[str, str]
    steps: Path
    log: Path
    death: Death | None = None
    timers: int = 1
    twice: bool = False


class Steps:
    """Counts steps, writes each down, and ends the process after the last one it may take."""

    def __init__(self, written: Path, death: Death | None) -> None:
        # Unbuffered: what was written before the process is killed is in the file.
        self._file = written.open("ab", buffering=0)
        self._death = death
        self._taken: Counter[str] = Counter()

    def taken(self, what: str) -> None:
        kind = kind_of(what)
        self._taken[kind] += 1
        self._file.write(f"{what}\n".encode())
        if Death(kind, self._taken[kind]) == self._death:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self, kind: type) -> None:
        """Count every public coroutine of a class, whichever it has."""
        for name, method in inspect.getmembers(kind, inspect.iscoroutinefunction):
            if not name.startswith("_"):
                setattr(kind, name, self._counted(name, method))

    def watch_requests(self) -> None:
        """Count every HTTP request of aiohttp, with whatever asked for it."""
        request: Callable[..., Awaitable[Any]] = aiohttp.ClientSession._request

        async def counted(session: aiohttp.ClientSession, method: str, url: object, **options: Any) -> Any:
            answer = await request(session, method, url, **options)
            path = GUID.sub("…", str(url).partition("?")[0])
            self.taken(f"{method} …/{'/'.join(path.split('/')[-2:])} {answer.status}")
            return answer

        setattr(aiohttp.ClientSession, "_request", counted)  # noqa: B010 - its many parameters are passed through

    def _counted(self, name: str, method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        @functools.wraps(method)
        async def counted(link: Any, *arguments: Any, **options: Any) -> Any:
            result = await method(link, *arguments, **options)
            # A receive that brings nothing changes nothing, and there is no end of them.
            if name != "receive_messages" or result:
                subject = result if name == "receive_messages" else next(iter(arguments), None)
                self.taken(f"{name} {link._entity_name} {_ids(subject)}".rstrip())
            return result

        return counted


def kind_of(step: str) -> str:
    """A step without the request it is for, and without the number of the poll: that depends on this machine."""
    what, _, which = step.partition(" ")
    where, _, ids = which.partition(" ")
    return f"{what} {where} {re.sub(r':?p[0-9]+', '', ids.partition(' ')[0].partition(':')[2])}".strip()


def _ids(subject: object) -> str:
    messages = subject if isinstance(subject, list) else [subject]
    known = (ServiceBusMessage, ServiceBusReceivedMessage)
    return " ".join(str(message.message_id) for message in messages if isinstance(message, known))


def give_back_once() -> None:
    """Have each message abandoned in place of its first completion, as after a lock that ran out too early."""
    complete = ServiceBusReceiver.complete_message

    async def complete_the_second_time(receiver: ServiceBusReceiver, message: ServiceBusReceivedMessage) -> None:
        if message.delivery_count:
            await complete(receiver, message)
        else:
            await receiver.abandon_message(message)

    setattr(ServiceBusReceiver, "complete_message", complete_the_second_time)  # noqa: B010 - see above: not ours


def live(life: Life) -> None:
    """Run the functions of the app until killed. In a process made for it: it changes the process's environment."""
    log = os.open(life.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, sys.stdout.fileno())
    os.dup2(log, sys.stderr.fileno())
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s")
    logging.getLogger("azure").setLevel(logging.WARNING)
    os.environ.clear()
    os.environ.update(life.environment)
    if life.twice:
        give_back_once()
    steps = Steps(life.steps, life.death)
    steps.watch(ServiceBusSender)
    steps.watch(ServiceBusReceiver)
    steps.watch_requests()
    asyncio.run(_run(life))


async def _run(life: Life) -> None:
    async with (
        FunctionsHost(load_app(APP), environment=os.environ, host_json=HOST_JSON) as host,
        asyncio.TaskGroup() as timers,
    ):
        for _ in range(life.timers):
            timers.create_task(_fire(host))


async def _fire(host: FunctionsHost) -> None:
    while True:
        await host.fire(TIMER)


def send(connection_string: str, queue: str, messages: Mapping[str, bytes]) -> None:
    """Send messages by their ids, and end the process: closing links in order takes the SDK a second."""
    asyncio.run(_send(connection_string, queue, messages))


async def _send(connection_string: str, queue: str, messages: Mapping[str, bytes]) -> None:
    sender = ServiceBusClient.from_connection_string(connection_string).get_queue_sender(queue)
    await sender.send_messages([ServiceBusMessage(body, message_id=name) for name, body in messages.items()])
    os._exit(0)
