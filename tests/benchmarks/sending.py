"""Messages by the SDK alone: made of records, and sent in lists."""

from __future__ import annotations

from collections.abc import Sequence

from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusSender

from maintenance.domain.messages import Record


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


def service_bus_message(record: Record) -> ServiceBusMessage:
    """A record as a message of the SDK's own kind: what the worker sends comes to the same bytes."""
    return ServiceBusMessage(
        record.body,
        application_properties={name: record.properties[name] for name in record.properties},
        message_id=record.message_id,
        content_type="application/json",
        subject=record.subject,
        correlation_id=record.correlation_id,
        scheduled_enqueue_time_utc=record.due,
    )
