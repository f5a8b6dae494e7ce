"""Alerts: how payloads are read, and what the rules decide."""

from __future__ import annotations

import base64
import copy
import json
from pathlib import Path
from typing import Any

import pytest

from maintenance.alerts.rules import AlertRules, Decision, Search, decide
from maintenance.alerts.schemas import alert_in, read_alert
from maintenance.domain.errors import InvalidAlert
from maintenance.domain.messages import Envelope
from maintenance.domain.resources import Scope
from maintenance.requests.schema import read_request
from tests.support.alert_payloads import ALERTED, FOLDER, NAMES, TESTS, health, payload, scale_set_id, targeting

NAMED = AlertRules(rules=("restart-on-degraded-host",))


# Rules of an app that lets the custom property stand for a rule.
MARKED = AlertRules(custom_property=True)


def decided(document: dict[str, Any], rules: AlertRules | None = None) -> Decision:
    return decide(read_alert(document), rules or AlertRules())


def problems_of(document: dict[str, Any], rules: AlertRules | None = None) -> dict[str, str]:
    with pytest.raises(InvalidAlert) as refused:
        decided(document, rules)
    return {problem.field: problem.message for problem in refused.value.problems}


def does_nothing(decision: Decision) -> bool:
    return not decision.targets and not decision.searches and bool(decision.reason)


# Alerts that act, and alerts that do not


@pytest.mark.parametrize(
    "name",
    [
        "common_servicehealth_maintenance",
        "common_servicehealth_maintenance_words_and_array",
        "noncommon_activitylog_servicehealth_maintenance",
    ],
)
def test_planned_maintenance_is_searched_in_its_subscription_and_regions(name: str) -> None:
    (search,) = decided(payload(name)).searches
    assert search.subscription_id.lower() == ALERTED
    assert search.regions == ("eastus2", "westeurope")


@pytest.mark.parametrize("name", NAMES)
def test_every_sample_payload_is_read_and_only_few_act(name: str) -> None:
    decision = decided(payload(name), MARKED)
    acts = ("servicehealth_maintenance" in name and "synapse" not in name) or name == "common_metric_scale_set_perform"
    assert does_nothing(decision) is not acts, decision.reason


@pytest.mark.parametrize("name", TESTS)
def test_sample_of_test_action_group_never_acts(name: str) -> None:
    document = payload(name)
    if "essentials" in document.get("data", {}):
        # Even if a rule has the name of the sample, or the sample has a property that would otherwise act.
        document["data"]["customProperties"] = {"maintenance": "perform"}
        document["data"]["essentials"]["monitorCondition"] = "Fired"
    names = ("test-metricAlertRule", "test-activityLogAlertRule", "test-ResourceHealthAlertRule")
    rules = AlertRules(rules=names, custom_property=True)
    decision = decided(document, rules)
    assert decision.test
    assert does_nothing(decision)
    assert "test" in decision.reason


@pytest.mark.parametrize(
    "change",
    [
        {"IsSynthetic": "True"},
        {"IsSynthetic": ..., "isSynthetic": True},
        {"trackingId": "TEST-TTT"},
        {"title": "Test Action Group - Test Service Health Alert"},
        {"title": "TestActionGroup-TestServiceHealthAlert"},
    ],
)
def test_alert_with_one_mark_of_a_test_is_a_test(change: dict[str, Any]) -> None:
    assert decided(health(**change)).test


def test_rule_named_test_is_not_a_test() -> None:
    alert = targeting(scale_set_id(), alertRule="test-cpu", custom={"maintenance": "perform"})
    assert not decided(alert, MARKED).test


@pytest.mark.parametrize("stage", ["Planned", "Active", "InProgress", "Rescheduled", "in progress", "PLANNED"])
def test_event_in_acting_stage_acts(stage: str) -> None:
    assert decided(health(stage=stage)).searches


@pytest.mark.parametrize("stage", ["Canceled", "Resolved", "Complete", "RCA", 7, "Unplanned"])
def test_event_in_other_stage_does_not_act(stage: object) -> None:
    assert does_nothing(decided(health(stage=stage)))


