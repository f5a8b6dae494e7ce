"""`cancel`: start nothing more of a request."""

from __future__ import annotations

import argparse
import uuid

from maintenance.domain.message_ids import REQUEST_ID
from maintenance.domain.resources import ScaleSet
from maintenance.servicebus.connection import SDK_ERRORS
from maintenance_cli.commands.follow import Followed, follow
from maintenance_cli.commands.runs import board_of_request, where_looked
from maintenance_cli.commands.send import confirm
from maintenance_cli.drawing.output import Output
from maintenance_cli.drawing.tree import state_of
from maintenance_cli.exits import Code, Ended
from maintenance_cli.picture.messages import Entity
from maintenance_cli.picture.runs import Run
from maintenance_cli.picture.wanted import by_whom
from maintenance_cli.reading.azure import Azure, NotSent
from maintenance_cli.reading.failures import of_entity
from maintenance_client import ScaleSet as ClientScaleSet
from maintenance_client.requests import cancellation_message


async def main(parsed: argparse.Namespace, output: Output, azure: Azure) -> Code:
    """Send the cancellation. With --wait: until the request has ended; as wished if it was canceled."""
    if not REQUEST_ID.fullmatch(parsed.id):
        raise Ended(Code.USAGE, f"ID: must be a request id: 1 to 100 printable ASCII characters (got {parsed.id})")
    given = azure.scale_set(parsed.set) if parsed.set else None
    board, _ = await board_of_request(azure, output, parsed.id)
    runs = [run for run in board.of(parsed.id) if given is None or (run.scale_set and run.scale_set.key == given.key)]
    active = [run for run in runs if not run.is_over]
    if not active and given is None:
        if runs:
            raise Ended(Code.NOT_FOUND, f"Request {parsed.id} has ended already, as {state_of(runs[0])}.")
        hint = "If it is still to come, name its scale set with --set."
        raise Ended(Code.NOT_FOUND, f"There is no request {parsed.id}: {where_looked(board)}. {hint}")
    scale_set = given or _only_set(active)
    if not active:
        output.note(f"Nothing of {parsed.id} waits or is under way on {scale_set}: the cancellation is for what comes.")
    request_id = active[0].request_id if active else parsed.id
    if not parsed.yes:
        await confirm(output, _question(request_id, scale_set, active))
    followed = await Followed.before(azure) if parsed.wait else None
    own_id = await _send(azure, request_id, scale_set, parsed.reason or by_whom("canceled"))
    document = {"cancels": request_id, "resourceId": scale_set.resource_id, "messageId": own_id}
    if followed is None or not active:
        if output.form == "table":
            output.text(own_id)
        else:
            output.document(document)
        output.note(f"Cancellation sent for {request_id} on {scale_set}. No wave starts once it is accepted.")
        return Code.AS_WISHED
    followed = Followed(followed.audit, followed.start, None, frozenset(), {run.run_id or "": run for run in active})
    code = await follow(azure, output, followed, timeout=parsed.timeout, cancels=True)
    return Code(code)


def _only_set(runs: list[Run]) -> ScaleSet:
    sets = {run.scale_set.key: run.scale_set for run in runs if run.scale_set is not None}
    if len(sets) != 1:
        named = ", ".join(sorted(map(str, sets.values()))) or "unknown"
        raise Ended(Code.USAGE, f"Name the scale set with --set: the request is on {named}.")
    return next(iter(sets.values()))


def _question(request_id: str, scale_set: ScaleSet, active: list[Run]) -> str:
    at = f", {active[0].state.value}" if active else ""
    if active and active[0].instances:
        at += f", {active[0].done} of {len(active[0].instances)} instances done"
    return f"Cancel request {request_id} on {scale_set}{at}?"


async def _send(azure: Azure, request_id: str, scale_set: ScaleSet, reason: str) -> str:
    queue = azure.settings.requests_queue
    target = ClientScaleSet(scale_set.subscription_id, scale_set.resource_group_name, scale_set.name)
    own_id = str(uuid.uuid4())
    try:
        await azure.send(queue, cancellation_message(request_id, target, reason, own_id))
    except (NotSent, *SDK_ERRORS) as error:
        why = of_entity(error.__cause__ if isinstance(error, NotSent) and error.__cause__ else error, Entity(queue))
        raise Ended(why.code, f"Whether the cancellation was taken is not known: {why.why}. Send it again.") from None
    return own_id
