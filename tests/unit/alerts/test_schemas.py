"""What an alert says, and what it leads to."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from maintenance.alerts.rules import AlertRules, Decision, Search, decide
from maintenance.alerts.schemas import alert_in, read_alert
from maintenance.domain.errors import InvalidAlert
from tests.support.alert_payloads import ALERTED, NAMES, TESTS, health, payload, scale_set_id, targeting

NAMED = AlertRules(rules=("restart-on-degraded-host",))


def decided(document: dict[str, Any], rules: AlertRules | None = None) -> Decision:
    return decide(read_alert(document), rules or AlertRules())


def problems_of(document: dict[str, Any], rules: AlertRules | None = None) -> dict[str, str]:
    with pytest.raises(InvalidAlert) as refused:
        decided(document, rules)
    return {problem.field: problem.message for problem in refused.value.problems}


def led_to_nothing(decision: Decision) -> bool:
    return not decision.targets and not decision.searches and bool(decision.reason)


# Which alerts act, which do not


@pytest.mark.parametrize(
    "name",
    [
        "common_servicehealth_maintenance",
        "common_servicehealth_maintenance_words_and_array",
        "noncommon_activitylog_servicehealth_maintenance",
    ],
)
def test_planned_maintenance_of_virtual_machines_is_looked_for_where_it_is_told(name: str) -> None:
    (search,) = decided(payload(name)).searches
    assert search.subscription_id.lower() == ALERTED
    assert search.regions == ("eastus2", "westeurope")


@pytest.mark.parametrize("name", NAMES)
def test_every_known_payload_is_understood_and_few_of_them_act(name: str) -> None:
    decision = decided(payload(name))
    acts = ("servicehealth_maintenance" in name and "synapse" not in name) or name == "common_metric_scale_set_perform"
    assert led_to_nothing(decision) is not acts, decision.reason


@pytest.mark.parametrize("name", TESTS)
def test_samples_of_the_test_action_are_told_apart_and_never_acted_on(name: str) -> None:
    document = payload(name)
    if "essentials" in document.get("data", {}):
        # Even where someone's rule bears the sample's name, or the sample says what would otherwise act.
        document["data"]["customProperties"] = {"maintenance": "perform"}
        document["data"]["essentials"]["monitorCondition"] = "Fired"
    rules = AlertRules(rules=("test-metricAlertRule", "test-activityLogAlertRule", "test-ResourceHealthAlertRule"))
    decision = decided(document, rules)
    assert decision.test
    assert led_to_nothing(decision)
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
def test_one_mark_of_a_test_is_enough(change: dict[str, Any]) -> None:
    assert decided(health(**change)).test


def test_a_rule_of_ones_own_is_no_test_for_its_name_alone() -> None:
    alert = targeting(scale_set_id(), alertRule="test-cpu", custom={"maintenance": "perform"})
    assert not decided(alert).test


@pytest.mark.parametrize("stage", ["Planned", "Active", "InProgress", "Rescheduled", "in progress", "PLANNED"])
def test_stages_that_act(stage: str) -> None:
    assert decided(health(stage=stage)).searches


@pytest.mark.parametrize("stage", ["Canceled", "Resolved", "Complete", "RCA", 7, "Unplanned"])
def test_stages_that_do_not_act(stage: object) -> None:
    assert led_to_nothing(decided(health(stage=stage)))


def test_where_the_stage_is_not_told_the_status_stands_for_it() -> None:
    document = health(stage=...)
    assert decided(document).searches
    document["data"]["alertContext"]["status"] = "Resolved"
    assert led_to_nothing(decided(document))


@pytest.mark.parametrize("condition", ["Resolved", "resolved", None, "", 1, {"a": 1}, "Acknowledged"])
def test_only_fired_alerts_act(condition: object) -> None:
    assert led_to_nothing(decided(health(essentials={"monitorCondition": condition})))
    assert decided(health(essentials={"monitorCondition": "fired"})).searches


@pytest.mark.parametrize("kind", ["Incident", "Security", "Informational", "ActionRequired", "Billing"])
def test_other_events_of_service_health_do_not_act(kind: str) -> None:
    assert kind in decided(health(incidentType=kind)).reason


def test_where_the_incident_type_is_not_told_the_operation_stands_for_it() -> None:
    assert decided(health(incidentType=...)).searches


# What was impacted


IMPACTED = [{"ServiceName": "Virtual Machines", "ImpactedRegions": [{"RegionName": "North Europe"}]}]


@pytest.mark.parametrize(
    "told",
    [
        IMPACTED,
        json.dumps(IMPACTED),
        f"  {json.dumps(IMPACTED)}",
        [{"serviceName": "virtual machines", "impactedRegions": [{"regionName": "northeurope"}]}],
        [{"ServiceName": "Virtual Machines", "ImpactedRegions": ["North Europe", None, 3.5e400, {}]}],
        [json.dumps(IMPACTED[0]), None, 7, "Virtual Machines"],
    ],
)
def test_impacted_services_come_in_many_forms(told: object) -> None:
    (search,) = decided(health(impactedServices=told)).searches
    assert "northeurope" in (search.regions or ())


@pytest.mark.parametrize("told", [..., None, "", "not json", "[{", "[" * 100_000, 7, {}, [], [{}], [[]]])
def test_where_impacted_services_tell_nothing_service_and_region_do(told: object) -> None:
    document = health(impactedServices=told, service="Virtual Machines", region="West US 2, UK South; global-ish")
    (search,) = decided(document).searches
    assert search.regions == ("globalish", "uksouth", "westus2")


def test_global_means_every_region_that_is_allowed() -> None:
    document = health(
        impactedServices=[{"ServiceName": "Virtual Machines", "ImpactedRegions": [{"RegionName": "Global"}]}]
    )
    assert decided(document).searches == (Search(ALERTED, None),)
    assert decided(document, AlertRules(regions=("West Europe",))).searches == (Search(ALERTED, ("westeurope",)),)


def test_regions_of_services_that_are_not_acted_on_are_left_out() -> None:
    (search,) = decided(health(), AlertRules(services=("sql database",))).searches
    assert search.regions == ("japaneast",)


def test_regions_can_be_limited() -> None:
    assert decided(health(), AlertRules(regions=("West-Europe", "Japan East"))).searches[0].regions == ("westeurope",)
    assert led_to_nothing(decided(health(), AlertRules(regions=("Japan East",))))


def test_severities_can_be_limited() -> None:
    assert decided(health(), AlertRules(severities=("sev4",))).searches
    assert led_to_nothing(decided(health(), AlertRules(severities=("Sev0", "Sev1"))))
    assert led_to_nothing(decided(health(essentials={"severity": None}), AlertRules(severities=("Sev4",))))


def test_what_must_be_known_to_act_is_asked_for_all_at_once() -> None:
    document = health(essentials={"alertTargetIDs": None}, trackingId=..., impactedServices=..., region=...)
    assert set(problems_of(document)) == {"impactedServices", "alertTargetIDs", "trackingId"}


def test_each_subscription_is_searched_once_whatever_its_letter_case() -> None:
    other = "22222222-2222-4222-8222-222222222222"
    targets = [f"/subscriptions/{ALERTED}", f"/SUBSCRIPTIONS/{ALERTED.upper()}/", f"/subscriptions/{other}/x", "/x", 7]
    assert [each.subscription_id for each in decided(health(essentials={"alertTargetIDs": targets})).searches] == [
        ALERTED,
        other,
    ]


def test_a_single_target_may_stand_without_its_list() -> None:
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
def test_texts_for_people_become_one_plain_line(change: dict[str, Any]) -> None:
    decision = decided(health(**change))
    assert decision.searches
    assert len(decision.reason) <= 500
    assert "<" not in decision.reason
    assert decision.reason.isprintable()


@pytest.mark.parametrize("channels", [1, "Admin", "Admin, Operation", None, {"value": "Admin"}])
def test_numbers_and_words_for_the_same(channels: object) -> None:
    document = health()
    document["data"]["alertContext"].update(channels=channels, level=channels, eventSource=channels)
    del document["data"]["essentials"]["originAlertId"]
    assert decided(document).searches


# Alerts on scale sets themselves


def test_an_alert_whose_rule_is_named_acts_on_its_scale_sets() -> None:
    (target,) = decided(targeting(scale_set_id()), NAMED).targets
    assert target.scale_set.name == "web"
    assert target.instance_ids is None


def test_a_rule_may_be_named_by_its_id_too() -> None:
    rule_id = f"/subscriptions/{ALERTED}/resourceGroups/shop/providers/microsoft.insights/metricAlerts/Other"
    alert = targeting(scale_set_id(), alertRule="other", alertRuleId=rule_id)
    assert decided(alert, AlertRules(rules=(rule_id.upper(),))).targets
    assert led_to_nothing(decided(alert, NAMED))


@pytest.mark.parametrize("custom", [{"maintenance": "perform"}, {"Maintenance": " PERFORM "}])
def test_an_alert_may_ask_by_custom_property(custom: dict[str, str]) -> None:
    assert decided(targeting(scale_set_id(), custom=custom)).targets


@pytest.mark.parametrize(
    "custom", [None, {}, {"maintenance": "yes"}, {"maintenance": True}, {"x": "perform"}, "maintenance", ["perform"], 1]
)
def test_other_custom_properties_ask_for_nothing(custom: object) -> None:
    assert led_to_nothing(decided(targeting(scale_set_id(), custom=custom)))


def test_what_an_event_of_the_activity_log_says_of_itself_is_no_custom_property() -> None:
    document = payload("common_resourcehealth_instance")
    document["data"]["alertContext"]["properties"]["maintenance"] = "perform"
    assert led_to_nothing(decided(document))
    document["data"]["customProperties"] = {"maintenance": "perform"}
    (target,) = decided(document).targets
    assert target.instance_ids == ("3",)


def test_older_rules_have_their_custom_properties_elsewhere() -> None:
    metric = targeting(scale_set_id())
    metric["data"]["alertContext"]["properties"] = {"maintenance": "perform"}
    assert decided(metric).targets
    event = {"resourceId": scale_set_id(), "eventDataId": "e", "subscriptionId": ALERTED, "eventSource": "Policy"}
    older = {
        "schemaId": "microsoft.insights/ACTIVITYLOGS",
        "data": {"status": "Activated", "context": {"activityLog": event}, "properties": {"maintenance": "perform"}},
    }
    assert decided(older).targets
    older["data"]["status"] = "Deactivated"  # type: ignore[index]
    assert led_to_nothing(decided(older))


def test_instances_of_one_scale_set_come_together_and_a_whole_one_counts_whole() -> None:
    web = scale_set_id()
    some = targeting(f"{web}/virtualMachines/3", f"{web.upper()}/VIRTUALMACHINES/0", f"{web}/virtualMachines/3/")
    (target,) = decided(some, NAMED).targets
    assert target.instance_ids == ("3", "0")
    whole = targeting(f"{web}/virtualMachines/3", web.lower(), f"{web}/virtualMachines/0", scale_set_id("api"))
    assert [each.instance_ids for each in decided(whole, NAMED).targets] == [None, None]


def test_other_resources_are_passed_over() -> None:
    vm = f"/subscriptions/{ALERTED}/resourceGroups/shop/providers/Microsoft.Compute/virtualMachines/db"
    assert [each.scale_set.name for each in decided(targeting(vm, scale_set_id()), NAMED).targets] == ["web"]
    assert led_to_nothing(decided(targeting(vm, f"/subscriptions/{ALERTED}", "/", ""), NAMED))


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
def test_a_target_that_is_nearly_a_scale_set_is_a_problem(target: str) -> None:
    assert set(problems_of(targeting(target, scale_set_id()), NAMED)) == {"alertTargetIDs"}


def test_where_regions_are_limited_alerts_that_tell_none_do_not_act() -> None:
    rules = AlertRules(rules=NAMED.rules, regions=("West Europe",))
    assert "region" in decided(targeting(scale_set_id()), rules).reason


# Payloads that are none


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
def test_what_has_the_form_of_no_alert_is_refused_with_every_problem(
    document: dict[str, Any], fields: set[str]
) -> None:
    assert set(problems_of(document)) == fields


@pytest.mark.parametrize("context", [None, ..., [], "text", 7, {}])
def test_an_alert_without_a_context_leads_to_nothing_or_a_problem(context: object) -> None:
    document = copy.deepcopy(health())
    if context is ...:
        del document["data"]["alertContext"]
    else:
        document["data"]["alertContext"] = context
    assert led_to_nothing(decided(document))


def test_an_alert_in_an_event_is_found_and_a_request_is_no_alert() -> None:
    alert = payload()
    assert alert_in({"specversion": "1.0", "type": "alert", "data": alert}) == alert
    assert alert_in({"eventType": "alert", "subject": "x", "data": alert}) == alert
    assert alert_in(alert) == alert
    assert alert_in({"data": alert}) is None
    assert alert_in({"specversion": "1.0", "data": {"resourceId": "x"}}) is None
    assert alert_in({"resourceId": "x"}) is None


# Once


def test_updates_of_one_event_in_one_stage_have_one_origin() -> None:
    first = decided(health())
    update = decided(health(essentials={"alertId": "another"}, communicationId="2", title="Reminder"))
    moved = decided(health(stage="Rescheduled"))
    other = decided(health(trackingId="OTHER-1"))
    assert first.origin == update.origin
    assert len({first.origin, moved.origin, other.origin}) == 3


def test_alerts_on_scale_sets_are_told_apart_by_their_ids() -> None:
    first = decided(targeting(scale_set_id()), NAMED)
    again = decided(targeting(scale_set_id(), description="sent again"), NAMED)
    later = decided(targeting(scale_set_id(), alertId="another"), NAMED)
    assert first.origin == again.origin != later.origin


def test_alerts_without_an_id_are_told_apart_by_what_they_say() -> None:
    nameless = {"alertId": None, "originAlertId": ...}
    first = decided(targeting(scale_set_id(), **nameless), NAMED)
    again = decided(targeting(scale_set_id(), **nameless), NAMED)
    other = decided(targeting(scale_set_id("api"), **nameless), NAMED)
    assert first.origin == again.origin != other.origin
