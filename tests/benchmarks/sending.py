"""Messages that the SDK alone sends, in lists."""

from __future__ import annotations

from collections.abc import Sequence

from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusSender


async def send_list(sender: ServiceBusSender, messages: Sequence[ServiceBusMessage]) -> None:
    """Send messages in as few batches as possible."""
    batch = await sender.create_message_batch()
    for message in messages:
        try:
            batch.add_message(message)
        except ValueError:
            await sender.send_messages(batch)
            batch = await sender.create_message_batch()
            batch.add_message(message)
    await sender.send_messages(batch)
