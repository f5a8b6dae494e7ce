"""The clients of one command, made when they are first used, and how a command runs with them."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient, ServiceBusSender

from maintenance.domain.resources import ScaleSet
from maintenance.servicebus.connection import SDK_ERRORS, close_quietly, connect
from maintenance.settings import Settings
from maintenance_cli.drawing.output import Output
from maintenance_cli.exits import Code, Ended
from maintenance_cli.reading import failures
from maintenance_cli.reading.peeking import Peeker
from maintenance_cli.reading.where import environment_of, scale_set_of, scope_of, settings_of

# The clients of Resource Manager and of logins take a third of a second to import, so each is where it is used.
if TYPE_CHECKING:
    from azure.identity.aio import DefaultAzureCredential

    from maintenance.arm.client import ArmClient
    from maintenance.arm.resource_manager import ResourceManager

# Seconds, for all that a command does, where nobody says otherwise. Those that wait for an end have none.
LIMIT = 60.0
# Seconds, of one call to Resource Manager.
ARM_TIMEOUT = 30.0
SEND_TIMEOUT = 30.0
WITHOUT_BUS = ("plan",)
READERS = ("plan", "list", "status", "history", "doctor")


def utc_now() -> datetime:
    return datetime.now(UTC)


class NotSent(Exception):
    """A message was not sent, for sure; the cause says why."""


class Azure:
    """What a command may use of Azure. `environment`: the worker's settings, as the options change them. Clients are
    made when they are first asked for."""

    def __init__(
        self,
        parsed: argparse.Namespace,
        environment: Mapping[str, str],
        *,
        now: Callable[[], datetime] = utc_now,
        bus_options: Mapping[str, Any] | None = None,
    ) -> None:
        self._parsed = parsed
        self._bus_options = dict(bus_options or {})
        # Links that are being closed.
        self.closing: list[asyncio.Task[None]] = []
        self._senders: dict[str, ServiceBusSender] = {}
        self.now = now
        self.environment = environment_of(parsed, environment)

    @cached_property
    def settings(self) -> Settings:
        return settings_of(self.environment, needs_bus=self._parsed.command not in WITHOUT_BUS)

    @cached_property
    def credential(self) -> DefaultAzureCredential:
        from azure.identity.aio import DefaultAzureCredential  # noqa: PLC0415 - see above

        return DefaultAzureCredential(managed_identity_client_id=self.settings.identity_client_id)

    @cached_property
    def bus(self) -> ServiceBusClient:
        connection = self.settings.service_bus
        return connect(
            connection_string=connection.connection_string,
            namespace=connection.namespace,
            credential=None if connection.connection_string else self.credential,
            **self._bus_options,
        )

    @cached_property
    def peeker(self) -> Peeker:
        return Peeker(self.bus)

    async def send(self, queue: str, message: ServiceBusMessage) -> None:
        """Send one message. Raises NotSent where it was not, or SDK_ERRORS where that is not known."""
        sender = self._senders.get(queue)
        async with asyncio.timeout(SEND_TIMEOUT):
            if sender is None:
                sender = self._senders[queue] = self.bus.get_queue_sender(queue)
                try:
                    await sender.__aenter__()
                except SDK_ERRORS as error:
                    raise NotSent(error) from error
            await sender.send_messages(message)

    @cached_property
    def arm(self) -> ArmClient:
        from maintenance.arm.client import ArmClient  # noqa: PLC0415 - see above
        from maintenance.arm.identity import ManagedIdentityAuth  # noqa: PLC0415
        from maintenance.arm.transport import AiohttpTransport  # noqa: PLC0415

        settings = self.settings
        return ArmClient(
            AiohttpTransport(limit=8),
            ManagedIdentityAuth(self.credential, settings.token_scope),
            endpoint=settings.arm_endpoint,
            call_timeout=ARM_TIMEOUT,
        )

    @cached_property
    def resource_manager(self) -> ResourceManager:
        from maintenance.arm.resource_manager import ResourceManager  # noqa: PLC0415 - see above

        return ResourceManager(self.arm, endpoint=self.settings.arm_endpoint, now=self.now)

    def scale_set(self, text: str) -> ScaleSet:
        """What SET names. Raises Ended."""
        return scale_set_of(text, self._parsed, self.environment)

    def scope(self, text: str) -> str:
        """The path of the scope that SCOPE names. Raises Ended."""
        return scope_of(text, self._parsed, self.environment)

    async def close(self) -> None:
        """Close what was opened."""
        made = vars(self)
        # Each link takes a second to close, and they do not mind company.
        async with asyncio.TaskGroup() as group:
            for sender in self._senders.values():
                group.create_task(close_quietly(sender))
            if "peeker" in made:
                group.create_task(self.peeker.close())
            if self.closing:
                await asyncio.wait(self.closing)
        if "bus" in made:
            await close_quietly(self.bus)
        if "arm" in made:
            await self.arm.aclose()
        if "credential" in made:
            with suppress(*failures.FAILURES):
                await self.credential.close()


Command = Callable[[argparse.Namespace, Output, Azure], Awaitable[int]]


def run_with_azure(
    command: Command, parsed: argparse.Namespace, output: Output, *, leave: Callable[[int], NoReturn] | None
) -> int:
    """Run a command within its time. `leave` ends the process, before the links are closed. Raises Ended."""
    # What the SDKs log is of no use to who reads a terminal: what fails is said once.
    logging.disable(logging.CRITICAL)
    try:
        return asyncio.run(_run(command, parsed, output, leave))
    finally:
        logging.disable(logging.NOTSET)


async def _run(
    command: Command, parsed: argparse.Namespace, output: Output, leave: Callable[[int], NoReturn] | None
) -> int:
    azure = Azure(parsed, os.environ)
    try:
        code = await bounded(command, parsed, output, azure)
    except Ended as ended:
        code = ended.code
        output.flush()
        for line in ended.lines:
            output.problem(line)
    except asyncio.CancelledError:
        if leave is None:
            raise
        code = Code.INTERRUPTED
        output.problem("Interrupted.")
    output.flush()
    if leave is not None:
        leave(code)
    await azure.close()
    return code


async def bounded(command: Command, parsed: argparse.Namespace, output: Output, azure: Azure) -> int:
    """Run a command within its time; what waits for an end bounds itself. Raises Ended."""
    if parsed.command == "watch" or getattr(parsed, "wait", False):
        limit = None
    else:
        # Those that ask a person, or act on many messages, take their time; each of their calls has a limit.
        limit = parsed.timeout or (LIMIT if parsed.command in READERS else None)
    try:
        async with asyncio.timeout(limit):
            return int(await command(parsed, output, azure))
    except TimeoutError:
        raise Ended(
            Code.UNREACHABLE,
            f"Azure did not respond within {limit:g} s." if limit else "Azure did not respond in time.",
        ) from None
    except ExceptionGroup as group:
        found = next((each for each in group.exceptions if isinstance(each, Ended)), None)
        raise found or failures.ended(group.exceptions[0]) from None
    except failures.FAILURES as error:
        raise failures.ended(error) from None
