"""A worker that runs in a test environment, on the Functions host of the sandbox."""

from __future__ import annotations

import asyncio
import functools
import json
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from typing import Any
from unittest.mock import patch

import azure.functions as func
from azure.servicebus import ServiceBusMessage, ServiceBusReceivedMessage
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver
from azure.servicebus.exceptions import MessageLockLostError

from maintenance.coordination.entries import Lease
from maintenance.domain.resources import ScaleSet
from maintenance.servicebus.coordination_queue import CoordinationQueue
from maintenance.settings import read_settings
from maintenance.worker import Worker
from sandbox.functions_host import FunctionsHost
from tests.support.connections import close_forgotten
from tests.support.contract import check_sent
from tests.support.entities import COORDINATION, OPERATIONS, REQUESTS, SUBSCRIPTION, TOPIC
from tests.support.environment import Environment
from tests.support.limit import LIMIT
from tests.support.received import Event
from tests.support.secret_scanner import SECRET_SCANNER
from tests.support.telemetry import global_telemetry, scan_metrics


class Running:
    """Worker running in an environment: its queue trigger listens, and a test fires its timer."""

    def __init__(self, environment: Environment, worker: Worker, client: ServiceBusClient) -> None:
        self.environment = environment
        self.worker = worker
        self.client = client
        self._sender = client.get_queue_sender(REQUESTS)
        self._receiver = client.get_subscription_receiver(TOPIC, SUBSCRIPTION, socket_timeout=0.01)

    async def send(
        self,
        body: Mapping[str, Any] | bytes,
        *,
        message_id: str | None = None,
        properties: dict[str, Any] | None = None,
    ) -> str:
        """Send a request and return its message id."""
        message_id = message_id or f"test-{uuid.uuid4().hex[:8]}"
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        check_sent(raw)
        await self._sender.send_messages(
            ServiceBusMessage(raw, message_id=message_id, application_properties=dict(properties or {}))  # type: ignore[arg-type] # str keys are str | bytes keys
        )
        return message_id

    async def send_operations(self, *messages: ServiceBusMessage) -> None:
        """Send messages to the operations queue, as nobody but the worker should."""
        async with self.client.get_queue_sender(OPERATIONS) as sender:
            await sender.send_messages(list(messages))

    async def read_events(self, *, wait: float = 0.2) -> None:
        """Receive the events that have arrived. Waits up to `wait` seconds for the first one."""
        for message in await self._receiver.receive_messages(max_message_count=50, max_wait_time=wait):
            try:
                await self._receiver.complete_message(message)
            except MessageLockLostError:
                # It came to the link after the call before had ended, a minute ago; it is redelivered.
                continue
            SECRET_SCANNER.scan("event", b"".join(message.body), message.application_properties)
            properties = {
                (key.decode() if isinstance(key, bytes) else key): (
                    value.decode() if isinstance(value, bytes) else value
                )
                for key, value in (message.application_properties or {}).items()
            }
            self.environment.events.append(
                Event(
                    message_id=str(message.message_id),
                    subject=str(message.subject),
                    correlation_id=str(message.correlation_id),
                    properties=properties,
                    document=json.loads(b"".join(message.body)),
                )
            )

    async def finish(self, *request_ids: str) -> dict[str, Event]:
        """Fire the timer until each of the requests has ended, and return their last events."""
        give_up = time.monotonic() + LIMIT
        while True:
            ended = {event.data["requestId"]: event for event in self.environment.events if event.ends}
            if all(request_id in ended for request_id in request_ids):
                return ended
            if time.monotonic() > give_up:
                read = [(event.message_id, event.status) for event in self.environment.events]
                raise AssertionError(f"{request_ids} did not end; events: {read}")
            await self.worker.poll()
            await self.read_events()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Fire the timer and read events until the condition holds."""
        give_up = time.monotonic() + LIMIT
        while not holds():
            if time.monotonic() > give_up:
                raise AssertionError("the condition did not become true")
            await self.worker.poll()
            await self.read_events()

    async def leave_lease(self, scale_set: ScaleSet, *, until: datetime) -> None:
        """Leave the lease of a worker that crashed and whose records are lost."""
        queue = CoordinationQueue(self.client, COORDINATION, now=self.environment.worker_options["now"])
        await queue.put(Lease(run_id="0" * 32, request_id="crashed", scale_set=scale_set.key, until=until))
        await queue.close()

    async def drain(self) -> None:
        """Fire the timer until every run has ended and nothing else is left in the queues."""
        give_up = time.monotonic() + LIMIT
        while self.environment.left_over():
            if time.monotonic() > give_up:
                raise AssertionError(f"the queues are not empty: {self.environment.left_over()}")
            await self.worker.poll()

    async def open(self) -> None:
        await self._receiver.__aenter__()

    async def close(self) -> None:
        # The SDK takes about a second to close a link, so they are closed concurrently.
        async with asyncio.TaskGroup() as group:
            for resource in (self._sender, self._receiver, self.worker):
                group.create_task(resource.close())


@asynccontextmanager
async def running(environment: Environment, **settings: str) -> AsyncIterator[Running]:
    """A worker in `environment`, with its app settings changed by `settings`.

    The managed identity's variables must be set in this process, as they are in Azure.
    """
    # With telemetry, since that must hold no secret either, whatever happens in the tests.
    with global_telemetry() as metrics:
        worker = Worker(read_settings(environment.app_settings(**settings)), **environment.worker_options)
    client = ServiceBusClient.from_connection_string(environment.bus.connection_string, retry_backoff_factor=0.05)
    job = Running(environment, worker, client)
    app = func.FunctionApp()

    @app.service_bus_queue_trigger(
        arg_name="message", queue_name=REQUESTS, connection="ServiceBusConnection", data_type=func.DataType.BINARY
    )
    async def receive_request(message: func.ServiceBusMessage) -> None:
        environment.handling += 1
        try:
            await job.worker.receive(message)
        finally:
            environment.handling -= 1

    with _settlements_watched(environment):
        async with client:
            try:
                async with FunctionsHost(app, environment=environment.app_settings()):
                    await job.open()
                    yield job
            finally:
                # Once no function runs any more: it would open links again, which nobody closes.
                await job.close()
                scan_metrics(metrics)
        await close_forgotten(environment.bus)


@contextmanager
def _settlements_watched(environment: Environment) -> Iterator[None]:
    """Note the deliveries of requests whose settlement fails, at the SDK's receivers."""

    def watched(settle: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        @functools.wraps(settle)
        async def settle_and_note(receiver: ServiceBusReceiver, message: ServiceBusReceivedMessage) -> None:
            try:
                await settle(receiver, message)
            except BaseException:
                if receiver._entity_name == REQUESTS:
                    environment.unsettled.add((message.sequence_number, message.delivery_count))
                raise

        return settle_and_note

    with (
        patch.object(ServiceBusReceiver, "complete_message", watched(ServiceBusReceiver.complete_message)),
        patch.object(ServiceBusReceiver, "abandon_message", watched(ServiceBusReceiver.abandon_message)),
    ):
        yield
