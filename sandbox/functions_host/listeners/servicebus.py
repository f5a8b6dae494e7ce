"""Service Bus triggers: messages received under a lock, completed on return, abandoned on an exception.

A listener has as many *pumps* as messages run at once. A pump owns a receiver, hence a connection, and does
one thing at a time: receive one message, run the function, settle. So nobody waits in a receiver that
another settles on, which would cost each settlement up to 200 ms, and a message is handed over within a
millisecond of its arrival.
"""

import asyncio
import contextlib
import logging
import ssl
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import certifi
from azure.core.credentials_async import AsyncTokenCredential
from azure.identity.aio import DefaultAzureCredential, ManagedIdentityCredential
from azure.servicebus import ServiceBusReceivedMessage
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver
from azure.servicebus.exceptions import MessageLockLostError

from sandbox.functions_host.configuration import HostConfiguration
from sandbox.functions_host.indexing import IndexedFunction
from sandbox.functions_host.invocation import Invoker, Outcome
from sandbox.functions_host.listeners.conversion import service_bus_message, traceparent
from sandbox.functions_host.triggers import ServiceBusConnection, ServiceBusTrigger

_log = logging.getLogger("sandbox.functions_host")

# Seconds. A receive is short because it can't be cancelled (the message it was about to return would stay
# locked), so this is how long a stop may take.
_RECEIVE = 0.5
_RECEIVE_BOUND = 30.0
_OPEN_BOUND = 30.0
_SETTLE_BOUND = 30.0
_CLOSE_BOUND = 5.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 10.0

# A pump takes half a second to open and costs a wake-up five times a second. So there are few at first, and
# several times as many whenever all of them are busy: 4, 16, 64.
_FIRST_PUMPS, _PUMP_GROWTH = 4, 4


class ServiceBusListener:
    """Listens to the entity of one function's Service Bus trigger.

    Attributes:
        started: set once it listens, or once it found that it can't yet.
    """

    def __init__(
        self,
        function: IndexedFunction,
        trigger: ServiceBusTrigger,
        *,
        configuration: HostConfiguration,
        invoker: Invoker,
        stopping: asyncio.Event,
    ) -> None:
        self._function = function
        self._trigger = trigger
        self._renew_for = configuration.lock_renewal
        self._most_pumps = configuration.max_concurrent_calls
        self._auto_complete = configuration.auto_complete if trigger.auto_complete is None else trigger.auto_complete
        self._invoker = invoker
        self._stopping = stopping
        self._pumps = 0
        self._at_rest = 0
        self.started = asyncio.Event()

    async def run(self) -> None:
        """Listen until told to stop, then finish what runs. Connection errors are retried."""
        async with contextlib.AsyncExitStack() as stack:
            client = await stack.enter_async_context(_client(self._trigger.connection, stack))
            try:
                async with asyncio.TaskGroup() as pumps:
                    self._start_pumps(min(_FIRST_PUMPS, self._most_pumps), client, pumps)
            finally:
                self.started.set()  # told to stop before it listened: nobody needs to wait for it any more

    def _start_pumps(self, number: int, client: ServiceBusClient, group: asyncio.TaskGroup) -> None:
        self._pumps += number
        self._at_rest += number
        for _ in range(number):
            group.create_task(self._pump(client, group))

    async def _pump(self, client: ServiceBusClient, group: asyncio.TaskGroup) -> None:
        pause = _FIRST_PAUSE
        while not self._stopping.is_set():
            receiver = self._receiver(client)
            try:
                async with asyncio.timeout(_OPEN_BOUND):
                    await receiver.__aenter__()
                self.started.set()
                pause = _FIRST_PAUSE
                while not self._stopping.is_set():
                    await self._take_one(receiver, client, group)
            # Whatever the SDK raises when its connection is gone (ServiceBusError, OSError, AttributeError,
            # ValueError): the listener outlives it.
            except Exception as error:
                _log.warning(
                    "%s can't listen to %s: %s; retry in %.1f s",
                    self._function.name,
                    self._trigger.entity,
                    _brief(error),
                    pause,
                )
                self.started.set()
            finally:
                await _close(receiver)
            if await _set_within(self._stopping, pause):
                return
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _take_one(self, receiver: ServiceBusReceiver, client: ServiceBusClient, group: asyncio.TaskGroup) -> None:
        async with asyncio.timeout(_RECEIVE_BOUND):
            received = await receiver.receive_messages(max_message_count=1, max_wait_time=_RECEIVE)
        for message in received:
            self._at_rest -= 1
            if self._at_rest == 0 and self._pumps < self._most_pumps:
                more = self._pumps * (_PUMP_GROWTH - 1)
                self._start_pumps(min(more, self._most_pumps - self._pumps), client, group)
            try:
                await self._handle(receiver, message)
            finally:
                self._at_rest += 1

    async def _handle(self, receiver: ServiceBusReceiver, message: ServiceBusReceivedMessage) -> None:
        async with _lock_kept(receiver, message, self._renew_for):
            outcome = await self._run(message)
        try:
            async with asyncio.timeout(_SETTLE_BOUND):
                if outcome.error is not None:
                    await receiver.abandon_message(message)
                elif self._auto_complete:
                    await receiver.complete_message(message)
        except MessageLockLostError:
            _log.warning(
                "%s message %s: its lock was lost before it was settled; it will be redelivered",
                self._function.name,
                message.message_id,
            )

    async def _run(self, message: ServiceBusReceivedMessage) -> Outcome:
        try:
            argument = service_bus_message(message, binary=self._trigger.binary)
        except (NotImplementedError, ValueError) as error:
            _log.error("%s message %s can't be bound: %s", self._function.name, message.message_id, error)
            return Outcome(error=error)
        return await self._invoker.invoke(
            self._function,
            argument,
            about=f"message {message.message_id}",
            traceparent=traceparent(message),
        )

    def _receiver(self, client: ServiceBusClient) -> ServiceBusReceiver:
        trigger = self._trigger
        if trigger.queue is not None:
            return client.get_queue_receiver(trigger.queue)
        return client.get_subscription_receiver(str(trigger.topic), str(trigger.subscription))


