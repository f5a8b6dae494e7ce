"""The properties of queues, topics and subscriptions, by the administration API. Needs the right to manage."""

from __future__ import annotations

import asyncio
from typing import Any

from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ResourceNotFoundError,
    ServiceRequestError,
)
from azure.core.pipeline.transport import AioHttpTransport
from azure.servicebus.aio.management import ServiceBusAdministrationClient

from maintenance_cli.exits import Code
from maintenance_cli.picture.messages import Entity, Unknown
from maintenance_cli.reading.azure import Azure
from maintenance_cli.reading.failures import LOGIN

# Seconds, of one call.
TIMEOUT = 20.0
MANAGE = "that takes the role Azure Service Bus Data Owner, or a key that may manage"
_NAMES = {
    "DeadLetteringOnMessageExpiration": "dead_lettering_on_message_expiration",
    "DefaultMessageTimeToLive": "default_message_time_to_live",
    "DuplicateDetectionHistoryTimeWindow": "duplicate_detection_history_time_window",
    "LockDuration": "lock_duration",
    "MaxDeliveryCount": "max_delivery_count",
    "RequiresDuplicateDetection": "requires_duplicate_detection",
    "RequiresSession": "requires_session",
    "EnablePartitioning": "enable_partitioning",
}


class _Plain(AioHttpTransport):  # type: ignore[misc] # azure-core exports it lazily
    """For the emulator and the sandbox, which speak HTTP without TLS; the SDK knows https alone."""

    async def send(self, request: Any, **options: Any) -> Any:
        request.url = request.url.replace("https://", "http://", 1)
        return await super().send(request, **options)


async def read_properties(azure: Azure, entities: list[Entity]) -> dict[Entity, dict[str, Any] | Unknown]:
    """The properties of each, by the names that infra/topology.json has; or why they are not known."""
    connection = azure.settings.service_bus
    options: dict[str, Any] = {"retry_total": 1}
    text = connection.connection_string
    if text is not None:
        if "usedevelopmentemulator=true" in text.lower():
            options["transport"] = _Plain()
        client = ServiceBusAdministrationClient.from_connection_string(text, **options)
    else:
        client = ServiceBusAdministrationClient(connection.namespace or "", azure.credential, **options)
    async with client:
        async with asyncio.TaskGroup() as group:
            tasks = {entity: group.create_task(_read(client, entity)) for entity in entities}
        return {entity: task.result() for entity, task in tasks.items()}


async def _read(client: ServiceBusAdministrationClient, entity: Entity) -> dict[str, Any] | Unknown:
    topic, _, subscription = entity.path.partition("/")
    found: object
    try:
        async with asyncio.timeout(TIMEOUT):
            if subscription:
                found = await client.get_subscription(topic, subscription)
            elif entity.is_topic:
                found = await client.get_topic(topic)
            else:
                found = await client.get_queue(topic)
    except ResourceNotFoundError:
        return Unknown(entity, f"there is no {entity}", Code.NOT_FOUND)
    except ClientAuthenticationError:
        return Unknown(entity, f"you may not read the properties of {entity}: {MANAGE}. {LOGIN}", Code.DENIED)
    except HttpResponseError as error:
        if error.status_code in (401, 403):
            return Unknown(entity, f"you may not read the properties of {entity}: {MANAGE}", Code.DENIED)
        return Unknown(entity, f"reading the properties of {entity} failed: HTTP {error.status_code}", Code.ERROR)
    except (ServiceRequestError, AzureError, TimeoutError, OSError) as error:
        name = type(error).__name__
        return Unknown(entity, f"the properties of {entity} cannot be read here: {name}", Code.UNREACHABLE)
    values = {name: getattr(found, attribute, None) for name, attribute in _NAMES.items()}
    return {name: value for name, value in values.items() if value is not None}
