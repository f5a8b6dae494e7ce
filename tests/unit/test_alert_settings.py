"""App settings for alerts: defaults, valid and invalid values."""

from __future__ import annotations

import pytest

from maintenance.alerts.rules import CAREFUL_ROLLOUT, SERVICES, AlertRules
from maintenance.domain.errors import SettingsError
from maintenance.domain.resources import Scope
from maintenance.settings import read_settings
from tests.support.samples import SUBSCRIPTION

NEEDED = {
    "ServiceBusConnection__fullyQualifiedNamespace": "ns.servicebus.windows.net",
    "MAINTENANCE_ALLOWED_SCOPES": SUBSCRIPTION,
}
SCOPES = (Scope(SUBSCRIPTION),)


def read(**settings: str) -> AlertRules:
    return read_settings({**NEEDED, **settings}).alerts


def problems_of(**settings: str) -> dict[str, str]:
    with pytest.raises(SettingsError) as refused:
        read(**settings)
    return {problem.field: problem.message for problem in refused.value.problems}


def test_default_rules_act_on_virtual_machines_with_careful_rollout() -> None:
    assert read() == AlertRules(services=SERVICES, rollout=CAREFUL_ROLLOUT, scopes=SCOPES)


def test_every_alert_setting_is_read() -> None:
    rules = read(
        MAINTENANCE_ALERT_RULES="CPU is high; degraded, host",
        MAINTENANCE_ALERT_SERVICES="Virtual Machines",
        MAINTENANCE_ALERT_SEVERITIES="sev0,Sev4",
        MAINTENANCE_ALERT_REGIONS="West Europe, eastus2",
        MAINTENANCE_ALERT_ROLLOUT='{"maxInstancesPerWave": 2, "pauseBetweenWaves": "PT5M"}',
        MAINTENANCE_ALERT_DRY_RUN="true",
        MAINTENANCE_ALERT_CUSTOM_PROPERTY="true",
    )
    assert rules == AlertRules(
        rules=("CPU is high", "degraded", "host"),
        services=("Virtual Machines",),
        severities=("sev0", "Sev4"),
        regions=("West Europe", "eastus2"),
        rollout={"maxInstancesPerWave": 2, "pauseBetweenWaves": "PT5M"},
        dry_run=True,
        custom_property=True,
        scopes=SCOPES,
    )


@pytest.mark.parametrize("text", ["{}", "null"])
def test_empty_rollout_means_all_instances_at_once(text: str) -> None:
    assert read(MAINTENANCE_ALERT_ROLLOUT=text).rollout == {}


def test_dry_run_of_app_applies_to_alerts() -> None:
    assert read(MAINTENANCE_DRY_RUN="true").dry_run


def test_without_instance_views_default_rollout_is_empty() -> None:
    assert read(MAINTENANCE_READ_INSTANCE_VIEWS="false").rollout == {}


def test_invalid_alert_settings_are_all_reported() -> None:
    wrong = {
        "MAINTENANCE_ALERT_RULES": " , ;",
        "MAINTENANCE_ALERT_SERVICES": ",",
        "MAINTENANCE_ALERT_SEVERITIES": "Sev4, high",
        "MAINTENANCE_ALERT_REGIONS": ";",
        "MAINTENANCE_ALERT_ROLLOUT": '{"maxInstancePerWave": 2}',
        "MAINTENANCE_ALERT_DRY_RUN": "perhaps",
        "MAINTENANCE_ALERT_CUSTOM_PROPERTY": "perhaps",
        "MAINTENANCE_DRY_RUN": "perhaps",
    }
    problems = problems_of(**wrong)
    assert set(problems) == set(wrong)
    assert "did you mean maxInstancesPerWave?" in problems["MAINTENANCE_ALERT_ROLLOUT"]
    assert "high" in problems["MAINTENANCE_ALERT_SEVERITIES"]


@pytest.mark.parametrize("text", ["20%", "[]", '"x"', "{", "[" * 100_000, '{"maxInstancesPerWave": 0}'])
def test_invalid_rollout_is_reported(text: str) -> None:
    assert set(problems_of(MAINTENANCE_ALERT_ROLLOUT=text)) == {"MAINTENANCE_ALERT_ROLLOUT"}
