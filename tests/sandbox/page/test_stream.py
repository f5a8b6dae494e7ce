"""Numbered changes: a snapshot first, nothing lost after it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sandbox.page.stream import Stream, changes
from tests.support.limit import LIMIT


class Counter:
    """A source with one number. `reads`: how often it was read."""

    def __init__(self) -> None:
        self.value = self.seen = self.reads = 0

    def read(self, *, thoroughly: bool = False) -> dict[str, Any] | None:
        self.reads += 1
        if self.value == self.seen:
            return None
        self.seen = self.value
        return {"value": self.seen}

    def whole(self) -> dict[str, Any]:
        return {"value": self.seen}


@contextlib.asynccontextmanager
async def running(stream: Stream) -> AsyncIterator[None]:
    task = asyncio.create_task(stream.run())
    try:
        yield
    finally:
        task.cancel()


def frames(data: bytes) -> list[tuple[str, str, int]]:
    """Event, id and value of each."""
    found = []
    for frame in data.decode().split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in frame.splitlines())
        found.append((fields["event"], fields["id"], json.loads(fields["data"])["value"]))
    return found


def test_changes_name_what_is_new_other_and_gone() -> None:
    before = {"a": {"same": 1, "other": 1, "gone": 1}, "b": {"x": 1}}
    after = {"a": {"same": 1, "other": 2, "new": 3}, "b": {"x": 1}, "c": {"y": 1}}
    assert changes(before, after) == {"a": {"set": {"other": 2, "new": 3}, "gone": ["gone"]}, "c": {"set": {"y": 1}}}
    assert changes(after, after) == {}


def test_first_look_gets_a_snapshot_of_the_present() -> None:
    source = Counter()
    stream = Stream(source)
    source.value = 7
    (frame,) = frames(stream.enter("")[1])
    assert frame[0::2] == ("snapshot", 7)


def test_who_comes_back_gets_what_was_missed_and_nothing_else() -> None:
    source = Counter()
    stream = Stream(source)
    first = frames(stream.enter("")[1])[0][1]
    stream.leave()
    source.value = 1
    stream.enter("")
    source.value = 2
    assert [each[0::2] for each in frames(stream.enter(first)[1])] == [("changes", 1), ("changes", 2)]
    last = frames(stream.enter("")[1])[0][1]
    assert stream.enter(last)[1] == b""


@pytest.mark.parametrize("last_seen", ["0123abcd-1", "nonsense", "-", "0123abcd-99999999999999999999"])
def test_number_of_another_life_gets_a_snapshot(last_seen: str) -> None:
    assert frames(Stream(Counter()).enter(last_seen)[1])[0][0] == "snapshot"


def test_number_that_is_no_longer_kept_gets_a_snapshot() -> None:
    source = Counter()
    stream = Stream(source, kept=2)
    first = frames(stream.enter("")[1])[0][1]
    for _ in range(3):
        source.value += 1
        stream.enter("")
    assert frames(stream.enter(first)[1])[0][0::2] == ("snapshot", 3)


def test_number_that_is_yet_to_come_gets_a_snapshot() -> None:
    stream = Stream(Counter())
    life = frames(stream.enter("")[1])[0][1].split("-")[0]
    assert frames(stream.enter(f"{life}-5")[1])[0][0] == "snapshot"


async def test_watcher_is_sent_each_change_once() -> None:
    source = Counter()
    stream = Stream(source, interval=0)
    async with running(stream), asyncio.timeout(LIMIT):
        number, _ = stream.enter("")
        seen: list[int] = []
        while len(seen) < 3:
            source.value += 1
            number, data = await stream.after(number)
            seen += [value for *_, value in frames(data)]
    assert seen == [1, 2, 3]


async def test_nothing_is_read_while_nobody_looks() -> None:
    source = Counter()
    stream = Stream(source, interval=0)
    async with running(stream):
        stream.enter("")
        await asyncio.sleep(0)
        stream.leave()
        await asyncio.sleep(0)
        reads = source.reads
        for _ in range(50):
            await asyncio.sleep(0)
    assert source.reads == reads
