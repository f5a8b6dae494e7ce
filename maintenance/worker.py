"""The composition root: the one place where the parts are put together; one worker per process.

Functions share a process and its event loop only by chance, and share nothing else: all state is in Service Bus.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
import os
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import azure.functions as func
import httpx
from azure.core.credentials_async import AsyncTokenCredential

from maintenance.alerts.discovery import Discoverer
from maintenance.alerts.messages import DISCOVERY, REQUEST
from maintenance.alerts.receiver import AlertReceiver
from maintenance.alerts.responder import AlertResponder, Gate
from maintenance.arm.client import CALL_TIMEOUT as ARM_TIMEOUT
from maintenance.arm.client import ArmClient
from maintenance.arm.guard import GuardedGateway
from maintenance.arm.identity import ManagedIdentityAuth, managed_identity
from maintenance.arm.resource_manager import ResourceManager
from maintenance.arm.throttling import ThrottlingGateway
from maintenance.arm.transport import AiohttpTransport
from maintenance.domain.messages import Delivery, Envelope
from maintenance.domain.redaction import make_logs_printable
from maintenance.operations.bus_clock import BusClock
from maintenance.operations.dead_letters import DeadLetterReader
from maintenance.operations.poller import Poller
from maintenance.operations.ports import UNWATCHED, RunWatch
from maintenance.operations.runner import Runner
from maintenance.operations.units import Tick
from maintenance.requests.controls import unwatched
from maintenance.requests.handler import RequestHandler
from maintenance.requests.tags import read_tag_policy
from maintenance.scan.messages import SCAN
from maintenance.scan.scanner import Scanner
from maintenance.servicebus.bus import Bus
from maintenance.servicebus.connection import CALL_TIMEOUT as BUS_TIMEOUT
from maintenance.servicebus.connection import close_quietly, connect
from maintenance.servicebus.coordination_queue import CoordinationQueue
from maintenance.servicebus.namespace_check import SUBJECT as CHECK
from maintenance.servicebus.namespace_check import NamespaceCheck
from maintenance.servicebus.received_problems import LOCK
from maintenance.servicebus.sender import PATIENCE
from maintenance.settings import Settings, read_settings
from maintenance.telemetry.start import find_watch, start_telemetry, stop_telemetry, turn_sdk_tracing_off

logger = logging.getLogger(__name__)

# Seconds. Action groups wait 10 s for the response; they send again after a 503.
ALERT_LIMIT = 8.0


def utc_now() -> datetime:
    return datetime.now(UTC)


class Worker:
    """The handler and the poller, with the clients they share.

    `now` gives aware times. `arm_timeout` and `bus_timeout` (seconds) bound each call, `alert_limit` the response to an
    alert. `bus_options`: of the SDK's client, see `connect`.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        now: Callable[[], datetime] = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
        arm_timeout: float = ARM_TIMEOUT,
        bus_timeout: float = BUS_TIMEOUT,
        patience: float = PATIENCE,
        alert_limit: float = ALERT_LIMIT,
        bus_options: Mapping[str, Any] | None = None,
    ) -> None:
        self._clock = clock = BusClock(now, monotonic)
        server = urlsplit(settings.arm_endpoint).hostname or ""
        self._watch = watch = find_watch(queue=settings.requests_queue, server=server, now=clock)
        runs: RunWatch = watch or UNWATCHED
        self._credential = managed_identity(settings.identity_client_id)
        self._bus_credential = _bus_credential(settings)
        self._client = ArmClient(
            transport or AiohttpTransport(limit=settings.poll_concurrency + 16),
            ManagedIdentityAuth(self._credential, settings.token_scope),
            endpoint=settings.arm_endpoint,
            call_timeout=arm_timeout,
            watch=watch.called if watch is not None else None,
        )
        self._bus_client = connect(
            connection_string=settings.service_bus.connection_string,
            namespace=settings.service_bus.namespace,
            credential=self._bus_credential,
            **(bus_options or {}),
        )
        self._namespace = NamespaceCheck(
            self._bus_client,
            operations_queue=settings.operations_queue,
            coordination_queue=settings.coordination_queue,
            # The settle time is reckoned for twice the lock, and as much again for all else.
            least_lock=min(LOCK, settings.timing.settle / 4),
            now=clock,
            monotonic=monotonic,
            call_timeout=bus_timeout,
        )
        self._bus = Bus(
            self._bus_client,
            requests_queue=settings.requests_queue,
            operations_queue=settings.operations_queue,
            events_topic=settings.events_topic,
            call_timeout=bus_timeout,
            patience=patience,
            saw=clock.saw,
            inspect=self._namespace.saw,
        )
        self._coordination = CoordinationQueue(
            self._bus_client, settings.coordination_queue, now=clock, call_timeout=bus_timeout, patience=patience
        )
        throttling = ThrottlingGateway(
            ResourceManager(self._client, endpoint=settings.arm_endpoint, now=clock),
            default_pause=settings.timing.min_poll,
            monotonic=monotonic,
        )
        arm = GuardedGateway(throttling, self._namespace.problems, monotonic=monotonic)
        runner = Runner(
            arm,
            self._bus,
            self._coordination,
            settings.rules,
            now=clock,
            monotonic=monotonic,
            watch=runs,
            read_tags=read_tag_policy,
        )
        alerts = AlertReceiver(self._bus, settings.alerts)
        gate: Gate | None = None
        self._keys_transport: AiohttpTransport | None = None
        if settings.alert_tokens is not None:
            from maintenance.alerts import signing_keys  # noqa: PLC0415 - few apps need it

            self._keys_transport = AiohttpTransport(limit=2)
            keys = signing_keys.SigningKeys(settings.alert_tokens.keys_url, self._keys_transport, monotonic=monotonic)
            gate = signing_keys.TokenGate(settings.alert_tokens, keys, now=clock).rejection
        self._responder = AlertResponder(alerts, limit=alert_limit, gate=gate)
        # What the requests queue brings beside requests and cancellations.
        others = (alerts,)
        self._handler = RequestHandler(
            self._bus,
            self._coordination,
            settings,
            work_off=self._work_off,
            now=clock,
            others=others,
            namespace_problems=self._namespace.problems,
            watch=watch.request if watch is not None else unwatched,
        )
        self._scanner = Scanner(arm, self._bus, self._coordination, settings, now=clock)
        # What the operations queue brings beside records, by its subject.
        intake = {
            REQUEST: self._handler.handle_delivery,
            DISCOVERY: Discoverer(arm, self._bus, settings, read_tags=read_tag_policy, now=clock).handle,
            SCAN: self._scanner.handle,
            CHECK: _nothing,
        }
        self._poller = Poller(runner, self._bus, settings, intake=intake, now=clock, monotonic=monotonic, watch=runs)
        self._dead_letters = DeadLetterReader(
            self._bus, self._handler.give_up, self._handler.deadline, intake=tuple(intake), now=clock, watch=runs
        )

    @property
    def arm_client(self) -> ArmClient:
        """The process's one client for ARM, for those who talk to it beside this class."""
        return self._client

    def open_links(self) -> None:
        """Begin to open the links that a request needs, beside the check of the namespace for which the first waits."""
        self._bus.open_links(self._coordination.open)

    async def receive(self, message: func.ServiceBusMessage, invocation: str | None = None) -> None:
        """Handle a message of the requests queue. `invocation`: the `traceparent` that the host hands over, here and
        below."""
        envelope = read_message(message)
        self._clock.saw(envelope.enqueued_at)
        self.open_links()
        with self._watch.receiving(envelope, invocation) if self._watch is not None else nullcontext():
            await self._handler.handle(envelope)

    async def receive_alert(self, request: func.HttpRequest) -> func.HttpResponse:
        """Take an alert of Azure Monitor's; see `AlertResponder`."""
        response = await self._responder.respond(request.get_body(), request.headers)
        headers = {"Content-Type": response.content_type, **response.headers}
        return func.HttpResponse(response.body, status_code=response.status, headers=headers)

    async def poll(self, invocation: str | None = None) -> Tick:
        """Handle what is due in the operations queue."""
        with self._watch.invoked(invocation) if self._watch is not None else nullcontext():
            tick = await self._poller.tick()
        if tick.queue_missing:
            await self._dead_letters.end_overdue()
        return tick

    async def read_dead_letters(self) -> int:
        """Deal with what Service Bus gave up delivering; returns how many messages that were."""
        return await self._dead_letters.read()

    async def scan(self) -> int:
        """Have the allowed scopes scanned for scale sets that may be maintained; returns how many subscriptions."""
        return await self._scanner.begin()

    async def _work_off(self) -> None:
        await self._poller.work_off()

    async def close(self) -> None:
        await self._responder.close()
        await self._namespace.close()
        # It waits for the links that are being opened, the coordination queue's among them.
        await self._bus.close()
        await self._coordination.close()
        await close_quietly(self._bus_client)
        await self._client.aclose()
        if self._keys_transport is not None:
            await self._keys_transport.aclose()
        await self._credential.close()
        if self._bus_credential is not None:
            await self._bus_credential.close()


