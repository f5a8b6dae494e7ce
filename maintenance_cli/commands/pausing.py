"""`pause` and `resume`: start nothing new in a scope, and start again."""

from __future__ import annotations

import argparse
import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from azure.servicebus import ServiceBusMessage

from maintenance.domain.errors import InvalidRequest
from maintenance.requests.control_schema import read_pause, read_resume
from maintenance.servicebus.connection import SDK_ERRORS
from maintenance_cli.arguments import seconds
from maintenance_cli.commands.send import confirm
from maintenance_cli.drawing.output import Output
from maintenance_cli.exits import Code, Ended
from maintenance_cli.picture.messages import Entity
from maintenance_cli.picture.wanted import by_whom
from maintenance_cli.reading.azure import Azure, NotSent
from maintenance_cli.reading.failures import of_entity


async def main(parsed: argparse.Namespace, output: Output, azure: Azure) -> Code:
    """Send the message. The worker's reply, an `accepted` or `rejected` event, is in `history`."""
    scope = azure.scope(parsed.scope)
    if parsed.command == "pause":
        until = _until(parsed.until, azure.now())
        wanted = {"scope": scope, "until": until, "reason": parsed.reason or by_whom("paused")}
        ends = f"until {until}" if until else "until it is resumed"
        question = f"Pause everything in {scope}, {ends}?"
        told = f"Pause sent for {scope}, {ends}. Nothing new starts there once it is accepted; what runs, runs on."
    else:
        wanted = {"scope": scope, "reason": parsed.reason or by_whom("resumed")}
        question = f"Resume all that is paused in {scope}?"
        told = f"Resume sent for {scope}. What waits there goes on within 15 minutes. A pause of a wider scope stays."
    document = {"schemaVersion": 1, parsed.command: {name: value for name, value in wanted.items() if value}}
    _check(document, azure.now())
    if not parsed.yes:
        await confirm(output, question)
    own_id = str(uuid.uuid4())
    await _send(azure, document, own_id)
    if output.form == "table":
        output.text(own_id)
    else:
        output.document({**document, "messageId": own_id})
    output.note(f"{told} See: vmss-maintenance history --id {own_id}")
    return Code.AS_WISHED


def _until(text: str | None, now: datetime) -> str | None:
    """A time from now, such as 2h, as RFC 3339; a time that is written out stays as it is."""
    if text is None:
        return None
    try:
        end = now + timedelta(seconds=seconds(text))
    except (argparse.ArgumentTypeError, OverflowError):
        return text
    return end.astimezone(UTC).isoformat(timespec="seconds")


def _check(document: dict[str, Any], now: datetime) -> None:
    """Find what the worker would refuse before anything is sent. Raises Ended with every problem."""
    until = None
    try:
        if "pause" in document:
            until = read_pause(document).until
        else:
            read_resume(document)
    except InvalidRequest as error:
        raise Ended(Code.USAGE, *map(str, error.problems)) from None
    if until is not None and until <= now:
        raise Ended(Code.USAGE, f"pause.until: has passed (got {document['pause']['until']})")


async def _send(azure: Azure, document: dict[str, Any], own_id: str) -> None:
    queue = azure.settings.requests_queue
    body = json.dumps(document, ensure_ascii=False).encode()
    try:
        await azure.send(queue, ServiceBusMessage(body, message_id=own_id, content_type="application/json"))
    except (NotSent, *SDK_ERRORS) as error:
        why = of_entity(error.__cause__ if isinstance(error, NotSent) and error.__cause__ else error, Entity(queue))
        raise Ended(why.code, f"Whether it was taken is not known: {why.why}. Send it again.") from None
