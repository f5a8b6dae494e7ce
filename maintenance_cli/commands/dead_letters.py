"""`dlq`: list and show dead letters by peeking; replay and purge them, locked, after saying what will be done."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence

from azure.servicebus import ServiceBusReceivedMessage

from maintenance.servicebus.connection import SDK_ERRORS
from maintenance_cli.commands.send import confirm
from maintenance_cli.drawing.lines import Row
from maintenance_cli.drawing.output import Output
from maintenance_cli.drawing.tree import stamp
from maintenance_cli.exits import Code, Ended
from maintenance_cli.picture.dead import Copy, chosen, copy_of, dead_document, request_id_of, was_sent
from maintenance_cli.picture.messages import Entity, Peeked, Unknown, reason_of
from maintenance_cli.reading.azure import Azure, NotSent
from maintenance_cli.reading.dead_letters import Locked, locked, message_of
from maintenance_cli.reading.failures import of_entity
from maintenance_cli.reading.namespace import audit_of, dead_letters_of, events_since, queues_of
from maintenance_cli.reading.peeking import known

HEAD = ("QUEUE", "NUMBER", "MESSAGE", "REQUEST", "ENQUEUED", "REASON")
_WORKERS = (
    "{action} is for the requests queue and for subscriptions. The worker itself ends dead letters of {queue} "
    "within five minutes, each by an event: a record that comes back beside that could start maintenance twice, and "
    "one that is deleted leaves its run without an end."
)


async def main(parsed: argparse.Namespace, output: Output, azure: Azure) -> Code:
    """List, show, replay or purge."""
    match parsed.action:
        case "list":
            return await _list(parsed, output, azure)
        case "show":
            return await _show(parsed, output, azure)
        case "replay":
            return await _replay(parsed, output, azure)
        case _:
            return await _purge(parsed, output, azure)


async def _list(parsed: argparse.Namespace, output: Output, azure: Azure) -> Code:
    entities = [Entity(_path(parsed.queue, azure)).dead_letters] if parsed.queue else dead_letters_of(azure.settings)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(azure.peeker.all(entity)) for entity in entities]
    read = [task.result() for task in tasks]
    unknown = [part for part in read if isinstance(part, Unknown)]
    if not parsed.queue:
        # Readers have subscriptions of their own; this one need not be there.
        unknown = [part for part in unknown if not (part.entity.topic and part.code is Code.NOT_FOUND)]
    if unknown and len(unknown) == len(read):
        known(unknown[0])
    found = [
        (entity, message)
        for entity, part in zip(entities, read, strict=True)
        if isinstance(part, tuple)
        for message in part
    ]
    if output.form != "table":
        output.documents([dead_document(message, entity, body=False) for entity, message in found])
    elif found:
        output.table(HEAD, [_row(entity, message, azure) for entity, message in found], folded=len(HEAD) - 1)
    for part in unknown:
        output.problem(f"Unknown: {part.why}")
    output.note(f"{counted(len(found))}.")
    return Code.AS_WISHED


def _row(entity: Entity, message: Peeked, azure: Azure) -> Row:
    return (
        entity.path,
        str(message.number),
        message.message_id,
        request_id_of(message) if not entity.topic else "–",
        stamp(message.enqueued_at, azure.now()) if message.enqueued_at else "unknown",
        reason_of(message),
    )


def counted(number: int) -> str:
    return f"{number:,} dead {'letter' if number == 1 else 'letters'}"


async def _show(parsed: argparse.Namespace, output: Output, azure: Azure) -> Code:
    entity, found = await _chosen(parsed, azure)
    documents = [dead_document(message, entity, body=True) for message in found]
    if output.form != "table":
        output.documents(documents)
        return Code.AS_WISHED
    for at, document in enumerate(documents):
        body, properties = document.pop("body"), document.pop("properties")
        for name, value in (*document.items(), *((f"property {name}", value) for name, value in properties.items())):
            if value is not None:
                output.text(f"{name}: {value}")
        output.text(f"\n{body}" + ("\n" if at < len(documents) - 1 else ""))
    return Code.AS_WISHED


async def _chosen(parsed: argparse.Namespace, azure: Azure) -> tuple[Entity, list[Peeked]]:
    """The queue, and the dead letters that were chosen. Raises Ended where there are none."""
    entity = Entity(_path(parsed.queue, azure))
    read = known(await azure.peeker.all(entity.dead_letters))
    found = chosen(read, parsed.id, parsed.reason)
    if not found:
        which = " of those" if parsed.id or parsed.reason else ""
        raise Ended(Code.NOT_FOUND, f"There is no dead letter{which} in {entity.path}, of {len(read)}.")
    return entity, found


def _path(name: str, azure: Azure) -> str:
    """The entity that a person means: its name, `topic/subscription`, or the last part of a name of this app's."""
    settings = azure.settings
    if "/" in name:
        topic, _, subscription = name.replace("/Subscriptions/", "/").replace("/subscriptions/", "/").partition("/")
        return f"{topic}/{subscription}"
    short = {"requests": settings.requests_queue, "operations": settings.operations_queue,
             "coordination": settings.coordination_queue}  # fmt: skip
    return short.get(name.lower(), name)


