"""Entries of the coordination queue that every worker can see: leases of scale sets, cancellation markers, pauses,
proceeds, and notes that views may be stale. Pure.

An entry is a scheduled message. Scheduled messages can be peeked and canceled by the app, are numbered by Service Bus
in one order for all, and count only while Service Bus shows them as scheduled. So a run that starts anything takes
its lease, reads all entries, and starts nothing before its lease is the first of its scale set.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from maintenance.coordination.pauses import Pause, Resume
from maintenance.coordination.proceeds import Proceed
from maintenance.domain import message_ids
from maintenance.domain.resources import fold

# A marker outlasts every run that it can concern: 35 days ahead is the furthest that a request may reach.
MARKER_LASTS = timedelta(days=36)
# A request and its cancellation, sent at the same time by two senders, may arrive in either order.
MARKER_REACHES = timedelta(minutes=2)
# Past the deadline a run still reads how its last wave ended, and publishes that.
LEASE_OUTLASTS_DEADLINE = timedelta(hours=6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """This run starts maintenance on this scale set.

    `scale_set` is a `ScaleSet.key`. `until` is when Service Bus would deliver it: it counts until then. `number` is
    Service Bus's sequence number; 0 before it has one. `content` is `MaintenanceRequest.content`. `limit`: how many
    instances of the scale set may be down at once as long as a wave of this run is at work; None where it says nothing.
    `instances`: how many this run takes down at once at the most; `region`: where; None where it is not known.
    """

    run_id: str
    request_id: str
    scale_set: str
    until: datetime
    content: str = ""
    limit: int | None = None
    instances: int | None = None
    region: str | None = None
    number: int = 0

    @property
    def message_id(self) -> str:
        return message_ids.lease(self.run_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class CancellationMarker:
    """The requests of this id for this scale set that were enqueued before `enqueued_at`, or `MARKER_REACHES` after it
    at the latest, are canceled."""

    run_id: str
    request_id: str
    scale_set: str
    enqueued_at: datetime
    until: datetime
    number: int = 0
    reason: str | None = None

    @property
    def message_id(self) -> str:
        return message_ids.marker(self.run_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class StaleViews:
    """This run maintained instances of this scale set and has ended; until then a view may be older than what it did.

    By such a view an instance could be posted that was just maintained, and that could later be taken for the doing of
    the run that posts. `instances`: those that were maintained. None: all of the scale set, since one may be down for
    which this run failed, and shown as up.
    """

    run_id: str
    request_id: str
    scale_set: str
    until: datetime
    instances: tuple[str, ...] | None = None
    number: int = 0

    @property
    def message_id(self) -> str:
        return message_ids.stale_views(self.run_id)

    def concerns(self, instance_ids: Iterable[str]) -> bool:
        return self.instances is None or not {fold(each) for each in self.instances}.isdisjoint(map(fold, instance_ids))


Entry = Lease | CancellationMarker | StaleViews | Pause | Resume | Proceed


class EntriesRead(tuple[Entry, ...]):
    """What one reading showed, in the order of their numbers. All runs of a batch share a reading, and so what is
    looked up in it: with 15,000 leases each run would otherwise go through all of them several times."""

    def about(self, scale_set: str, *, leases: bool = False) -> Sequence[Entry]:
        """Those that can concern a scale set, by its key: its own, pauses and resumes. `leases`: and every lease."""
        if leases:
            return [each for each in self if isinstance(each, Lease | Pause | Resume) or each.scale_set == scale_set]
        return [*self._by_scale_set.get("", ()), *self._by_scale_set.get(scale_set, ())]

    @functools.cached_property
    def _by_scale_set(self) -> Mapping[str, Sequence[Entry]]:
        """Pauses and resumes, whose scopes are as wide as may be, stand under no name."""
        found: dict[str, list[Entry]] = {}
        for each in self:
            found.setdefault("" if isinstance(each, Pause | Resume) else each.scale_set, []).append(each)
        return found


def leases_of(entries: Iterable[Entry], scale_set: str) -> list[Lease]:
    """The leases of a scale set, the holder's first."""
    leases = [each for each in entries if isinstance(each, Lease) and each.scale_set == scale_set]
    return sorted(leases, key=lambda lease: lease.number)


def own_leases(entries: Iterable[Entry], run_id: str) -> list[Lease]:
    """Those that a run has taken: one, or two where duplicate detection forgot the first."""
    return [each for each in entries if isinstance(each, Lease) and each.run_id == run_id]


def stale_views(entries: Iterable[Entry], scale_set: str, instance_ids: Sequence[str]) -> StaleViews | None:
    """The note that lasts longest of those that concern these instances of a scale set."""
    notes = (each for each in entries if isinstance(each, StaleViews) and each.scale_set == scale_set)
    return max((note for note in notes if note.concerns(instance_ids)), key=lambda note: note.until, default=None)


def cancellation(
    entries: Iterable[Entry], scale_set: str, request_id: str, enqueued_at: datetime
) -> CancellationMarker | None:
    """The marker that cancels a request enqueued then, both by Service Bus's times. It must name the same scale set."""
    for each in entries:
        if (
            isinstance(each, CancellationMarker)
            and (each.scale_set, each.request_id) == (scale_set, request_id)
            and each.enqueued_at + MARKER_REACHES >= enqueued_at
        ):
            return each
    return None


def kind_of(entry: Entry) -> str:
    """`lease`, `cancellation`, `stale-views`, `pause`, `resume` or `proceed`, as the message's subject says it."""
    match entry:
        case Pause():
            return "pause"
        case Resume():
            return "resume"
        case Proceed():
            return "proceed"
        case Lease():
            return "lease"
        case CancellationMarker():
            return "cancellation"
        case StaleViews():
            return "stale-views"
