"""Service Bus triggers, over the real SDK and a real socket."""

import asyncio
import contextlib
import gc
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

import azure.functions as func
import pytest
from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver

from sandbox.functions_host import FunctionsHost
from sandbox.servicebus import EntityCounts, ServiceBus, Topology
from sandbox.servicebus.topology.topology import (
    QueueDescription,
    QueueSettings,
    SubscriptionDescription,
    TopicDescription,
)
from tests.support.connections import close_forgotten
from tests.support.limit import LIMIT

QUEUE = "work"
SETTINGS = QueueSettings(lock_duration=30_000, max_delivery_count=3)

Handler = Callable[[func.ServiceBusMessage], None] | Callable[[func.ServiceBusMessage], Awaitable[None]]


def topology(settings: QueueSettings = SETTINGS) -> Topology:
    return Topology(
        queues=(QueueDescription(QUEUE, settings),),
        topics=(TopicDescription("news", subscriptions=(SubscriptionDescription("mine", settings),)),),
    )


@pytest.fixture
def bus() -> Iterator[ServiceBus]:
    bus = ServiceBus(topology(), port=0)
    bus.start()
    yield bus
    bus.close()


def make_app(handler: Handler, *, auto_complete: bool | None = None) -> func.FunctionApp:
    app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
    app.service_bus_queue_trigger("message", connection="Bus", queue_name=QUEUE, auto_complete_messages=auto_complete)(
        handler
    )
    return app


def concurrency(calls: int) -> dict[str, object]:
    return {"extensions": {"serviceBus": {"maxConcurrentCalls": calls}}}


async def deliver(bus: ServiceBus, *bodies: str | bytes, to: str = QUEUE) -> None:
    async with ServiceBusClient.from_connection_string(bus.connection_string) as client:
        sender = client.get_queue_sender(to) if to == QUEUE else client.get_topic_sender(to)
        async with sender:
            await sender.send_messages([ServiceBusMessage(body, message_id=_id(body)) for body in bodies])


def _id(body: str | bytes) -> str:
    return f"id-{body}" if isinstance(body, str) else f"id-{body.hex()}"


@contextlib.asynccontextmanager
async def hosting(
    app: func.FunctionApp, bus: ServiceBus, host_json: dict[str, object] | None = None
) -> AsyncIterator[Callable[..., None]]:
    """A host of the app while the block runs; yields what sends messages, beside what the test does.

    Senders and the host take a second each to close: here they do so at the same time.
    """
    host = FunctionsHost(app, environment={"Bus": bus.connection_string}, host_json=host_json)
    async with asyncio.timeout(LIMIT), asyncio.TaskGroup() as group, host:

        def send(*bodies: str | bytes, to: str = QUEUE) -> None:
            group.create_task(deliver(bus, *bodies, to=to))

        yield send


async def test_a_queue_and_a_subscription_are_listened_to(bus: ServiceBus, caplog: pytest.LogCaptureFixture) -> None:
    handed: asyncio.Queue[func.ServiceBusMessage] = asyncio.Queue()
    news: asyncio.Queue[bytes] = asyncio.Queue()

    async def receive(message: func.ServiceBusMessage) -> None:
        handed.put_nowait(message)

    app = make_app(receive)

    @app.service_bus_topic_trigger(
        "message",
        connection="Bus",
        topic_name="news",
        subscription_name="mine",
        data_type=func.DataType.BINARY,
    )
    async def read(message: func.ServiceBusMessage) -> None:
        news.put_nowait(message.get_body())

    caplog.set_level(logging.INFO, "sandbox")
    async with hosting(app, bus) as send:
        send("größer")
        send(b"\xff\x00", to="news")
        message = await handed.get()
        assert await news.get() == b"\xff\x00", "binary: byte by byte"
    assert message.get_body() == "größer".encode()
    assert (message.message_id, message.delivery_count) == ("id-größer", 1)
    assert message.enqueued_time_utc is not None
    assert bus.counts(QUEUE).empty, "it was completed"
    assert bus.counts("news/Subscriptions/mine").empty

    runs = [record.getMessage() for record in caplog.records if "message id-" in record.getMessage()]
    assert sorted(line.rsplit(" ", 2)[0] for line in runs) == [
        "read message id-ff00 succeeded",
        "receive message id-größer succeeded",
    ]
    everything = caplog.text.replace("id-größer", "")
    assert "größer" not in everything, "bodies are nobody's business"
    assert "SharedAccessKey" not in everything


async def test_an_exception_abandons_until_the_message_is_dead_lettered(bus: ServiceBus) -> None:
    deliveries: asyncio.Queue[int | None] = asyncio.Queue()

    async def receive(message: func.ServiceBusMessage) -> None:
        deliveries.put_nowait(message.delivery_count)
        if message.get_body() == b"bad":
            raise RuntimeError("as ordered")

    async with hosting(make_app(receive), bus, concurrency(1)) as send:
        send("bad")
        assert [await deliveries.get() for _ in range(3)] == [1, 2, 3]
        send("good")  # one at a time: the bad one is settled when this one is handed over
        assert await deliveries.get() == 1
    assert bus.counts(QUEUE) == EntityCounts(active=0, scheduled=0, deferred=0, locked=0, dead_lettered=1)


async def test_a_run_that_takes_too_long_is_abandoned(bus: ServiceBus) -> None:
    deliveries: asyncio.Queue[int | None] = asyncio.Queue()

    async def receive(message: func.ServiceBusMessage) -> None:
        deliveries.put_nowait(message.delivery_count)
        if message.delivery_count == 1:
            await asyncio.Event().wait()

    app = make_app(receive)
    async with hosting(app, bus, {"functionTimeout": "00:00:00.1"}) as send:
        send("slow")
        assert [await deliveries.get() for _ in range(2)] == [1, 2]