def _check(parsed: argparse.Namespace, entity: Entity, azure: Azure) -> None:
    """Raises Ended where it must not be done."""
    if not (parsed.id or parsed.reason or parsed.all):
        raise Ended(Code.USAGE, "Say which: --id, --reason, or --all.")
    _, operations, coordination = queues_of(azure.settings)
    if entity.path.lower() in (operations.path.lower(), coordination.path.lower()):
        action = "Replay" if parsed.action == "replay" else "Purge"
        raise Ended(Code.USAGE, _WORKERS.format(action=action, queue=entity.path))


async def _replay(parsed: argparse.Namespace, output: Output, azure: Azure) -> Code:
    requests = queues_of(azure.settings)[0]
    entity = Entity(_path(parsed.queue, azure))
    _check(parsed, entity, azure)
    of_requests = entity.path.lower() == requests.path.lower()
    if not of_requests and not parsed.to:
        raise Ended(
            Code.USAGE,
            f"--to: name the queue from which the reader of {entity.path} takes messages. Service Bus takes none for "
            "one subscription, and sent to the topic, the event would come to every other reader once more.",
        )
    if of_requests and parsed.to:
        raise Ended(Code.USAGE, f"--to: is for dead letters of subscriptions; these go to {requests.path}.")
    target = requests if of_requests else Entity(_path(parsed.to, azure))
    if target.path.lower() == azure.settings.events_topic.lower():
        raise Ended(Code.USAGE, "--to: must be a queue, not the topic: every reader would get the event once more.")
    entity, found = await _chosen(parsed, azure)
    copies = [copy_of(message, entity, azure.now(), of_requests=of_requests) for message in found]
    for message, copy in zip(found, copies, strict=True):
        about = f"request {request_id_of(message)}" if of_requests else f"message {message.message_id}"
        remark = f" Note: {copy.remark}." if copy.remark else ""
        output.note(f"{about} → {target.path} as {copy.message_id}.{remark}")
    if parsed.dry_run:
        return _said(output, entity, found, [], "would be replayed")
    if not parsed.yes:
        await confirm(output, f"Replay {counted(len(found))} of {entity.path}?")
    replay = _Replay(azure, output, entity, target, of_requests=of_requests)
    # Each takes half a second to open, and what is locked should not wait for that.
    await azure.peeker.open([*replay.places, *([audit_of(azure.settings)] if of_requests else [])])
    return await _acted(output, azure, entity=entity, found=found, action=replay, verb="replayed")


async def _purge(parsed: argparse.Namespace, output: Output, azure: Azure) -> Code:
    _check(parsed, Entity(_path(parsed.queue, azure)), azure)
    entity, found = await _chosen(parsed, azure)
    for message in found:
        output.note(f"{message.message_id} ({message.number}): {reason_of(message)}")
    if parsed.dry_run:
        return _said(output, entity, found, [], "would be purged")
    if not parsed.yes:
        await confirm(output, f"Delete {counted(len(found))} of {entity.path} for good?")
    return await _acted(output, azure, entity=entity, found=found, action=_Purge(), verb="purged")