@functools.cache
def worker() -> Worker:
    """This process's worker. Raises SettingsError where a setting is missing or invalid."""
    quieten_sdks()
    turn_sdk_tracing_off(os.environ)
    start_telemetry(os.environ)
    make_logs_printable()
    relax_garbage_collection()
    return Worker(read_settings(os.environ))


async def close_worker() -> None:
    """Close this process's worker, if there is one: for hosts that end before their process does."""
    if worker.cache_info().currsize:
        await worker().close()
        worker.cache_clear()
        await asyncio.to_thread(stop_telemetry)


def read_message(message: func.ServiceBusMessage) -> Envelope:
    """The binding's message as a plain value. Its times are naive and mean UTC."""
    enqueued = message.enqueued_time_utc
    properties: Mapping[str, object] = message.application_properties or {}
    return Envelope(
        body=message.get_body(),
        message_id=message.message_id or None,
        sequence_number=message.sequence_number,
        delivery_count=message.delivery_count or 1,
        enqueued_at=enqueued.replace(tzinfo=enqueued.tzinfo or UTC) if enqueued else None,
        correlation_id=message.correlation_id or None,
        properties=properties,
    )


async def _nothing(_: Delivery) -> None:
    """A message of a namespace check whose process was killed before it canceled it."""


def _bus_credential(settings: Settings) -> AsyncTokenCredential | None:
    if settings.service_bus.connection_string is not None:
        return None
    return managed_identity(settings.service_bus.client_id)


def quieten_sdks() -> None:
    """Have the SDKs log from WARNING on: at INFO they log each call, with addresses and headers.

    Never `azure` itself: Microsoft's own worker for Functions logs below that name too.
    """
    for name in ("azure.core", "azure.identity", "azure.servicebus", "uamqp"):
        logging.getLogger(name).setLevel(logging.WARNING)


def relax_garbage_collection() -> None:
    """Have it leave alone what was imported, and come less often: at its usual pace it takes a sixth of a tick's time.

    For the whole process, so it is for entry points to call, once everything is imported.
    """
    gc.freeze()
    gc.set_threshold(50_000)