def test_event_without_stage_has_its_status_as_stage() -> None:
    document = health(stage=...)
    assert decided(document).searches
    document["data"]["alertContext"]["status"] = "Resolved"
    assert does_nothing(decided(document))


@pytest.mark.parametrize("condition", ["Resolved", "resolved", None, "", 1, {"a": 1}, "Acknowledged"])
def test_alert_that_is_not_fired_does_not_act(condition: object) -> None:
    assert does_nothing(decided(health(essentials={"monitorCondition": condition})))
    assert decided(health(essentials={"monitorCondition": "fired"})).searches


@pytest.mark.parametrize("kind", ["Incident", "Security", "Informational", "ActionRequired", "Billing"])
def test_other_service_health_event_does_not_act(kind: str) -> None:
    assert kind in decided(health(incidentType=kind)).reason


def test_event_without_incident_type_has_it_from_operation_name() -> None:
    assert decided(health(incidentType=...)).searches


# Impacted services and regions


IMPACTED = [{"ServiceName": "Virtual Machines", "ImpactedRegions": [{"RegionName": "North Europe"}]}]


@pytest.mark.parametrize(
    "value",
    [
        IMPACTED,
        json.dumps(IMPACTED),
        f"  {json.dumps(IMPACTED)}",
        [{"serviceName": "virtual machines", "impactedRegions": [{"regionName": "northeurope"}]}],
        [{"ServiceName": "Virtual Machines", "ImpactedRegions": ["North Europe", None, 3.5e400, {}]}],
        [json.dumps(IMPACTED[0]), None, 7, "Virtual Machines"],
    ],
)
def test_impacted_services_are_read_in_every_form(value: object) -> None:
    (search,) = decided(health(impactedServices=value)).searches
    assert "northeurope" in (search.regions or ())


@pytest.mark.parametrize("value", [..., None, "", "not json", "[{", "[" * 100_000, 7, {}, [], [{}], [[]]])
def test_event_without_impacted_services_uses_service_and_region(value: object) -> None:
    document = health(impactedServices=value, service="Virtual Machines", region="West US 2, UK South; global-ish")
    (search,) = decided(document).searches
    assert search.regions == ("globalish", "uksouth", "westus2")


def test_region_global_means_every_allowed_region() -> None:
    document = health(
        impactedServices=[{"ServiceName": "Virtual Machines", "ImpactedRegions": [{"RegionName": "Global"}]}]
    )
    assert decided(document).searches == (Search(ALERTED, None),)
    assert decided(document, AlertRules(regions=("West Europe",))).searches == (Search(ALERTED, ("westeurope",)),)


def test_regions_of_other_services_are_ignored() -> None:
    (search,) = decided(health(), AlertRules(services=("sql database",))).searches
    assert search.regions == ("japaneast",)


def test_regions_setting_limits_regions() -> None:
    assert decided(health(), AlertRules(regions=("West-Europe", "Japan East"))).searches[0].regions == ("westeurope",)
    assert does_nothing(decided(health(), AlertRules(regions=("Japan East",))))


def test_severities_setting_limits_severities() -> None:
    assert decided(health(), AlertRules(severities=("sev4",))).searches
    assert does_nothing(decided(health(), AlertRules(severities=("Sev0", "Sev1"))))
    assert does_nothing(decided(health(essentials={"severity": None}), AlertRules(severities=("Sev4",))))


def test_incomplete_event_reports_every_missing_field() -> None:
    document = health(essentials={"alertTargetIDs": None}, trackingId=..., impactedServices=..., region=...)
    assert set(problems_of(document)) == {"impactedServices", "alertTargetIDs", "trackingId"}


def test_subscription_named_twice_is_searched_once() -> None:
    other = "22222222-2222-4222-8222-222222222222"
    targets = [f"/subscriptions/{ALERTED}", f"/SUBSCRIPTIONS/{ALERTED.upper()}/", f"/subscriptions/{other}/x", "/x", 7]
    assert [each.subscription_id for each in decided(health(essentials={"alertTargetIDs": targets})).searches] == [
        ALERTED,
        other,
    ]


def test_single_target_without_list_is_read() -> None:
    assert decided(health(essentials={"alertTargetIDs": f"/subscriptions/{ALERTED}"})).searches


