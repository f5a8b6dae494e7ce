"""`watch`, and what --wait does: follows runs to their end by peeking, with a live view on a terminal."""

from __future__ import annotations

import argparse
import asyncio
import json
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from maintenance.servicebus.connection import SDK_ERRORS
from maintenance_cli.commands.runs import TOLERANCE, board_of_request, where_looked
from maintenance_cli.drawing.documents import run_document
from maintenance_cli.drawing.lines import Line
from maintenance_cli.drawing.output import Output
from maintenance_cli.drawing.tree import state_of, tree
from maintenance_cli.exits import Code, Ended, of_status
from maintenance_cli.picture.board import Board, board_of
from maintenance_cli.picture.messages import Entity, Peeked, Unknown
from maintenance_cli.picture.runs import Run, State
from maintenance_cli.reading.azure import Azure
from maintenance_cli.reading.namespace import audit_of, number_at, snapshot
from maintenance_cli.reading.peeking import known

EVERY = 2.0
# How often in a row Service Bus may fail to respond before the wait is given up.
MAX_FAILURES = 15


async def main(parsed: argparse.Namespace, output: Output, azure: Azure) -> Code:
    """Follow what ID or SET names; the code says how it ended."""
    followed = await _followed(parsed, output, azure)
    return await follow(azure, output, followed, timeout=parsed.timeout, every=max(parsed.every, 0.1))


async def _followed(parsed: argparse.Namespace, output: Output, azure: Azure) -> Followed:
    followed = await Followed.before(azure)
    if not parsed.id.startswith("/"):
        board, _ = await board_of_request(azure, output, parsed.id)
        if found := board.of(parsed.id):
            followed = replace(followed, runs={_key(run): run for run in found})
            if any(run.state is State.WAITING for run in found):
                # A message that is scheduled gets another number when it falls due, and its run another id.
                earlier = frozenset(run.run_id or "" for run in board.runs if run.is_over)
                followed = replace(followed, wanted=found[0].request_id, earlier=earlier)
            return await _since(azure, followed)
        if "/" not in parsed.id:
            raise Ended(Code.NOT_FOUND, f"There is no request or run {parsed.id}: {where_looked(board)}.")
    scale_set = azure.scale_set(parsed.id)
    taken = await snapshot(azure)
    known(taken.operations)
    found = [run for run in board_of(taken).on(scale_set) if not run.is_over]
    if not found:
        raise Ended(Code.NOT_FOUND, f"Nothing waits or is under way on {scale_set}.")
    return await _since(azure, replace(followed, runs={_key(run): run for run in found}))


async def _since(azure: Azure, followed: Followed) -> Followed:
    """The same with the events of all that the runs did already: when their waves ended."""
    begun = min((run.requested_at for run in followed.runs.values() if run.requested_at), default=None)
    if begun is None or followed.start is None:
        return followed
    return replace(followed, start=await number_at(azure.peeker, followed.audit, begun - TOLERANCE))


def _key(run: Run) -> str:
    return run.run_id or run.request_id


@dataclass(frozen=True, slots=True)
class Followed:
    """What is followed: runs by their ids, and the request `wanted` whose runs are to come. `start`: from where in the
    audit subscription on its events are. `earlier`: runs of the request that were there before, which are another's."""

    audit: Entity
    start: int | None
    wanted: str | None = None
    earlier: frozenset[str] = frozenset()
    runs: dict[str, Run] = field(default_factory=dict)

    @classmethod
    async def before(cls, azure: Azure, wanted: str | None = None) -> Followed:
        """To be called before anything is sent. `wanted`: the request that will be."""
        audit = audit_of(azure.settings)
        try:
            start: int | None = await _newest(azure, audit)
        except SDK_ERRORS:
            start = None
        earlier: frozenset[str] = frozenset()
        if wanted is not None:
            taken = await snapshot(azure)
            earlier = frozenset(run.run_id or "" for run in board_of(taken, wanted).runs)
        return cls(audit, start, wanted, earlier)


async def _newest(azure: Azure, audit: Entity) -> int:
    """Where the next event will be."""
    start = await number_at(azure.peeker, audit, azure.now() + timedelta(days=1))
    while page := await azure.peeker.page(audit, start):
        start = page[-1].number + 1
    return start


async def follow(
    azure: Azure,
    output: Output,
    followed: Followed,
    *,
    timeout: float | None,  # noqa: ASYNC109 - it ends with a code, not with an exception
    every: float = EVERY,
    cancels: bool = False,
) -> Code:
    """Follow to the end, and print it. STILL_RUNNING where the time is over first. `cancels`: an end as Canceled is as
    wished."""
    view = _View(output)
    follower = _Follower(azure, output, followed)
    try:
        async with asyncio.timeout(timeout):
            with view.live:
                while not await follower.look():
                    view.show(follower.runs, follower.lines())
                    await asyncio.sleep(every)
                view.show(follower.runs, follower.lines())
    except TimeoutError:
        if timeout is None:
            raise
        view.end(follower)
        output.note(f"Still running after {timeout:g} s. It goes on: {follower.hint()}")
        return Code.STILL_RUNNING
    except asyncio.CancelledError:
        output.note(f"It goes on: {follower.hint()}")
        raise
    view.end(follower)
    wished = ("Canceled",) if cancels else ()
    return max(
        (of_status(run.status) for run in follower.runs if run.status and run.status not in wished),
        default=Code.AS_WISHED if wished else Code.ERROR,
    )


