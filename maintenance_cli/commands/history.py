"""`history`: what ended, how, who asked and who canceled, as far as the events tell. Reads the audit subscription."""

from __future__ import annotations

import argparse
from collections import Counter
from datetime import datetime, timedelta

from maintenance_cli.drawing.documents import event_document
from maintenance_cli.drawing.lines import Span
from maintenance_cli.drawing.output import Output
from maintenance_cli.drawing.tree import STYLES, stamp
from maintenance_cli.exits import Code
from maintenance_cli.picture.events import Event, account_of, concerns, read_events
from maintenance_cli.reading.azure import Azure
from maintenance_cli.reading.namespace import audit_of, events_since
from maintenance_cli.reading.peeking import known

HEAD = ("TIME", "REQUEST", "SCALE SET", "EVENT", "INSTANCES", "REASON")


async def main(parsed: argparse.Namespace, output: Output, azure: Azure) -> Code:
    """Print the events, the newest last, as they happened."""
    scale_set = azure.scale_set(parsed.set) if parsed.set else None
    now = azure.now()
    since = now - timedelta(seconds=parsed.since)
    read = known(await events_since(azure.peeker, audit_of(azure.settings), since))
    events = [
        event
        for event in read_events(read)
        if event.time >= since
        and (scale_set is None or (event.scale_set is not None and event.scale_set.key == scale_set.key))
        and (parsed.id is None or concerns(event, parsed.id))
    ]
    # `progressed` is for who follows one request.
    shown = [event for event in events if parsed.id is not None or event.kind != "progressed"]
    left = len(shown) - parsed.limit
    shown = sorted(shown, key=lambda event: event.time)[-parsed.limit :]
    if output.form != "table":
        output.documents([event_document(event) for event in shown])
    elif shown:
        output.table(HEAD, [row(event, now) for event in shown], folded=len(HEAD) - 1)
    if left > 0:
        output.note(f"Older events that are left out: {left:,}. --limit shows more.")
    if parsed.id is not None and not shown:
        output.problem(f"No event of {parsed.id} since {since:%Y-%m-%d %H:%M}Z.")
        return Code.NOT_FOUND
    output.note(f"{len(shown):,} events since {since:%Y-%m-%d %H:%M}Z.")
    return Code.AS_WISHED


def row(event: Event, now: datetime) -> tuple[str | Span, ...]:
    """An event in a table."""
    if event.asked is not None:
        until = event.data.get("until")
        what, style = f"{event.asked} until {until}" if until else event.asked, "yellow"
    else:
        what = event.kind if event.kind in ("accepted", "rejected", "duplicate") else f"{event.kind}: {event.status}"
        style = STYLES.get(event.status, "")
    found = event.data.get("instances")
    counts = Counter(str(each.get("outcome")) for each in found if isinstance(each, dict)) if found else Counter()
    return (
        stamp(event.time, now),
        event.request_id,
        str(event.scale_set) if event.scale_set else "–",
        Span(what, style),
        ", ".join(f"{number} {outcome}" for outcome, number in counts.items()),
        " – ".join(part for part in (event.reason, account_of(event)) if part),
    )
