"""`send`: shows what a request would do, asks, sends it, and follows it to its end where that is wanted."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from azure.servicebus import ServiceBusMessage

from maintenance.domain.errors import ArmError
from maintenance.requests.schema import MaintenanceRequest
from maintenance.servicebus.connection import SDK_ERRORS
from maintenance_cli.commands.follow import Followed, follow
from maintenance_cli.commands.plan import HEAD, read_plan, remarks, request_or_ended, rows, wave_lines
from maintenance_cli.drawing.lines import as_table
from maintenance_cli.drawing.output import Output
from maintenance_cli.exits import Code, Ended
from maintenance_cli.picture.messages import Entity
from maintenance_cli.picture.wanted import completed, document_of_file, document_of_flags
from maintenance_cli.reading.azure import Azure, NotSent
from maintenance_cli.reading.failures import ArmText, of_entity


async def main(parsed: argparse.Namespace, output: Output, azure: Azure) -> Code:
    """Send the request; with --wait the code says how it ended."""
    document = completed(_document(parsed, azure), parsed)
    request = request_or_ended(document)
    if not parsed.yes:
        await _ask(azure, output, request)
    elif request.instance_ids is None:
        output.note(f"For every instance of {request.scale_set}.")
    followed = await Followed.before(azure, request.request_id) if parsed.wait else None
    await send(azure, document)
    sent = {"requestId": request.request_id, "resourceId": request.scale_set.resource_id}
    if followed is not None:
        output.note(f"Sent {request.request_id} for {request.scale_set}.")
        return await follow(azure, output, followed, timeout=parsed.timeout)
    if output.form == "table":
        output.text(request.request_id)
    else:
        output.document(sent)
    output.note(f"Sent for {request.scale_set}. Follow it: vmss-maintenance watch {request.request_id}")
    return Code.AS_WISHED


def _document(parsed: argparse.Namespace, azure: Azure) -> dict[str, Any]:
    if parsed.file is None and parsed.set is None:
        raise Ended(Code.USAGE, "Name a scale set, or give the request with --file.")
    if parsed.file is None:
        return document_of_flags(parsed, azure.scale_set(parsed.set))
    if parsed.file == "-" and not parsed.yes:
        raise Ended(Code.USAGE, "Standard input holds the request, so it can give no answer: --yes is needed.")
    try:
        body = sys.stdin.buffer.read() if parsed.file == "-" else Path(parsed.file).read_bytes()
    except OSError as error:
        raise Ended(Code.USAGE, f"--file: {parsed.file} cannot be read: {error.strerror}") from None
    return document_of_file(parsed, body)


async def _ask(azure: Azure, output: Output, request: MaintenanceRequest) -> None:
    """Show the plan on stderr and ask. Raises Ended where the answer is no, or nobody is there to give one."""
    try:
        plan = await read_plan(azure, request)
    except ArmError as error:
        output.problem(f"What it would do is unknown. {ArmText(error)}")
    else:
        output.note_lines(as_table(HEAD, rows(plan), output.width, folded=len(HEAD) - 1))
        output.note_lines(wave_lines(plan))
        for line in remarks(plan, azure):
            output.note(line)
    await confirm(output, f"Send this request for {request.scale_set}{' as a dry run' if request.dry_run else ''}?")


async def confirm(output: Output, question: str) -> None:
    """Ask a person. Raises Ended where the answer is no, or nobody is there to give one."""
    if not output.interactive:
        raise Ended(Code.USAGE, "Nothing was done: there is no terminal to ask at. Say --yes.")
    if not await asyncio.to_thread(output.ask, question):
        raise Ended(Code.ERROR, "Nothing was done.")


async def send(azure: Azure, document: dict[str, Any]) -> None:
    """Send one request. Raises Ended, which says that it may have been taken."""
    request_id = str(document["requestId"])
    queue = azure.settings.requests_queue
    message = ServiceBusMessage(
        json.dumps(document, ensure_ascii=False).encode(), message_id=request_id, content_type="application/json"
    )
    try:
        await azure.send(queue, message)
    except (NotSent, *SDK_ERRORS) as error:
        opened = not isinstance(error, NotSent)
        why = of_entity(error if opened else error.__cause__ or error, Entity(queue))
        text = why.why.replace("does not let you read", "does not let you send to").replace(
            "Data Receiver", "Data Sender"
        )
        doubt = (
            f" It may have been taken: look with `vmss-maintenance status {request_id}` before it is sent again."
            if opened and why.code is Code.UNREACHABLE
            else " Nothing was sent."
        )
        raise Ended(why.code, f"{text[:1].upper()}{text[1:]}.{doubt}".replace("..", ".")) from None
