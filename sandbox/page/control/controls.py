"""Carries out what the page asks for: over AMQP, over HTTP, on the services, on the worker's process."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

from sandbox.clock import Clock, HandMovedClock
from sandbox.page.control.commands import Advance, Alert, ControlError, Send, Worker, read_command
from sandbox.page.control.faults import FaultControls
from sandbox.resource_manager import ResourceManager
from sandbox.servicebus import ServiceBus

_SENDING_SECONDS = 10.0


class WorkerProcess(Protocol):
    """A worker that the sandbox started."""

    @property
    def running(self) -> bool: ...

    def kill(self) -> None:
        """End it at once, as a crash would."""

    def start(self) -> None:
        """Start it again."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What there is besides the services. `post_alert` returns a status and a text; None: there is no such thing.
    `command`: of a shell, with `{}` for what it does."""

    clock: Clock
    requests_queue: str
    post_alert: Callable[[bytes], Awaitable[tuple[int, str]]] | None = None
    worker: WorkerProcess | None = None
    command: str | None = None


class Controls:
    """Carries out commands. Used on one event loop."""

    def __init__(self, bus: ServiceBus, arm: ResourceManager, tools: Tools) -> None:
        self._bus, self._tools = bus, tools
        self.faults = FaultControls(bus, arm)

    def about(self) -> dict[str, Any]:
        """What can be done here, for the page's section of that name."""
        tools = self._tools
        worker = None if tools.worker is None else "running" if tools.worker.running else "ended"
        return {
            "requests": tools.requests_queue,
            "command": tools.command,
            "canAlert": tools.post_alert is not None,
            "canMoveClock": isinstance(tools.clock, HandMovedClock),
            "worker": worker,
        }

    async def carry_out(self, body: bytes) -> str:
        """Do what a JSON document asks for; returns what was done, in words. Raises ControlError."""
        command = read_command(body)
        try:
            match command:
                case Send():
                    return await self._send(command)
                case Alert(body=text):
                    return await self._post(text)
                case Advance(seconds=seconds):
                    return self._advance(seconds)
                case Worker(do=what):
                    return self._change_worker(what)
            return self.faults.carry_out(command)
        except (LookupError, ValueError, OSError) as error:
            raise ControlError(str(error)) from error

    async def _send(self, command: Send) -> str:
        # An SDK that takes half a second to import, on a thread: the stream goes on meanwhile.
        sdk = await asyncio.to_thread(importlib.import_module, "azure.servicebus")
        client_type = (await asyncio.to_thread(importlib.import_module, "azure.servicebus.aio")).ServiceBusClient
        queue = self._tools.requests_queue
        body = command.body.encode("utf-8", "backslashreplace")
        try:
            async with (
                asyncio.timeout(_SENDING_SECONDS),
                client_type.from_connection_string(self._bus.connection_string, retry_total=0) as client,
                client.get_queue_sender(queue) as sender,
            ):
                await sender.send_messages(sdk.ServiceBusMessage(body, message_id=command.message_id))
        except (sdk.exceptions.ServiceBusError, TimeoutError) as error:
            reason = str(error) or f"no response within {_SENDING_SECONDS:g} s"
            raise ControlError(f"The message was not sent to {queue}: {reason}") from error
        return f"Sent to {queue}."

    async def _post(self, text: str) -> str:
        if self._tools.post_alert is None:
            raise ControlError("There is no worker here to post an alert to: start one with `up --worker`.")
        status, response = await self._tools.post_alert(text.encode())
        return f"HTTP {status} {response}"

    def _advance(self, seconds: float) -> str:
        if not isinstance(self._tools.clock, HandMovedClock):
            raise ControlError("The clock here is the machine's: it cannot be moved.")
        self._tools.clock.advance(timedelta(seconds=seconds))
        return f"The clock was moved by {seconds:g} s."

    def _change_worker(self, what: str) -> str:
        worker = self._tools.worker
        if worker is None:
            raise ControlError("The sandbox did not start the worker, so it does not end it: see `up --worker`.")
        if what == "kill-worker":
            worker.kill()
            return "The worker was killed."
        worker.start()
        return "The worker was started."