@cache
def trusted() -> ssl.SSLContext:
    """The certificate authorities that the SDK trusts: each pump would read their file again, for 10 to 30 ms."""
    return ssl.create_default_context(cafile=certifi.where())


def _client(connection: ServiceBusConnection, stack: contextlib.AsyncExitStack) -> ServiceBusClient:
    """The client for a connection; a credential made for it is closed by `stack`."""
    # Its own retries are few and quick: the pump waits out what is longer.
    options: dict[str, Any] = {"retry_total": 2, "retry_backoff_factor": 0.05, "ssl_context": trusted()}
    if connection.connection_string is not None:
        return ServiceBusClient.from_connection_string(connection.connection_string, **options)
    credential: AsyncTokenCredential
    if connection.managed_identity:
        credential = ManagedIdentityCredential(client_id=connection.client_id)
    else:
        credential = DefaultAzureCredential(managed_identity_client_id=connection.client_id)
    stack.push_async_callback(credential.close)
    return ServiceBusClient(str(connection.namespace), credential, **options)


@contextlib.asynccontextmanager
async def _lock_kept(
    receiver: ServiceBusReceiver, message: ServiceBusReceivedMessage, renew_for: timedelta
) -> AsyncIterator[None]:
    """Renew the message's lock while the block runs, for `renew_for` at most."""
    done = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(_renew(receiver, message, time.monotonic() + renew_for.total_seconds(), done))
        try:
            yield
        finally:
            done.set()


async def _renew(
    receiver: ServiceBusReceiver, message: ServiceBusReceivedMessage, last: float, done: asyncio.Event
) -> None:
    while message.locked_until_utc is not None:
        left = (message.locked_until_utc - datetime.now(UTC)).total_seconds()
        if await _set_within(done, max(left / 2, 0.0)) or time.monotonic() >= last:
            return
        try:
            async with asyncio.timeout(_SETTLE_BOUND):
                await receiver.renew_message_lock(message)
        # A lock that can't be renewed must not end the function that runs under it.
        except Exception as error:
            _log.warning("message %s: its lock can't be renewed: %s", message.message_id, _brief(error))
            return


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    """Whether the event is set before so many seconds have passed."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True


async def _close(receiver: ServiceBusReceiver) -> None:
    try:
        async with asyncio.timeout(_CLOSE_BOUND):
            await receiver.close()
    # A connection that is gone can't be closed in order; why it is gone has been logged.
    except Exception as error:
        _log.debug("closing a receiver: %s", _brief(error))


def _brief(error: BaseException) -> str:
    """Kind and first line: the SDK's texts can be long, and repeat."""
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no text'}"
