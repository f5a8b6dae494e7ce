"""The doctor: what it finds in values, and in a namespace that was made by hand."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from maintenance.coordination.documents import write_entry
from maintenance.coordination.entries import Lease
from maintenance_cli.exits import Code
from maintenance_cli.picture.board import Snapshot
from maintenance_cli.picture.findings import (
    Verdict,
    clock_finding,
    permission_findings,
    queue_findings,
    settings_findings,
    telemetry_findings,
)
from maintenance_cli.picture.messages import Entity, Peeked
from maintenance_cli.picture.properties import RULES, property_findings, wanted_of
from tests.cli.calling import call
from tests.cli.test_pictures import peeked
from tests.support.entities import TOPOLOGY
from tests.support.environment import environment
from tests.support.samples import NOW, SCALE_SET, new_operation

WANTED = wanted_of(json.loads(TOPOLOGY.read_text()))


def test_every_rule_is_of_a_property_that_the_topology_has() -> None:
    for rule in RULES:
        for entity in rule.entities:
            assert rule.name in WANTED[entity]


@pytest.mark.parametrize("entity", sorted({entity for rule in RULES for entity in rule.entities}))
def test_entity_as_deployed_is_sound(entity: str) -> None:
    (found,) = property_findings(entity, entity, WANTED[entity], WANTED[entity])
    assert found.verdict is Verdict.OK


@pytest.mark.parametrize(
    ("entity", "name", "value", "said"),
    [
        ("maintenance-operations", "RequiresDuplicateDetection", False, "is off, and must be on"),
        ("maintenance-operations", "DuplicateDetectionHistoryTimeWindow", "PT10M", "must be at least 1 day"),
        ("maintenance-operations", "DuplicateDetectionHistoryTimeWindow", timedelta(minutes=10), "is 10 minutes"),
        ("maintenance-operations", "LockDuration", "PT1M", "is 1 minute, and must be at least 5 minutes"),
        ("maintenance-operations", "MaxDeliveryCount", 10, "is 10, and must be 30"),
        ("maintenance-operations", "DefaultMessageTimeToLive", "P14D", "is 14 days, and must be at least the longest"),
        ("maintenance-coordination", "EnablePartitioning", True, "is on, and must be off"),
        ("maintenance-requests", "RequiresDuplicateDetection", True, "dropped in silence"),
        ("maintenance-events/maintenance-audit", "DefaultMessageTimeToLive", "P1D", "forgotten sooner"),
    ],
)  # fmt: skip
def test_wrong_property_is_named_with_what_it_breaks(entity: str, name: str, value: object, said: str) -> None:
    (found,) = property_findings(entity, "here", WANTED[entity], {**WANTED[entity], name: value})
    assert (found.verdict, found.text.startswith(f"here: {name} "), said in found.text) == (Verdict.PROBLEM, True, True)


def test_settings_problems_are_all_named() -> None:
    found = list(settings_findings({"MAINTENANCE_DRY_RUN": "perhaps"}, by_option=False))
    assert {each.verdict for each in found} == {Verdict.PROBLEM}
    assert len(found) == 3
    assert [each.verdict for each in settings_findings({}, by_option=True)] == [Verdict.UNKNOWN]


def test_settings_by_which_traces_or_logs_are_lost_are_found() -> None:
    on = {"PYTHON_APPLICATIONINSIGHTS_ENABLE_TELEMETRY": "true"}
    cases: list[tuple[dict[str, str], list[Verdict]]] = [
        ({}, [Verdict.OK]),
        (on, [Verdict.PROBLEM]),
        ({**on, "OTEL_SDK_DISABLED": "true"}, [Verdict.OK]),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, [Verdict.OK]),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_TRACES_SAMPLER": "always_off"}, [Verdict.PROBLEM]),
        ({"PYTHON_ENABLE_OPENTELEMETRY": "true"}, [Verdict.PROBLEM]),
        ({**on, "OTEL_TRACES_SAMPLER": "parentbased_always_on"}, [Verdict.OK]),
        ({**on, "OTEL_TRACES_SAMPLER": "always_on", "AZURE_SDK_TRACING_IMPLEMENTATION": "opentelemetry"},
         [Verdict.NOTE]),
    ]  # fmt: skip
    for settings, verdicts in cases:
        assert [each.verdict for each in telemetry_findings(settings)] == verdicts


def test_clock_that_is_minutes_off_is_a_problem() -> None:
    off = [clock_finding(NOW, NOW + timedelta(seconds=each)).verdict for each in (1, -60, 400)]
    assert off == [Verdict.OK, Verdict.NOTE, Verdict.PROBLEM]
    assert clock_finding(None, NOW).verdict is Verdict.UNKNOWN


def test_overdue_records_leases_without_run_and_dead_letters_are_found() -> None:
    lease = Lease(run_id="f" * 32, request_id="gone", scale_set=SCALE_SET.key, until=NOW + timedelta(hours=1))
    left = Peeked(number=1, message_id=lease.message_id, body=write_entry(lease), due=lease.until)
    late = peeked(new_operation(), due=timedelta(minutes=-9))
    taken = Snapshot((), (late,), (left,), None, NOW)
    found = list(queue_findings(taken, {Entity("q", dead=True): (left,)}))
    assert [each.verdict for each in found] == [Verdict.PROBLEM] * 3
    assert ["req-1" in found[0].text, "web by gone" in found[1].text, "1 of q: " in found[2].text] == [True] * 3
    sound = list(queue_findings(Snapshot((), (), (), None, NOW), {Entity("q", dead=True): ()}))
    assert {each.verdict for each in sound} == {Verdict.OK}


def test_permission_is_read_from_what_roles_allow_and_do_not() -> None:
    action = "Microsoft.Compute/virtualMachineScaleSets/performMaintenance/action"
    cases: list[tuple[list[dict[str, Any]] | None, Verdict]] = [
        (None, Verdict.UNKNOWN),
        ([], Verdict.NOTE),
        ([{"actions": ["*/read"], "notActions": []}], Verdict.NOTE),
        ([{"actions": ["*"], "notActions": []}], Verdict.OK),
        ([{"actions": ["microsoft.compute/*"], "notActions": ["*/performMaintenance/action"]}], Verdict.NOTE),
    ]
    for granted, verdict in cases:
        assert [each.verdict for each in permission_findings("/x", granted, needed=[action])] == [verdict]


async def test_settings_that_reach_nothing_are_the_only_problem_that_is_shown() -> None:
    examined = await call({"ServiceBusConnection": "sb://x"}, "doctor", "-o", "json")
    problems = [each["text"].split(":")[0] for each in examined.document if each["verdict"] == "problem"]
    assert (examined.code, problems) == (Code.ERROR, ["ServiceBusConnection", "MAINTENANCE_ALLOWED_SCOPES"])


async def test_namespace_made_by_hand_is_found_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = json.loads(TOPOLOGY.read_text())
    namespace = document["UserConfig"]["Namespaces"][0]
    queues = {queue["Name"]: queue["Properties"] for queue in namespace["Queues"]}
    queues["maintenance-operations"]["DuplicateDetectionHistoryTimeWindow"] = "PT10M"
    queues["maintenance-coordination"]["RequiresDuplicateDetection"] = False
    namespace["Topics"][0]["Subscriptions"].pop()
    file = tmp_path / "topology.json"
    file.write_text(json.dumps(document))
    with environment(topology=file) as services:
        for name, value in services.identity.environment.items():
            monkeypatch.setenv(name, value)
        examined = await call(services, "doctor", "-o", "json")
    problems = [each["text"] for each in examined.document if each["verdict"] == "problem"]
    assert examined.code is Code.ERROR
    assert [text.split(",")[0] for text in problems] == [
        "there is no maintenance-events/maintenance-audit",
        "maintenance-operations: DuplicateDetectionHistoryTimeWindow is 10 minutes",
        "maintenance-coordination: RequiresDuplicateDetection is off",
    ]


async def test_sound_namespace_has_no_problem_and_one_that_is_away_is_9(monkeypatch: pytest.MonkeyPatch) -> None:
    with environment() as services:
        for name, value in services.identity.environment.items():
            monkeypatch.setenv(name, value)
        settings = services.app_settings()
        examined = await call(settings, "doctor")
        assert (examined.code, "✗" in examined.out) == (Code.AS_WISHED, False), examined.out
        before = [services.bus.counts(queue) for queue in ("maintenance-operations", "maintenance-coordination")]
        assert all(each.empty for each in before)
    away = await call(settings, "doctor")
    assert away.code is Code.UNREACHABLE