@pytest.mark.parametrize(
    "change",
    [
        {"communication": "<p>" * 20_000},
        {"title": "<script>alert(1)</script>" * 50},
        {"title": "\ud800 \x00 \x1b[31m red"},
        {"title": None},
    ],
)
def test_reason_is_one_plain_line(change: dict[str, Any]) -> None:
    decision = decided(health(**change))
    assert decision.searches
    assert len(decision.reason) <= 500
    assert "<" not in decision.reason
    assert decision.reason.isprintable()


@pytest.mark.parametrize("channels", [1, "Admin", "Admin, Operation", None, {"value": "Admin"}])
def test_fields_as_number_or_text_are_read(channels: object) -> None:
    document = health()
    document["data"]["alertContext"].update(channels=channels, level=channels, eventSource=channels)
    del document["data"]["essentials"]["originAlertId"]
    assert decided(document).searches


# Alerts on scale sets themselves


def test_alert_of_named_rule_acts_on_its_scale_sets() -> None:
    (target,) = decided(targeting(scale_set_id()), NAMED).targets
    assert target.scale_set.name == "web"
    assert target.instance_ids is None


def test_rule_named_by_id_acts() -> None:
    rule_id = f"/subscriptions/{ALERTED}/resourceGroups/shop/providers/microsoft.insights/metricAlerts/Other"
    alert = targeting(scale_set_id(), alertRule="other", alertRuleId=rule_id)
    assert decided(alert, AlertRules(rules=(rule_id.upper(),))).targets
    assert does_nothing(decided(alert, NAMED))


@pytest.mark.parametrize("custom", [{"maintenance": "perform"}, {"Maintenance": " PERFORM "}])
def test_alert_with_custom_property_acts_where_a_setting_allows_it(custom: dict[str, str]) -> None:
    alert = targeting(scale_set_id(), custom=custom)
    assert decided(alert, MARKED).targets
    decision = decided(alert)
    assert does_nothing(decision)
    assert "MAINTENANCE_ALERT_CUSTOM_PROPERTY" in decision.reason


@pytest.mark.parametrize(
    "custom", [None, {}, {"maintenance": "yes"}, {"maintenance": True}, {"x": "perform"}, "maintenance", ["perform"], 1]
)
def test_alert_with_other_custom_property_does_not_act(custom: object) -> None:
    assert does_nothing(decided(targeting(scale_set_id(), custom=custom), MARKED))


def test_property_of_activity_log_event_is_not_a_custom_property() -> None:
    document = payload("common_resourcehealth_instance")
    document["data"]["alertContext"]["properties"]["maintenance"] = "perform"
    assert does_nothing(decided(document, MARKED))
    document["data"]["customProperties"] = {"maintenance": "perform"}
    (target,) = decided(document, MARKED).targets
    assert target.instance_ids == ("3",)


def test_custom_properties_of_older_rules_are_read() -> None:
    metric = targeting(scale_set_id())
    metric["data"]["alertContext"]["properties"] = {"maintenance": "perform"}
    assert decided(metric, MARKED).targets
    event = {"resourceId": scale_set_id(), "eventDataId": "e", "subscriptionId": ALERTED, "eventSource": "Policy"}
    older = {
        "schemaId": "microsoft.insights/ACTIVITYLOGS",
        "data": {"status": "Activated", "context": {"activityLog": event}, "properties": {"maintenance": "perform"}},
    }
    assert decided(older, MARKED).targets
    older["data"]["status"] = "Deactivated"  # type: ignore[index]
    assert does_nothing(decided(older, MARKED))


def test_instances_are_grouped_by_scale_set_and_whole_scale_set_wins() -> None:
    web = scale_set_id()
    some = targeting(f"{web}/virtualMachines/3", f"{web.upper()}/VIRTUALMACHINES/0", f"{web}/virtualMachines/3/")
    (target,) = decided(some, NAMED).targets
    assert target.instance_ids == ("3", "0")
    whole = targeting(f"{web}/virtualMachines/3", web.lower(), f"{web}/virtualMachines/0", scale_set_id("api"))
    assert [each.instance_ids for each in decided(whole, NAMED).targets] == [None, None]


