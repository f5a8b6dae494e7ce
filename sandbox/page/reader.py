"""Reads what has changed since the last time, and all there is for a page that is opened."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sandbox.clock import Clock, HandMovedClock
from sandbox.page import picture, summaries
from sandbox.page.journal import Journal
from sandbox.page.runs import Run, follow, run_id_of
from sandbox.page.stream import changes
from sandbox.resource_manager import ResourceManager
from sandbox.servicebus import MessageSent, ServiceBus

LINES = 1_000
"""How many of the last calls and events a page has."""

_MOST_RUNS = 200
# What no event reports (scale sets placed, health, limits) is read every eighth time: about once a second.
_THOROUGH = 8


class Reader:
    """The picture as of the last `read`, with the runs so far. Used by one thread."""

    def __init__(
        self,
        bus: ServiceBus,
        arm: ResourceManager,
        journal: Journal,
        *,
        clock: Clock,
        about: Callable[[], picture.Entries],
        faults_of_sets: Callable[[], dict[str, str]],
    ) -> None:
        """`about`: what the page can do here; `faults_of_sets`: texts by key."""
        self._bus, self._arm, self._journal, self._clock = bus, arm, journal, clock
        self._about, self._faults_of_sets = about, faults_of_sets
        self._picture: dict[str, picture.Entries] = {}
        self._runs: dict[str, Run] = {}
        self._read = 0
        self._record = self._call = self._event = 0

    def read(self, *, thoroughly: bool = False) -> dict[str, Any] | None:
        """What has changed since the last time; None: nothing."""
        thoroughly = thoroughly or self._read % _THOROUGH == 0
        self._read += 1
        before = self._picture
        entities, sets_changed = self._journal.take_changed()
        after = dict(before)
        if thoroughly or sets_changed:
            after["sets"], after["instances"] = picture.scale_sets(self._arm)
        if thoroughly:
            after["limits"] = picture.limits(self._arm.limits_left())
            after["entities"] = {name: picture.entity(self._bus, name) for name in self._bus.entities()}
        elif entities:
            after["entities"] = before["entities"] | {name: picture.entity(self._bus, name) for name in entities}
        after["faults"] = picture.faults(
            self._arm.faults.reports(), self._bus.faults.in_force(), self._faults_of_sets()
        )
        after["runs"] = self._follow_runs(before.get("runs", {}))
        after["about"] = self._about()
        if isinstance(self._clock, HandMovedClock):
            after["clock"] = {"now": picture.moment_text(self._clock())}
        self._picture = after
        found: dict[str, Any] = {"changes": changes(before, after), **self._new_lines()}
        if not (found["changes"] or found["calls"] or found["events"]):
            return None
        found["now"] = picture.moment_text(self._clock())
        return found

    def whole(self) -> dict[str, Any]:
        """All there is as of the last `read`, as if nothing had been there before."""
        journal = self._journal
        calls = [each for each in journal.calls.after(0, LINES) if each[0] <= self._call]
        events = [each for each in journal.events.after(0, LINES) if each[0] <= self._event]
        return {
            "changes": changes({}, self._picture),
            "calls": [summaries.call(*each) for each in calls],
            "events": [summaries.event(*each) for each in events],
            "now": picture.moment_text(self._clock()),
        }

    def _new_lines(self) -> dict[str, Any]:
        calls = self._journal.calls.after(self._call, LINES)
        events = self._journal.events.after(self._event, LINES)
        if calls:
            self._call = calls[-1][0]
        if events:
            self._event = events[-1][0]
        return {
            "calls": [summaries.call(*each) for each in calls],
            "events": [summaries.event(*each) for each in events],
        }

    def _follow_runs(self, before: picture.Entries) -> picture.Entries:
        records = self._journal.records.after(self._record)
        if not records:
            return before
        self._record = records[-1][0]
        changed: dict[str, Run] = {}
        for _, each in records:
            run = self._follow(each)
            if run is not None:
                self._runs[run.run_id] = changed[run.run_id] = run
        for run_id in list(self._runs)[:-_MOST_RUNS]:
            del self._runs[run_id]
        entries = before | {run_id: picture.run(run) for run_id, run in changed.items()}
        return {run_id: entry for run_id, entry in entries.items() if run_id in self._runs}

    def _follow(self, record: MessageSent) -> Run | None:
        run_id = run_id_of(record.message_id)
        if run_id is None:
            return None
        run = follow(self._runs.get(run_id), record.body, record.at, record.scheduled_for)
        # Somebody else's message may name a run in its body that is not the one of its id.
        return run if run is not None and run.run_id == run_id else None
