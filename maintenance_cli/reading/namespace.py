"""The namespace read as a whole, by peeking: three queues, and as much of the audit subscription as is asked for."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from maintenance.servicebus.connection import SDK_ERRORS
from maintenance.settings import Settings
from maintenance_cli.picture.board import Snapshot
from maintenance_cli.picture.events import concerns, read_events
from maintenance_cli.picture.messages import PARTITIONED, Entity, Peeked, Read, messages_of
from maintenance_cli.reading.azure import Azure
from maintenance_cli.reading.failures import of_entity
from maintenance_cli.reading.peeking import PAGE, Peeker

AUDIT = "maintenance-audit"
READERS = "all-events"
# Events that are read all at once, rather than looked through from the newest.
FEW = 1_000


def audit_of(settings: Settings) -> Entity:
    return Entity(f"{settings.events_topic}/{AUDIT}")


def queues_of(settings: Settings) -> tuple[Entity, Entity, Entity]:
    """Requests, operations, coordination."""
    return Entity(settings.requests_queue), Entity(settings.operations_queue), Entity(settings.coordination_queue)


def dead_letters_of(settings: Settings) -> list[Entity]:
    """The dead-letter queues that this app's entities have."""
    readers = Entity(f"{settings.events_topic}/{READERS}")
    return [entity.dead_letters for entity in (*queues_of(settings), readers, audit_of(settings))]


async def snapshot(
    azure: Azure, *, audit: Entity | None = None, since: datetime | None = None, dead: bool = False
) -> Snapshot:
    """Read the queues, all at once. `audit`: and the events of this subscription, from `since` on or all. `dead`: and
    the dead letters of requests and operations."""
    peeker = azure.peeker
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(peeker.all(entity)) for entity in queues_of(azure.settings)]
        letters = [group.create_task(peeker.all(each.dead_letters)) for each in queues_of(azure.settings)[:2] if dead]
        events = None if audit is None else group.create_task(events_since(peeker, audit, since))
    requests, operations, coordination = (task.result() for task in tasks)
    given_up = (letters[0].result(), letters[1].result()) if letters else ()
    return Snapshot(requests, operations, coordination, events.result() if events else None, azure.now(), given_up)


async def events_since(peeker: Peeker, audit: Entity, since: datetime | None) -> Read:
    """The events from this time on. A month of them may be there, so the first of them is looked for by halving."""
    try:
        start = 1 if since is None else await number_at(peeker, audit, since)
    except SDK_ERRORS as error:
        return of_entity(error, audit)
    return await peeker.all(audit, start)


async def number_at(peeker: Peeker, entity: Entity, moment: datetime) -> int:
    """The sequence number from which on messages were enqueued at this moment or later: they are numbered in their
    order. 1 where the numbers are in none, in a partitioned topic. Raises SDK_ERRORS."""
    first = await peeker.page(entity, 1, 1)
    if not first or first[0].number >= PARTITIONED or _is_at(first[0], moment):
        return 1
    before, step = first[0].number, PAGE
    while True:
        found = await peeker.page(entity, before + step, 1)
        if not found or _is_at(found[0], moment):
            break
        before, step = found[0].number, step * 4
    after = before + step
    while after - before > PAGE // 2:
        middle = (before + after) // 2
        found = await peeker.page(entity, middle, 1)
        if not found or _is_at(found[0], moment):
            after = middle
        else:
            before = found[0].number
    return before


async def events_of(peeker: Peeker, audit: Entity, wanted: str, now: datetime) -> Read:
    """The events of a request or run, looked for from the newest back: all of the run that ended last are there, and
    perhaps of others."""
    try:
        first = await peeker.page(audit, 1, 1)
        if not first:
            return ()
        low = first[0].number
        newest = 1 if low >= PARTITIONED else await number_at(peeker, audit, now + timedelta(days=1))
        if low >= PARTITIONED or newest - low <= FEW:
            return await peeker.all(audit)
        return await _backwards(peeker, audit, wanted, low, newest)
    except SDK_ERRORS as error:
        return of_entity(error, audit)


async def _backwards(peeker: Peeker, audit: Entity, wanted: str, low: int, newest: int) -> Read:
    mark = wanted.encode()
    read = await peeker.all(audit, newest)
    found = list(messages_of(read))
    at = newest
    while at > low:
        begin = max(low, at - PAGE)
        chunk: list[Peeked] = []
        while begin < at and (page := await peeker.page(audit, begin)):
            chunk += [message for message in page if message.number < at]
            begin = page[-1].number + 1
        found = [*chunk, *found]
        at = max(low, at - PAGE)
        own = [event for event in read_events(each for each in found if mark in each.body) if concerns(event, wanted)]
        end = next((event for event in reversed(own) if event.ends), None)
        # `accepted` is the first event of a run that started something; others have but their end.
        begun = {event.run_id for event in own if event.kind == "accepted"}
        if end is not None and (end.run_id in begun or end.data.get("start") is None):
            break
    return tuple(found)


def _is_at(message: Peeked, moment: datetime) -> bool:
    return message.enqueued_at is None or message.enqueued_at >= moment
