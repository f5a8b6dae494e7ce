"""The demo's act about when maintenance may start: a gate, a pause, and windows that open too late."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver

from sandbox.cli.demo.console import DemoConsole
from sandbox.cli.demo.scale_sets import WAITING
from sandbox.resource_manager import EXAMPLE_RESOURCE_GROUP, EXAMPLE_SUBSCRIPTION_ID

TITLE = "A wave that waits for a proceed, one that is paused, and windows that open after the deadline"
PATIENCE = 60.0
# Over by itself. Where the machine is so busy that it is over before the request comes, there is nothing to wait for.
PAUSED_FOR = timedelta(seconds=6)
# What is to come of each message, as the kinds of its events.
EXPECTED = {
    "gated": "awaiting, accepted, completed: Succeeded",
    "paused": "accepted, completed: Succeeded",
    "too-late": "rejected: Rejected",
}

Row = tuple[str, str, str, bool]


async def play(client: ServiceBusClient, receiver: ServiceBusReceiver, console: DemoConsole) -> list[Row]:
    """Send the requests and receive their events; open the gate when asked. Returns rows for the summary: what,
    expected, received, equal."""
    console.act(TITLE)
    loop = asyncio.get_running_loop()
    give_up = loop.time() + PATIENCE
    now = datetime.now(UTC)
    pause = {"scope": _scope(WAITING[1]), "until": (now + PAUSED_FOR).isoformat(), "reason": "incident"}
    await _send(client, console, "pause", {"pause": pause})
    await _send(client, console, "gated", {**_names(WAITING[0]), "rollout": {"gate": "first"}})
    late = {"schedule": f"0 {(now.hour + 3) % 24} * * *", "duration": "PT1H"}
    deadline = (now + timedelta(minutes=30)).isoformat()
    await _send(client, console, "too-late", {**_names(WAITING[0]), "windows": [late], "deadline": deadline})
    came: defaultdict[str, list[str]] = defaultdict(list)
    while loop.time() < give_up and not all(came[each] and ": " in came[each][-1] for each in EXPECTED):
        for message in await receiver.receive_messages(max_message_count=20, max_wait_time=2):
            event = json.loads(b"".join(message.body))
            console.event(event)
            data, kind = event["data"], event["type"].split(".")[-2]
            ends = kind in ("completed", "rejected")
            if kind != "deferred":
                came[data["requestId"]].append(f"{kind}: {data['status']}" if ends else kind)
            if kind == "awaiting":
                proceed = {**_names(WAITING[0]), "proceed": data["requestId"], "wave": data["wave"]}
                await _send(client, console, "proceed", {**proceed, "reason": "drained"})
            if "pauses" in data:
                # Only now is the pause in force for certain.
                await _send(client, console, "paused", _names(WAITING[1]))
            await receiver.complete_message(message)
    return [(name, right, ", ".join(came[name]), ", ".join(came[name]) == right) for name, right in EXPECTED.items()]


async def _send(client: ServiceBusClient, console: DemoConsole, message_id: str, document: Mapping[str, Any]) -> None:
    body = json.dumps(document).encode()
    async with client.get_queue_sender("maintenance-requests") as sender:
        await sender.send_messages(ServiceBusMessage(body, message_id=message_id))
    console.sent(message_id, body)


def _names(scale_set: str) -> dict[str, str]:
    return {
        "subscriptionId": EXAMPLE_SUBSCRIPTION_ID,
        "resourceGroupName": EXAMPLE_RESOURCE_GROUP,
        "vmScaleSetName": scale_set,
    }


def _scope(scale_set: str) -> str:
    group = f"/subscriptions/{EXAMPLE_SUBSCRIPTION_ID}/resourceGroups/{EXAMPLE_RESOURCE_GROUP}"
    return f"{group}/providers/Microsoft.Compute/virtualMachineScaleSets/{scale_set}"
