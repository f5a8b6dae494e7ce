"""The demo's last act: Azure Service Health announces maintenance, and nobody sends a request."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable

from azure.servicebus.aio import ServiceBusReceiver

from sandbox.cli.alert import PLANNED_MAINTENANCE, post
from sandbox.cli.demo.console import DemoConsole
from sandbox.cli.demo.scale_sets import NOT_PLANNED, PLANNED
from sandbox.resource_manager import ResourceManager

TITLE = "An alert of Azure Service Health: maintenance in North Europe"
PATIENCE = 60.0

Row = tuple[str, str, str, bool]


async def play(
    endpoint: str, key: str, arm: ResourceManager, receiver: ServiceBusReceiver, console: DemoConsole
) -> list[Row]:
    """Post the alert and receive its events. Returns rows for the summary: what, expected, received, equal."""
    console.act(TITLE)
    body = PLANNED_MAINTENANCE.read_bytes()
    console.alerted(json.loads(body))
    response = await asyncio.to_thread(post, endpoint, key, body)
    console.alert_response(response.status_code, response.json())
    ended = await _listen(receiver, console)
    posted = [call.path for call in arm.calls if call.method == "POST" and f"/{NOT_PLANNED}/" in call.path]
    untouched = "requested" if posted or NOT_PLANNED in ended else "untouched"
    return [
        *(_row(name, "completed: Succeeded", ended.get(name, "nothing")) for name in PLANNED),
        _row(NOT_PLANNED, "untouched", untouched),
    ]


async def _listen(receiver: ServiceBusReceiver, console: DemoConsole) -> dict[str, str]:
    """How the request for each scale set ended, once those for which maintenance is planned have, or the time is up."""
    loop = asyncio.get_running_loop()
    give_up = loop.time() + PATIENCE
    ended: dict[str, str] = {}
    while loop.time() < give_up and not _all_in(PLANNED, ended):
        for message in await receiver.receive_messages(max_message_count=20, max_wait_time=2):
            document = json.loads(b"".join(message.body))
            console.event(document)
            kind = document["type"].split(".")[-2]
            if kind in ("completed", "rejected"):
                ended[document["data"].get("vmScaleSetName", "?")] = f"{kind}: {document['data']['status']}"
            await receiver.complete_message(message)
    return ended


def _all_in(names: Iterable[str], ended: dict[str, str]) -> bool:
    return all(name in ended for name in names)


def _row(name: str, expected: str, received: str) -> Row:
    return f"alert: {name}", expected, received, received == expected
