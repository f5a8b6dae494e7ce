"""The demo's act of an alert: Azure Service Health tells of maintenance, and nobody sends a request."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable

from azure.servicebus.aio import ServiceBusReceiver

from sandbox.cli.alert import PLANNED_MAINTENANCE, post
from sandbox.cli.console import Storyteller
from sandbox.cli.demo_environment import NOT_PLANNED, PLANNED
from sandbox.resource_manager import ResourceManager

TITLE = "An alert of Azure Service Health: maintenance in North Europe"
PATIENCE = 60.0

Row = tuple[str, str, str, bool]


async def play(
    endpoint: str, key: str, arm: ResourceManager, receiver: ServiceBusReceiver, story: Storyteller
) -> list[Row]:
    """Post the alert and hear what comes of it. Returns rows for the summary: what, expected, heard, right."""
    story.act(TITLE)
    body = PLANNED_MAINTENANCE.read_bytes()
    story.alerted(json.loads(body))
    answer = await asyncio.to_thread(post, endpoint, key, body)
    story.answered(answer.status_code, answer.json())
    ended = await _listen(receiver, story)
    posted = [call.path for call in arm.calls if call.method == "POST" and f"/{NOT_PLANNED}/" in call.path]
    left_alone = "asked for" if posted or NOT_PLANNED in ended else "left alone"
    return [
        *(_row(name, "completed: Succeeded", ended.get(name, "nothing")) for name in PLANNED),
        _row(NOT_PLANNED, "left alone", left_alone),
    ]


async def _listen(receiver: ServiceBusReceiver, story: Storyteller) -> dict[str, str]:
    """How the request for each scale set ended, once those for which maintenance is planned have, or patience has."""
    loop = asyncio.get_running_loop()
    give_up = loop.time() + PATIENCE
    ended: dict[str, str] = {}
    while loop.time() < give_up and not _all_in(PLANNED, ended):
        for message in await receiver.receive_messages(max_message_count=20, max_wait_time=2):
            document = json.loads(b"".join(message.body))
            story.event(document)
            kind = document["type"].split(".")[-2]
            if kind in ("completed", "rejected"):
                ended[document["data"].get("vmScaleSetName", "?")] = f"{kind}: {document['data']['status']}"
            await receiver.complete_message(message)
    return ended


def _all_in(names: Iterable[str], ended: dict[str, str]) -> bool:
    return all(name in ended for name in names)


def _row(name: str, expected: str, heard: str) -> Row:
    return f"alert: {name}", expected, heard, heard == expected
