"""The AsyncAPI 3.0 document: where messages go, and what they hold."""

from __future__ import annotations

import json
from typing import Any

from contracts.event_models import EVENTS
from contracts.event_schemas import EXAMPLES, cloud_event
from contracts.identity import ROOT, schema_id, schema_place
from contracts.request_words import (
    CANCELLATION_EXAMPLES,
    PAUSE_EXAMPLES,
    PROCEED_EXAMPLES,
    REQUEST_EXAMPLES,
    RESUME_EXAMPLES,
)
from maintenance.domain.messages import CONTENT_TYPE
from maintenance.lifecycle.events import data_schema, event_type

TOPOLOGY = ROOT.parent / "infra" / "topology.json"
_SCHEMA_FORMAT = "application/schema+json;version=2020-12"


def document() -> dict[str, Any]:
    namespace = json.loads(TOPOLOGY.read_text(encoding="utf-8"))["UserConfig"]["Namespaces"][0]
    queues = {each["Name"]: each["Properties"] for each in namespace["Queues"]}
    (topic,) = (each for each in namespace["Topics"] if each["Name"] == "maintenance-events")
    sent = (
        "maintenanceRequest",
        "maintenanceCancellation",
        "maintenancePause",
        "maintenanceResume",
        "maintenanceProceed",
    )
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Maintenance of VM scale sets",
            "version": "1.0.0",
            "description": "Send a request to a queue, and read from a topic what became of it.",
        },
        "defaultContentType": "application/json",
        "servers": {
            "namespace": {
                "host": "{namespace}.servicebus.windows.net:5671",
                "protocol": "amqps",
                "description": "Service Bus namespace of the app. Whoever sends needs the role Azure Service Bus Data "
                "Sender on the queue, whoever reads Azure Service Bus Data Receiver on a subscription.",
                "variables": {"namespace": {"description": "Name of the namespace."}},
            }
        },
        "channels": {
            "requests": {
                "address": "maintenance-requests",
                "title": "Requests queue",
                "description": "Requests, cancellations, pauses and their ends, proceeds, from whoever may send here: "
                "UTF-8 JSON in an AMQP data section. An AMQP value, such as JMS's TextMessage, is rejected; send a "
                "BytesMessage.",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in sent},
                "x-servicebus": _queue(queues["maintenance-requests"]),
            },
            "events": {
                "address": "maintenance-events",
                "title": "Events topic",
                "description": "What became of each request. Every reader has a subscription of its own.",
                "messages": {_message_name(kind): _message_ref(kind) for kind in EVENTS},
                "x-servicebus": _topic(topic),
            },
        },
        "operations": {
            "receiveRequests": {
                "action": "receive",
                "title": "The app receives requests, cancellations, pauses and proceeds",
                "channel": {"$ref": "#/channels/requests"},
                "messages": [{"$ref": f"#/channels/requests/messages/{name}"} for name in sent],
            },
            "sendEvents": {
                "action": "send",
                "title": "The app publishes events",
                "channel": {"$ref": "#/channels/events"},
                "messages": [{"$ref": f"#/channels/events/messages/{_message_name(kind)}"} for kind in EVENTS],
            },
        },
        "components": {
            "messages": {
                "maintenanceRequest": _sent("maintenance-request", "Maintenance request", REQUEST_EXAMPLES),
                "maintenanceCancellation": _sent("maintenance-cancellation", "Cancellation", CANCELLATION_EXAMPLES),
                "maintenancePause": _sent("maintenance-pause", "Pause", PAUSE_EXAMPLES),
                "maintenanceResume": _sent("maintenance-resume", "End of a pause", RESUME_EXAMPLES),
                "maintenanceProceed": _sent("maintenance-proceed", "Proceed with a wave", PROCEED_EXAMPLES),
                **{_message_name(kind): _event(kind) for kind in EVENTS},
            },
        },
    }


def _message_name(kind: str) -> str:
    return f"maintenance{kind.capitalize()}"


def _message_ref(kind: str) -> dict[str, str]:
    return {"$ref": f"#/components/messages/{_message_name(kind)}"}


def _schema_ref(identifier: str) -> dict[str, str]:
    return {"$ref": f"./{schema_place(identifier)}"}


def _sent(name: str, title: str, examples: tuple[dict[str, Any], ...]) -> dict[str, Any]:
    return {
        "name": name,
        "title": title,
        "contentType": "application/json",
        "payload": {"schemaFormat": _SCHEMA_FORMAT, "schema": _schema_ref(schema_id(name))},
        "examples": [{"payload": example} for example in examples],
    }


def _event(kind: str) -> dict[str, Any]:
    """CloudEvents' own way: the envelope's schema, and with it the data's."""
    payload = {
        "allOf": [
            _schema_ref(schema_id("maintenance-event")),
            {
                "type": "object",
                "properties": {
                    "type": {"const": event_type(kind)},
                    "dataschema": {"const": data_schema(kind)},
                    "data": _schema_ref(data_schema(kind)),
                },
            },
        ]
    }
    properties = ("type", "status", "requestId", "subscriptionId", "resourceGroupName", "vmScaleSetName")
    return {
        "name": event_type(kind),
        "title": f"Maintenance {kind}",
        "contentType": CONTENT_TYPE,
        "headers": {
            "type": "object",
            "description": "Application properties, for the filters of subscriptions.",
            "properties": {name: {"type": "string"} for name in properties},
        },
        "payload": {"schemaFormat": _SCHEMA_FORMAT, "schema": payload},
        "examples": [{"payload": cloud_event(kind, number)} for number in range(len(EXAMPLES[kind]))],
    }


def _queue(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "kind": "queue",
        **_deliveries(properties),
        **_duplicates(properties),
        "deadLetterQueue": "maintenance-requests/$deadletterqueue",
    }


def _topic(topic: dict[str, Any]) -> dict[str, Any]:
    return {
        "kind": "topic",
        "defaultMessageTimeToLive": topic["Properties"]["DefaultMessageTimeToLive"],
        **_duplicates(topic["Properties"]),
        "subscriptions": {each["Name"]: _deliveries(each["Properties"]) for each in topic["Subscriptions"]},
    }


def _deliveries(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "lockDuration": properties["LockDuration"],
        "maxDeliveryCount": properties["MaxDeliveryCount"],
        "defaultMessageTimeToLive": properties["DefaultMessageTimeToLive"],
    }


def _duplicates(properties: dict[str, Any]) -> dict[str, Any]:
    if not properties["RequiresDuplicateDetection"]:
        return {"duplicateDetection": False}
    return {"duplicateDetection": True, "duplicateDetectionWindow": properties["DuplicateDetectionHistoryTimeWindow"]}