def test_other_resources_are_ignored() -> None:
    vm = f"/subscriptions/{ALERTED}/resourceGroups/shop/providers/Microsoft.Compute/virtualMachines/db"
    assert [each.scale_set.name for each in decided(targeting(vm, scale_set_id()), NAMED).targets] == ["web"]
    assert does_nothing(decided(targeting(vm, f"/subscriptions/{ALERTED}", "/", ""), NAMED))


@pytest.mark.parametrize(
    "target",
    [
        f"/subscriptions/{ALERTED}/resourceGroups/../providers/Microsoft.Compute/virtualMachineScaleSets/web",
        "/subscriptions/mine/resourceGroups/shop/providers/Microsoft.Compute/virtualMachineScaleSets/web",
        f"{scale_set_id()}/virtualMachines/..",
        f"{scale_set_id()}/virtualMachines/",
        f"{scale_set_id('we b')}",
        f"https://evil.example{scale_set_id()}",
    ],
)
def test_malformed_scale_set_target_is_reported(target: str) -> None:
    assert set(problems_of(targeting(target, scale_set_id()), NAMED)) == {"alertTargetIDs"}


def test_alert_without_region_does_not_act_if_regions_are_limited() -> None:
    rules = AlertRules(rules=NAMED.rules, regions=("West Europe",))
    assert "region" in decided(targeting(scale_set_id()), rules).reason


# Malformed payloads


@pytest.mark.parametrize(
    ("document", "fields"),
    [
        ({}, {"schemaId", "data"}),
        ({"schemaId": "mine", "data": 1}, {"schemaId", "data"}),
        ({"schemaId": None, "data": {}}, {"schemaId"}),
        ({"schemaId": ["azureMonitorCommonAlertSchema"]}, {"schemaId", "data"}),
        ({"schemaId": "azureMonitorCommonAlertSchema"}, {"data"}),
        ({"schemaId": "azureMonitorCommonAlertSchema", "data": {}}, {"data.essentials"}),
        ({"schemaId": "azureMonitorCommonAlertSchema", "data": {"essentials": []}}, {"data.essentials"}),
        ({"schemaId": "Microsoft.Insights/activityLogs", "data": {"context": None}}, {"data.context"}),
        ({"schemaId": "Microsoft.Insights/activityLogs", "data": {"context": {}}}, {"data.context.activityLog"}),
    ],
)
def test_malformed_alert_is_refused_with_every_problem(document: dict[str, Any], fields: set[str]) -> None:
    assert set(problems_of(document)) == fields


@pytest.mark.parametrize("context", [None, ..., [], "text", 7, {}])
def test_alert_without_context_does_not_act(context: object) -> None:
    document = copy.deepcopy(health())
    if context is ...:
        del document["data"]["alertContext"]
    else:
        document["data"]["alertContext"] = context
    assert does_nothing(decided(document))


def test_alert_is_found_in_event_and_not_in_request() -> None:
    alert = payload()
    assert alert_in({"specversion": "1.0", "type": "alert", "data": alert}) == alert
    assert alert_in({"eventType": "alert", "subject": "x", "data": alert}) == alert
    assert alert_in(alert) == alert
    assert alert_in({"data": alert}) is None
    assert alert_in({"specversion": "1.0", "data": {"resourceId": "x"}}) is None
    assert alert_in({"resourceId": "x"}) is None


# Origins


def test_updates_of_event_in_one_stage_have_one_origin() -> None:
    first = decided(health())
    update = decided(health(essentials={"alertId": "another"}, communicationId="2", title="Reminder"))
    moved = decided(health(stage="Rescheduled"))
    other = decided(health(trackingId="OTHER-1"))
    assert first.origin == update.origin
    assert len({first.origin, moved.origin, other.origin}) == 3


def test_alerts_on_scale_sets_have_origin_by_id() -> None:
    first = decided(targeting(scale_set_id()), NAMED)
    again = decided(targeting(scale_set_id(), description="sent again"), NAMED)
    later = decided(targeting(scale_set_id(), alertId="another"), NAMED)
    assert first.origin == again.origin != later.origin