async def test_as_many_run_at_once_as_host_json_says_and_no_more(
    bus: ServiceBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    under_way = most = receivers = 0
    begun: asyncio.Queue[bytes] = asyncio.Queue()
    may_end = asyncio.Semaphore(0)

    async def receive(message: func.ServiceBusMessage) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        begun.put_nowait(message.get_body())
        await may_end.acquire()
        under_way -= 1

    open_receiver = ServiceBusClient.get_queue_receiver

    def counted(client: ServiceBusClient, *arguments: Any, **options: Any) -> ServiceBusReceiver:
        nonlocal receivers
        receivers += 1
        return open_receiver(client, *arguments, **options)

    monkeypatch.setattr(ServiceBusClient, "get_queue_receiver", counted)
    async with hosting(make_app(receive), bus, concurrency(6)) as send:
        send(*(str(number) for number in range(20)))
        for _ in range(6):
            await begun.get()
        # One ends, one begins, fourteen times.
        for _ in range(14):
            may_end.release()
            await begun.get()
        for _ in range(6):
            may_end.release()
    assert most == 6
    assert receivers == 6  # a receiver has one message at a time: none was about to take a seventh
    assert under_way == 0


async def test_plain_functions_run_in_threads_beside_the_loop(bus: ServiceBus) -> None:
    # All four must be there at once, which they can't be on one thread.
    meeting = threading.Barrier(4, timeout=LIMIT)
    met: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def receive(message: func.ServiceBusMessage) -> None:
        meeting.wait()
        loop.call_soon_threadsafe(met.put_nowait, threading.current_thread().name)

    async with hosting(make_app(receive), bus, concurrency(4)) as send:
        send(*"abcd")
        names = {await met.get() for _ in range(4)}
    assert threading.main_thread().name not in names


@pytest.fixture
def short_locks() -> Iterator[ServiceBus]:
    bus = ServiceBus(topology(replace(SETTINGS, lock_duration=1_000)), port=0)
    bus.start()
    yield bus
    bus.close()


@pytest.mark.parametrize(("renewal", "deliveries"), [("00:05:00", [1]), ("00:00:00", [1, 2])])
async def test_a_lock_is_renewed_while_the_function_runs(
    short_locks: ServiceBus, renewal: str, deliveries: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int | None] = []
    ended, renewed = asyncio.Event(), asyncio.Semaphore(0)
    renew = ServiceBusReceiver.renew_message_lock

    async def counted(receiver: ServiceBusReceiver, *arguments: Any, **options: Any) -> datetime:
        until = await renew(receiver, *arguments, **options)
        renewed.release()
        return until

    monkeypatch.setattr(ServiceBusReceiver, "renew_message_lock", counted)

    async def receive(message: func.ServiceBusMessage) -> None:
        seen.append(message.delivery_count)
        if message.delivery_count == len(deliveries):
            if deliveries == [1]:
                for _ in range(3):  # each after half a lock: without them it would have run out
                    await renewed.acquire()
            ended.set()
        else:
            await ended.wait()

    host_json: dict[str, object] = {
        "extensions": {"serviceBus": {"maxAutoLockRenewalDuration": renewal, "maxConcurrentCalls": 2}}
    }
    async with hosting(make_app(receive), short_locks, host_json) as send:
        send("long")
        await ended.wait()
    assert seen == deliveries
    assert short_locks.counts(QUEUE).empty


@pytest.mark.parametrize(("in_host_json", "in_binding"), [(False, None), (True, False)])
async def test_without_auto_complete_nobody_settles(
    bus: ServiceBus, in_host_json: bool, in_binding: bool | None
) -> None:
    handed = asyncio.Event()

    async def receive(message: func.ServiceBusMessage) -> None:
        handed.set()

    app = make_app(receive, auto_complete=in_binding)
    host_json: dict[str, object] = {"extensions": {"serviceBus": {"autoCompleteMessages": in_host_json}}}
    async with hosting(app, bus, host_json) as send:
        send("kept")
        await handed.wait()
    assert bus.counts(QUEUE).locked == 1, "neither completed nor abandoned: its lock runs out"


async def test_stopping_finishes_what_runs_and_takes_nothing_new(bus: ServiceBus) -> None:
    began, may_end = asyncio.Event(), asyncio.Event()
    ended: list[bytes] = []

    async def receive(message: func.ServiceBusMessage) -> None:
        began.set()
        await may_end.wait()
        ended.append(message.get_body())

    async with hosting(make_app(receive), bus, concurrency(1)) as send:
        send("first", "second")
        await began.wait()
        asyncio.get_running_loop().call_later(0.1, may_end.set)  # once the host is being left
    assert ended == [b"first"]
    assert [message.body for message in bus.peek(QUEUE)] == [b"second"]


# The SDK forgets to close the socket of a connection that the other side has cut.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
async def test_transient_error_of_the_connection_is_retried(bus: ServiceBus) -> None:
    handed: asyncio.Queue[bytes] = asyncio.Queue()

    async def receive(message: func.ServiceBusMessage) -> None:
        handed.put_nowait(message.get_body())

    async with hosting(make_app(receive), bus) as send:
        send("before")
        assert await handed.get() == b"before"
        await asyncio.to_thread(bus.close)
        with ServiceBus(topology(), port=bus.port) as again:
            await deliver(again, "after")
            assert await handed.get() == b"after"
    await close_forgotten(bus)
    gc.collect()  # now, while the warnings of the rest are ignored, and not in the middle of another test
