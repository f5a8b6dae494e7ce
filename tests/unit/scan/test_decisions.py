"""What a scan says of a scale set: what is due, what stands in its way, and whether it asks for it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from maintenance.alerts.rules import AlertRules
from maintenance.coordination.entries import Entry, Lease
from maintenance.coordination.pauses import Pause
from maintenance.domain.calendars import Blackout, Window
from maintenance.domain.instances import Instance, MaintenanceStatus, ScaleSetSummary, Tags
from maintenance.policies.calendar import Calendar
from maintenance.requests.tags import read_tag_policy
from maintenance.scan.decisions import Reading, ScanPolicy, judge
from tests.support.samples import NOW, RUN, SCALE_SET, completed, eligible, in_progress, without_maintenance

SUMMARY = ScaleSetSummary(SCALE_SET, "westeurope")
READING = Reading(SUMMARY, (eligible("0"), completed("1")))
REQUEST = ScanPolicy(mode="request")
HOUR = timedelta(hours=1)
LEASE = Lease(run_id=RUN, request_id="rolling", scale_set=SCALE_SET.key, until=NOW + HOUR, number=3)
PAUSE = Pause(run_id=RUN, scope=SCALE_SET.key, enqueued_at=NOW, order=1, until=NOW + HOUR, reason="incident")
SHUT = Calendar(groups=((Window("0 22 * * *", HOUR),),))
DARK = Calendar(blackouts=(Blackout(NOW - HOUR, NOW + HOUR, "holidays"),))


def scheduled(instance_id: str, *times: str) -> Instance:
    return replace(eligible(instance_id), maintenance=MaintenanceStatus(True, window=times))


def test_nothing_is_told_of_a_scale_set_without_maintenance_that_is_allowed() -> None:
    quiet = (completed("0"), without_maintenance("1"), in_progress("2"), replace(eligible("3"), reported=False))
    assert judge(Reading(SUMMARY, quiet), [], REQUEST, NOW) is None


def test_earliest_of_azures_times_are_told_and_malformed_ones_are_none() -> None:
    first = scheduled("0", "2026-01-01T00:00:00Z", "2026-02-05T00:00:00Z", "2026-02-07T02:00:00+02:00", "")
    second = scheduled("1", "", "2026-02-04T00:00:00", "soon", "")
    due = judge(Reading(SUMMARY, (first, second, scheduled("2"), completed("3"))), [], ScanPolicy(), NOW)
    assert due is not None
    assert [each.instance_id for each in due.instances] == ["0", "1", "2"]
    assert due.self_service_until is not None and due.self_service_until.isoformat() == "2026-02-04T00:00:00+00:00"
    assert due.azure_begins is not None and due.azure_begins.isoformat() == "2026-02-07T00:00:00+00:00"
    assert due.instances[2].self_service_until is None


@pytest.mark.parametrize(
    ("policy", "entries", "hindrances", "requests"),
    [
        (REQUEST, [], [], True),
        (ScanPolicy(mode="report"), [], [], False),
        # What a request waits for by itself.
        (replace(REQUEST, paused=True), [PAUSE], ["Pause"], True),
        (REQUEST, [PAUSE], ["Pause"], True),
        (replace(REQUEST, calendar=SHUT), [], ["Window"], True),
        (replace(REQUEST, calendar=DARK), [], ["Blackout"], True),
        (replace(REQUEST, alerts=AlertRules(regions=("West Europe",))), [], [], True),
        (replace(REQUEST, alerts=AlertRules(regions=("UK South",))), [], ["Region"], False),
        (REQUEST, [LEASE], [], False),
        (REQUEST, [replace(LEASE, scale_set=f"{SCALE_SET.key}2")], [], True),
        (REQUEST, [replace(LEASE, until=NOW)], [], True),
        (REQUEST, [replace(PAUSE, scope=f"{SCALE_SET.key}2")], [], True),
    ],
)
def test_what_stands_in_the_way_is_told_and_decides_whether_it_is_requested(
    policy: ScanPolicy, entries: list[Entry], hindrances: list[str], requests: bool
) -> None:
    due = judge(READING, entries, policy, NOW)
    assert due is not None
    assert [each.waits_for for each in due.hindrances] == hindrances
    assert due.requests is requests
    under_way = any(
        isinstance(each, Lease) and each.scale_set == SCALE_SET.key and each.until > NOW for each in entries
    )
    assert (due.under_way is not None) is under_way


@pytest.mark.parametrize(
    ("tags", "kind"),
    [(Tags(exclude="true"), "Excluded"), (Tags(exclude="true", windows="x"), "Excluded"), (Tags(windows="x"), "Tags")],
)
def test_scale_set_whose_tags_keep_it_out_is_told_and_never_requested(tags: Tags, kind: str) -> None:
    due = judge(replace(READING, tags=read_tag_policy(tags)), [], REQUEST, NOW)
    assert due is not None
    assert ([each.waits_for for each in due.hindrances], due.requests) == ([kind], False)
    assert "tag maintenance-" in due.hindrances[0].message


def test_scale_set_whose_tag_names_windows_is_requested_and_waits_for_them() -> None:
    tags = read_tag_policy(Tags(windows='[{"schedule": "0 22 * * *", "duration": "PT1H"}]'))
    due = judge(replace(READING, tags=tags), [], REQUEST, NOW)
    assert due is not None
    assert ([each.waits_for for each in due.hindrances], due.requests) == (["Window"], True)


def test_scale_set_that_may_not_be_read_is_told_and_never_requested() -> None:
    due = judge(Reading(SUMMARY, denied="AuthorizationFailed: no"), [], REQUEST, NOW)
    assert due is not None
    assert (due.instances, due.requests) == ((), False)
    assert [(each.waits_for, "AuthorizationFailed" in each.message) for each in due.hindrances] == [
        ("Unreadable", True)
    ]