def test_alerts_without_id_have_origin_by_content() -> None:
    nameless = {"alertId": None, "originAlertId": ...}
    first = decided(targeting(scale_set_id(), **nameless), NAMED)
    again = decided(targeting(scale_set_id(), **nameless), NAMED)
    other = decided(targeting(scale_set_id("api"), **nameless), NAMED)
    assert first.origin == again.origin != other.origin


def test_rule_is_compared_by_ascii_letters_only() -> None:
    alert = targeting(scale_set_id(), alertRule="\u212aube")
    assert does_nothing(decided(alert, AlertRules(rules=("kube",))))
    assert decided(alert, AlertRules(rules=("\u212aUBE",))).targets


# What an alert names beside the allowed scopes


def test_event_for_subscriptions_beside_the_scopes_searches_nothing() -> None:
    strangers = [f"/subscriptions/{number:08d}-4444-4444-8444-444444444444" for number in range(4_500)]
    rules = AlertRules(scopes=(Scope(ALERTED, "shop"),))
    decision = decided(health(essentials={"alertTargetIDs": strangers}), rules)
    assert does_nothing(decision)
    assert (decision.dropped, "4,500 subscriptions" in decision.reason) == (4_500, True)
    mixed = health(essentials={"alertTargetIDs": [*strangers, f"/subscriptions/{ALERTED.upper()}"]})
    decision = decided(mixed, rules)
    assert [search.subscription_id.lower() for search in decision.searches] == [ALERTED]
    assert decision.dropped == 4_500


def test_alert_on_scale_sets_beside_the_scopes_is_cut_to_those_within() -> None:
    rules = AlertRules(rules=NAMED.rules, scopes=(Scope(ALERTED, "Shop"),))
    within, beside = scale_set_id("web", "SHOP"), [scale_set_id(f"web{number}", "other") for number in range(300)]
    decision = decided(targeting(*beside, within), rules)
    assert [target.scale_set.resource_group_name for target in decision.targets] == ["SHOP"]
    assert decision.dropped == 300
    decision = decided(targeting(*beside), rules)
    assert does_nothing(decision)
    assert "MAINTENANCE_ALLOWED_SCOPES" in decision.reason


# Envelopes

ENVELOPED = sorted((FOLDER / "enveloped").glob("*.json"))


@pytest.mark.parametrize("path", ENVELOPED, ids=lambda path: str(path.stem))
def test_alert_in_envelope_is_the_alert(path: Path) -> None:
    event = json.loads(path.read_text())
    text = event.get("data") or event.get("RequestBody") or base64.b64decode(event["data_base64"]).decode()
    assert alert_in(event) == json.loads(text)
    (search,) = decided(json.loads(text)).searches
    assert search.subscription_id == ALERTED


@pytest.mark.parametrize(
    "change",
    [
        {"data": "no alert"},
        {"data": "{"},
        {"data": '{"a": 1}'},
        {"data": "[]"},
        {"data": None},
        {"data_base64": "%%%"},
        {"data_base64": 5},
        {"data_base64": base64.b64encode(b"\xff").decode()},
        {"data_base64": base64.b64encode(b"{}").decode()},
        {},
    ],
)
def test_cloud_event_without_alert_is_none(change: dict[str, Any]) -> None:
    assert alert_in({"specversion": "1.0", "id": "1", "source": "/x", "type": "y", **change}) is None


@pytest.mark.parametrize("text", ["{", "no alert", '{"a": 1}', None, 5])
def test_runbook_data_without_alert_is_none(text: object) -> None:
    assert alert_in({"WebhookName": "Alert1", "RequestBody": text, "RequestHeader": {}}) is None


def test_text_outside_an_event_is_no_alert() -> None:
    assert alert_in({"data": json.dumps(payload())}) is None


@pytest.mark.parametrize("title", ["a\u202eb", "a\u2028b\u2029", "\u2066a", "a\x9bb"])
def test_reason_of_alert_is_one_that_requests_may_have(title: str) -> None:
    reason = decided(health(title=title)).reason
    assert (
        read_request(Envelope(body=b"", message_id="m"), {"resourceId": scale_set_id(), "reason": reason}).reason
        == reason
    )
