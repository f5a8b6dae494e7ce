"""Sending lists of messages with nothing but the SDK."""

from __future__ import annotations

from collections.abc import Sequence

from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusSender


async def send_list(sender: ServiceBusSender, messages: Sequence[ServiceBusMessage]) -> None:
    """In as few batches as they fit in, by the SDK alone."""
    batch = await sender.create_message_batch()
    for message in messages:
        try:
            batch.add_message(message)
        except ValueError:
            await sender.send_messages(batch)
            batch = await sender.create_message_batch()
            batch.add_message(message)
    await sender.send_messages(batch)