class _Purge:
    """Completes dead letters."""

    def __init__(self) -> None:
        self.done: list[int] = []

    async def batch(self, batch: Locked) -> None:
        for message, plain in batch.messages:
            if batch.is_fresh:
                await batch.complete(message)
                self.done.append(plain.number)


class _Replay:
    """Sends the copy of each dead letter, unless what was read shows that it was sent before, then completes it."""

    def __init__(self, azure: Azure, output: Output, entity: Entity, target: Entity, *, of_requests: bool) -> None:
        self._azure = azure
        self._output = output
        self._entity = entity
        self._target = target
        self._of_requests = of_requests
        settings = azure.settings
        self.places = [target, target.dead_letters, *([queues_of(settings)[1]] if of_requests else [])]
        self.done: list[int] = []

    async def batch(self, batch: Locked) -> None:
        now = self._azure.now()
        copies = [copy_of(plain, self._entity, now, of_requests=self._of_requests) for _, plain in batch.messages]
        # Read once they are locked: from here on nobody else sends a copy of them.
        evidence = await self._evidence([plain for _, plain in batch.messages])
        for (message, plain), copy in zip(batch.messages, copies, strict=True):
            if not batch.is_fresh:
                self._output.problem("It took too long; the rest is left as it was. Run it again.")
                return
            await self._one(batch, message, plain, copy, evidence)

    async def _one(
        self, batch: Locked, message: ServiceBusReceivedMessage, plain: Peeked, copy: Copy, evidence: Sequence[Peeked]
    ) -> None:
        before = was_sent(copy, evidence)
        if before is None:
            await self._azure.send(self._target.path, message_of(copy, message))
        else:
            self._output.note(f"{copy.message_id} was sent before; its dead letter {plain.number} is completed now.")
        try:
            await batch.complete(message)
        except SDK_ERRORS:
            self._output.problem(f"Sent, but dead letter {plain.number} was not completed. Run it again: it is known.")
            raise
        self.done.append(plain.number)

    async def _evidence(self, messages: Sequence[Peeked]) -> tuple[Peeked, ...]:
        """Where copies that were sent before must show: read in the order in which a request goes through them."""
        peeker, settings = self._azure.peeker, self._azure.settings
        found = [known(await peeker.all(place)) for place in self.places]
        if self._of_requests:
            oldest = min((each.enqueued_at for each in messages if each.enqueued_at), default=None)
            events = await events_since(peeker, audit_of(settings), oldest)
            if isinstance(events, Unknown):
                raise Ended(
                    events.code,
                    f"Nothing was sent: {events.why}, so what an earlier replay, killed midway, has sent is not known.",
                )
            found.append(events)
        return tuple(message for part in found for message in part)


async def _acted(
    output: Output, azure: Azure, *, entity: Entity, found: Sequence[Peeked], action: _Replay | _Purge, verb: str
) -> Code:
    try:
        async with locked(azure, entity, [each.number for each in found]) as batches:
            async for batch in batches:
                await action.batch(batch)
    except (NotSent, *SDK_ERRORS) as error:
        why = of_entity(error.__cause__ if isinstance(error, NotSent) and error.__cause__ else error, entity)
        _said(output, entity, [each for each in found if each.number in action.done], [], verb)
        raise Ended(
            why.code, f"{len(action.done)} of {len(found)} {verb}, the rest is left as it was: {why.why}"
        ) from None
    done = [each for each in found if each.number in action.done]
    left = [each for each in found if each.number not in action.done]
    return _said(output, entity, done, left, verb)


def _said(output: Output, entity: Entity, done: Sequence[Peeked], left: Sequence[Peeked], verb: str) -> Code:
    if output.form == "table":
        for message in done:
            output.text(f"{verb}\t{message.number}\t{message.message_id}")
    else:
        output.documents([{**dead_document(message, entity, body=False), "result": verb} for message in done])
    for message in left:
        output.problem(f"Dead letter {message.number} was not {verb}: another holds it, or it is gone. Look again.")
    output.note(f"{len(done)} {verb}.")
    return Code.ERROR if left else Code.AS_WISHED
