"""`list` and `status`: what waits, what is under way, how it ended. Reads by peeking only."""

from __future__ import annotations

import argparse
import asyncio
from dataclasses import replace
from datetime import datetime, timedelta

from maintenance_cli.drawing.documents import run_document
from maintenance_cli.drawing.lines import Line, Span
from maintenance_cli.drawing.output import Output
from maintenance_cli.drawing.tree import span, state_of, styled, tree
from maintenance_cli.exits import Code, Ended
from maintenance_cli.picture.board import Board, Snapshot, board_of
from maintenance_cli.picture.messages import Unknown
from maintenance_cli.picture.runs import Run, State
from maintenance_cli.reading.azure import Azure
from maintenance_cli.reading.namespace import audit_of, events_of, events_since, snapshot
from maintenance_cli.reading.peeking import known

HEAD = ("REQUEST", "SCALE SET", "STATE", "DONE", "NEXT", "WHY")
ENDED_WITHIN = timedelta(days=1)
# Of clocks: an event's time is the worker's, and it is looked for by Service Bus's.
TOLERANCE = timedelta(minutes=10)


async def main(parsed: argparse.Namespace, output: Output, azure: Azure) -> Code:
    """Print what was found; NOT_FOUND for a request that is nowhere."""
    if parsed.command == "list":
        return await _list(parsed, output, azure)
    board, now = await board_of_request(azure, output, parsed.id)
    runs = board.of(parsed.id)
    if not runs:
        raise Ended(Code.NOT_FOUND, f"There is no request or run {parsed.id}: {where_looked(board)}.")
    if output.form == "table":
        for at, run in enumerate(runs):
            if at:
                output.text("")
            output.lines(tree(run, now))
    else:
        output.document({"requestId": runs[0].request_id, "runs": [run_document(run) for run in runs]})
    return Code.AS_WISHED


def where_looked(board: Board) -> str:
    past = "and it is in no event of the last 30 days" if board.audited else "and what ended is not known"
    return f"it waits nowhere, it is not under way, {past}"


async def board_of_request(azure: Azure, output: Output, wanted: str) -> tuple[Board, datetime]:
    """All that can be known of one request or run."""
    audit = audit_of(azure.settings)
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(snapshot(azure, dead=True))
        # It is read afterwards, and takes half a second to open.
        group.create_task(azure.peeker.open([audit]))
    taken = reading.result()
    known(taken.operations)
    board = board_of(taken, wanted)
    found = board.of(wanted)
    begun = min((run.requested_at for run in found if run.requested_at and run.started_at), default=None)
    if found:
        # Of what is under way the audit tells when its waves ended.
        events = await events_since(azure.peeker, audit, begun - TOLERANCE) if begun else ()
    else:
        events = await events_of(azure.peeker, audit, wanted, azure.now())
    taken = replace(taken, audit=events)
    board = board_of(taken, wanted)
    if not board.of(wanted):
        # A request that went from one queue to the next while both were read shows in none: read them in its order.
        again = await snapshot(azure, dead=True)
        board = board_of(replace(again, audit=events), wanted)
    say_unknown(output, taken)
    return board, taken.now


def say_unknown(output: Output, taken: Snapshot) -> None:
    """Name what could not be read: what depends on it is unknown."""
    for part in taken.unknown:
        output.problem(f"Unknown: {_consequence(part, taken)}, since {part.why}")


def _consequence(part: Unknown, taken: Snapshot) -> str:
    if part is taken.requests:
        return "what waits to be taken"
    if part is taken.coordination:
        return "what holds the scale sets, and what is canceled"
    if part is taken.operations:
        return "what is under way"
    if part in taken.dead:
        return "what was given up"
    return "what ended, and when waves did"


async def _list(parsed: argparse.Namespace, output: Output, azure: Azure) -> Code:
    scale_set = azure.scale_set(parsed.set) if parsed.set else None
    since = azure.now() - ENDED_WITHIN
    taken = await snapshot(azure, audit=audit_of(azure.settings) if parsed.all else None, since=since, dead=True)
    known(taken.operations)
    board = board_of(taken)
    runs = [run for run in board.runs if parsed.all or not run.is_over]
    if scale_set is not None:
        runs = [run for run in runs if run in board.on(scale_set)]
    if output.form == "table":
        if runs:
            # The whole reason is in `status`: of hundreds one wants to see which they are.
            output.table(HEAD, [row(run, taken.now) for run in runs], folded=len(HEAD) - 1, most=2)
        say_unknown(output, taken)
        for sentence in board.paused:
            output.note(sentence)
        output.note(_summary(board, runs))
    else:
        output.documents([run_document(run) for run in runs])
        say_unknown(output, taken)
    return Code.AS_WISHED


def row(run: Run, now: datetime) -> tuple[str | Span, ...]:
    """A run in a table."""
    total = len(run.instances)
    if run.is_over:
        due = span(run.ended_at - now) if run.ended_at else ""
    elif run.next_at is None:
        due = ""
    else:
        due = span(run.next_at - now) if run.next_at > now else "now"
    why = run.error or "" if run.is_over else " ".join(run.why)
    return (
        run.request_id,
        str(run.scale_set) if run.scale_set else "unknown",
        styled(state_of(run)),
        f"{run.done}/{total}" if total else "–",
        Span(due, "red" if run.overdue else ""),
        why,
    )


def _summary(board: Board, runs: list[Run]) -> str:
    waiting = sum(run.state is State.WAITING for run in runs)
    dead = sum(run.state is State.DEAD for run in runs)
    over = sum(run.is_over for run in runs)
    parts = [f"{len(runs) - waiting - over - dead:,} under way", f"{waiting:,} waiting"]
    if dead:
        parts.append(f"{dead:,} given up")
    if over:
        parts.append(f"{over:,} ended")
    overdue = sum(run.overdue for run in runs)
    if overdue:
        parts.append(f"{overdue:,} overdue")
    held = "unknown how many" if board.leases is None else f"{len({each.scale_set for each in board.leases}):,}"
    return f"{', '.join(parts)}. Scale sets held: {held}."


def lines_of(board: Board, wanted: str, now: datetime) -> list[Line]:
    """The trees of a request's runs."""
    return [line for run in board.of(wanted) for line in tree(run, now)]
