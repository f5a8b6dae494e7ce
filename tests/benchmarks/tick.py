"""A tick: operations that are due at once, each read and rescheduled, against the SDK alone moving the messages."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from azure.servicebus import ServiceBusMessage, ServiceBusReceivedMessage
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver, ServiceBusSender

from maintenance.worker import Worker
from tests.benchmarks.comparison import Cost
from tests.benchmarks.services import Services
from tests.benchmarks.workload import OPERATIONS, fill, settings, under_way

BATCH = 100


class Floor:
    """The SDK alone: receive, send again for later in lists, complete; several receivers, each with a sender."""

    def __init__(self, services: Services, receivers: int) -> None:
        self._client = ServiceBusClient.from_connection_string(services.bus)
        self._receivers = [
            self._client.get_queue_receiver(OPERATIONS, socket_timeout=0.01) for _ in range(receivers)
        ]
        self._senders = [self._client.get_queue_sender(OPERATIONS) for _ in range(receivers)]
        self.moved = 0

    async def open(self) -> None:
        await asyncio.gather(*(one.__aenter__() for one in (*self._receivers, *self._senders)))

    async def move(self, count: int) -> None:
        self.moved = 0
        async with asyncio.TaskGroup() as group:
            for receiver, sender in zip(self._receivers, self._senders, strict=True):
                group.create_task(self._drain(receiver, sender, count))

    async def _drain(self, receiver: ServiceBusReceiver, sender: ServiceBusSender, count: int) -> None:
        while self.moved < count:
            received = await receiver.receive_messages(max_message_count=BATCH, max_wait_time=1)
            if not received:
                continue
            self.moved += len(received)
            await _send(sender, [_again(message) for message in received])
            for message in received:
                await receiver.complete_message(message)

    async def close(self) -> None:
        await asyncio.gather(*(one.close() for one in (*self._receivers, *self._senders)))
        await self._client.close()


def _again(message: ServiceBusReceivedMessage) -> ServiceBusMessage:
    return ServiceBusMessage(
        b"".join(message.body),
        message_id=f"{message.message_id}+",
        content_type="application/json",
        scheduled_enqueue_time_utc=datetime.now(UTC) + timedelta(minutes=10),
    )


async def _send(sender: ServiceBusSender, messages: list[ServiceBusMessage]) -> None:
    batch = await sender.create_message_batch()
    for message in messages:
        try:
            batch.add_message(message)
        except ValueError:
            await sender.send_messages(batch)
            batch = await sender.create_message_batch()
            batch.add_message(message)
    await sender.send_messages(batch)


async def floor_cost(services: Services, floor: Floor, urls: list[str], count: int) -> Cost:
    services.clear()
    await fill(services, OPERATIONS, under_way(urls, count))
    with Cost(count) as cost:
        await floor.move(count)
    if floor.moved != count:
        raise RuntimeError(f"{floor.moved} of {count} messages were moved")
    return cost


async def tick_cost(services: Services, worker: Worker, urls: list[str], count: int) -> Cost:
    services.clear()
    await fill(services, OPERATIONS, under_way(urls, count))
    with Cost(count) as cost:
        kept = 0
        while kept < count:
            kept += (await worker.poll()).kept
    if kept != count:
        raise RuntimeError(f"{count} operations were due, and {kept} were kept")
    return cost
