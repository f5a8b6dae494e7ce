"""What a scan says of one scale set, and whether it asks for its maintenance. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from maintenance.alerts.rules import AlertRules
from maintenance.alerts.schemas import normal
from maintenance.coordination.entries import Entry, Lease, leases_of
from maintenance.coordination.pauses import deferral_of, pause_of
from maintenance.domain.calendars import Deferral
from maintenance.domain.instances import Instance, InstanceState, ScaleSetSummary
from maintenance.policies.calendar import Calendar
from maintenance.policies.tags import EXCLUDED, UNTAGGED, TagPolicy, in_words

Mode = Literal["off", "report", "request"]
# Of the four times of `MaintenanceStatus.window`: when one's own maintenance ends, and when Azure's begins.
SELF_SERVICE_ENDS, AZURE_BEGINS = 1, 2
# A request waits for the end of these by itself. The others mean that none is sent.
WAITED_FOR = ("Pause", "Window", "Blackout")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanPolicy:
    """What decides beside what was read: the app's calendar and pause, and how requests of alerts are made."""

    mode: Mode = "report"
    calendar: Calendar = field(default_factory=Calendar)
    paused: bool = False
    alerts: AlertRules = field(default_factory=AlertRules)


@dataclass(frozen=True, slots=True)
class Reading:
    """One scale set as it was read: its instances, or why they may not be read, and what its tags say."""

    summary: ScaleSetSummary
    instances: tuple[Instance, ...] = ()
    denied: str | None = None
    tags: TagPolicy = UNTAGGED


@dataclass(frozen=True, slots=True)
class DueInstance:
    """An instance that may be maintained now; when Azure no longer lets one do it, and when Azure does it itself, as
    far as Azure says."""

    instance_id: str
    self_service_until: datetime | None = None
    azure_begins: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """What a scan says of one scale set. `under_way`: the request that holds its lease. `hindrances`: what keeps
    maintenance from starting now. `requests`: this scan asks for it."""

    summary: ScaleSetSummary
    instances: tuple[DueInstance, ...] = ()
    under_way: Lease | None = None
    hindrances: tuple[Deferral, ...] = ()
    requests: bool = False

    @property
    def self_service_until(self) -> datetime | None:
        """The earliest of its instances'."""
        return min((each.self_service_until for each in self.instances if each.self_service_until), default=None)

    @property
    def azure_begins(self) -> datetime | None:
        return min((each.azure_begins for each in self.instances if each.azure_begins), default=None)


def is_worth_telling(reading: Reading) -> bool:
    """Whether anything may be maintained there, or nobody can say."""
    return reading.denied is not None or any(_is_due(each) for each in reading.instances)


def judge(reading: Reading, entries: Sequence[Entry], policy: ScanPolicy, now: datetime) -> Due | None:
    """What to tell of a scale set, by all entries of the coordination queue; None where nothing is due."""
    if not is_worth_telling(reading):
        return None
    summary, key = reading.summary, reading.summary.scale_set.key
    holder = next((lease for lease in leases_of(entries, key) if now < lease.until), None)
    hindrances = tuple(_hindrances(reading, entries, policy, now))
    due = tuple(_due(each) for each in reading.instances if _is_due(each))
    stopped = any(each.waits_for not in WAITED_FOR for each in hindrances)
    requests = policy.mode == "request" and bool(due) and holder is None and not stopped
    return Due(summary=summary, instances=due, under_way=holder, hindrances=hindrances, requests=requests)


def _hindrances(reading: Reading, entries: Iterable[Entry], policy: ScanPolicy, now: datetime) -> Iterable[Deferral]:
    summary = reading.summary
    if reading.denied is not None:
        yield Deferral("Unreadable", f"Its instances cannot be read: {reading.denied}")
    if reading.tags.problems:
        kind = "Excluded" if EXCLUDED in reading.tags.problems else "Tags"
        yield Deferral(kind, f"Nothing is started on it: {in_words(reading.tags.problems)}.")
    if policy.paused:
        yield Deferral("Pause", "The app is paused (MAINTENANCE_PAUSED).")
    elif (pause := pause_of(entries, summary.scale_set.key)) is not None:
        yield deferral_of(pause)
    if (closed := policy.calendar.narrowed(reading.tags.windows).closed(now)) is not None:
        yield closed
    regions = {normal(region) for region in policy.alerts.regions}
    if policy.mode == "request" and regions and summary.location not in regions:
        yield Deferral("Region", f"MAINTENANCE_ALERT_REGIONS does not name {summary.location}.")


def _is_due(instance: Instance) -> bool:
    return instance.state is InstanceState.ELIGIBLE


def _due(instance: Instance) -> DueInstance:
    window = instance.maintenance.window if instance.maintenance else ()
    return DueInstance(instance.instance_id, _moment(window, SELF_SERVICE_ENDS), _moment(window, AZURE_BEGINS))


def _moment(window: Sequence[str], number: int) -> datetime | None:
    """One of Azure's times; None where it says none, or none that can be read."""
    try:
        moment = datetime.fromisoformat(window[number])
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (IndexError, ValueError, OverflowError):
        return None