class _Follower:
    """Reads again and again. `runs`: as they were shown last."""

    def __init__(self, azure: Azure, output: Output, followed: Followed) -> None:
        self._azure = azure
        self._output = output
        self._audit = followed.audit
        self._start = followed.start
        self._wanted = followed.wanted
        self._earlier = followed.earlier
        self._runs = dict(followed.runs)
        self._events: list[Peeked] = []
        self._failures = 0
        self._now = azure.now()
        self._said = False

    @property
    def runs(self) -> list[Run]:
        return list(self._runs.values())

    def lines(self) -> list[Line]:
        if not self._runs:
            return [Line.of("Waits for the request to be taken.")]
        return [line for run in self._runs.values() for line in tree(run, self._now)]

    def hint(self) -> str:
        names = {run.request_id for run in self._runs.values()} or {self._wanted or "ID"}
        return " and ".join(f"vmss-maintenance status {name}" for name in sorted(names))

    async def look(self) -> bool:
        """Read once; whether all has ended."""
        taken = await snapshot(self._azure)
        self._now = taken.now
        if isinstance(taken.operations, Unknown):
            self._failures += 1
            if self._failures >= MAX_FAILURES or taken.operations.code is not Code.UNREACHABLE:
                known(taken.operations)
            return False
        self._failures = 0
        audited = await self._read_events()
        board = board_of(replace(taken, audit=tuple(self._events) if audited else None))
        return self._merge(board, audited=audited)

    async def _read_events(self) -> bool:
        if self._start is not None:
            read = await self._azure.peeker.all(self._audit, self._start)
            if isinstance(read, tuple):
                self._events += read
                if read:
                    self._start = read[-1].number + 1
                return True
        if not self._said:
            self._said = True
            self._output.problem(f"Unknown: how requests end, since {self._audit} cannot be read.")
        return False

    def _merge(self, board: Board, *, audited: bool) -> bool:
        shown = {_key(run): run for run in board.runs}
        for key, run in list(self._runs.items()):
            found = shown.get(key)
            if found is not None:
                self._runs[key] = found
            elif not run.is_over and not audited and run.state is not State.WAITING:
                # It is in no queue, and how it ended cannot be read.
                self._runs[key] = replace(run, state=State.ENDED, status=run.status, why=())
        for key, run in shown.items():
            wanted = self._wanted is not None and run.request_id == self._wanted and key not in self._earlier
            if wanted and (key in self._runs or not run.is_over or self._is_new(board, key)):
                self._runs[key] = run
        for key, run in list(self._runs.items()):
            others = (other for name, other in self._runs.items() if name != key)
            if run.state is State.WAITING and key not in shown and any(o.request_id == run.request_id for o in others):
                del self._runs[key]
        for key, run in list(self._runs.items()):
            if run.is_over and run.duplicate_of and run.duplicate_of in shown:
                # Not carried out: the run that it names is.
                del self._runs[key]
                self._runs[run.duplicate_of] = shown[run.duplicate_of]
                self._wanted = None
        return bool(self._runs) and all(run.is_over for run in self._runs.values())

    @staticmethod
    def _is_new(board: Board, run_id: str) -> bool:
        """Whether its end is among the events that came since it is followed."""
        return any(event.run_id == run_id and event.ends for event in board.events)


class _View:
    """A live tree on a terminal; lines of what changed elsewhere, on stderr; documents of what changed as jsonl."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._last: dict[str, Any] = {}
        self._live: Any = None
        if output.form == "table" and output.terminal:
            from rich.live import Live  # noqa: PLC0415 - on a terminal only

            self._live = Live(transient=True, auto_refresh=False)

    @property
    def live(self) -> AbstractContextManager[Any]:
        return self._live or nullcontext()

    def show(self, runs: list[Run], lines: list[Line]) -> None:
        if self._live is not None:
            from rich.text import Text  # noqa: PLC0415 - as above

            painted = [self._output.painted(line, cut=True) for line in lines]
            self._live.update(Text.from_ansi("\n".join(painted)), refresh=True)
            return
        for run in runs:
            document = run_document(run)
            mark = json.dumps({**document, "nextAt": None, "record": None})
            if self._last.get(_key(run)) == mark:
                continue
            self._last[_key(run)] = mark
            if self._output.form == "jsonl":
                self._output.document(document)
                self._output.flush()
            else:
                self._output.note(_changed(run))

    def end(self, follower: _Follower) -> None:
        """Print the last picture."""
        if self._output.form == "table":
            self._output.lines(follower.lines())
        elif self._output.form == "json":
            self._output.documents([run_document(run) for run in follower.runs])


def _changed(run: Run) -> str:
    waves = f", wave {sum(wave.ended_at is not None or wave.state in DONE for wave in run.waves)}/{len(run.waves)} done"
    total = len(run.instances)
    counts = f", {run.done} of {total} instances" if total else ""
    why = f": {' '.join(run.why)}" if run.why else ""
    return f"{run.request_id} is {state_of(run)}{waves if run.waves else ''}{counts}{why}"


DONE = ("done", "failed")
