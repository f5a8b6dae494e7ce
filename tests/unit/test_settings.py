"""App settings: defaults, valid and invalid values."""

from __future__ import annotations

from datetime import timedelta

import pytest

from maintenance.domain.errors import SettingsError
from maintenance.settings import Settings, read_settings
from tests.support.samples import SCALE_SET, SUBSCRIPTION

NAMESPACE = "ServiceBusConnection__fullyQualifiedNamespace"
CONNECTION_STRING = "Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKeyName=Root;SharedAccessKey=c2VjcmV0"
NEEDED = {NAMESPACE: "ns.servicebus.windows.net", "MAINTENANCE_ALLOWED_SCOPES": f"/subscriptions/{SUBSCRIPTION}"}


def read(**environment: str) -> Settings:
    return read_settings({**NEEDED, **environment})


def problems_of(environment: dict[str, str]) -> dict[str, str]:
    with pytest.raises(SettingsError) as refused:
        read_settings(environment)
    return {problem.field: problem.message for problem in refused.value.problems}


def test_two_settings_are_required_and_others_have_defaults() -> None:
    settings = read()
    assert settings.service_bus.namespace == "ns.servicebus.windows.net"
    assert settings.allows(SCALE_SET)
    assert settings.arm_endpoint == "https://management.azure.com"
    assert settings.token_scope == "https://management.azure.com/.default"
    assert settings.default_deadline == timedelta(hours=6)
    assert (settings.dry_run, settings.allow_whole_scale_set, settings.read_instance_views) == (False, True, True)
    assert (settings.requests_queue, settings.operations_queue) == ("maintenance-requests", "maintenance-operations")


def test_empty_environment_reports_required_settings() -> None:
    assert set(problems_of({})) == {NAMESPACE, "MAINTENANCE_ALLOWED_SCOPES"}


def test_invalid_settings_are_all_reported_at_once() -> None:
    wrong = {
        "AZURE_CLOUD": "AzureGermanCloud",
        "ARM_ENDPOINT": "http://management.azure.com",
        "MAINTENANCE_ALLOWED_SCOPES": f"*, {SUBSCRIPTION}",
        "MAINTENANCE_DEFAULT_DEADLINE": "6h",
        "MAINTENANCE_DRY_RUN": "maybe",
        "MAINTENANCE_POLL_CONCURRENCY": "0",
        "MAINTENANCE_MIN_POLL_INTERVAL": "PT1H",
    }
    problems = problems_of(wrong)
    assert set(problems) == {*wrong, NAMESPACE, "MAINTENANCE_DEFAULT_POLL_INTERVAL"} - {"MAINTENANCE_MIN_POLL_INTERVAL"}


def test_blank_setting_counts_as_missing() -> None:
    assert read(AZURE_CLOUD="  ", MAINTENANCE_DRY_RUN="").arm_endpoint == "https://management.azure.com"
    assert "MAINTENANCE_ALLOWED_SCOPES" in problems_of({**NEEDED, "MAINTENANCE_ALLOWED_SCOPES": " , ; "})


@pytest.mark.parametrize(
    ("cloud", "endpoint", "scope"),
    [
        ("azurecloud", "https://management.azure.com", "https://management.azure.com/.default"),
        (
            "AzureUSGovernment",
            "https://management.usgovcloudapi.net",
            "https://management.core.usgovcloudapi.net/.default",
        ),
        ("AzureChinaCloud", "https://management.chinacloudapi.cn", "https://management.chinacloudapi.cn/.default"),
    ],
)
def test_cloud_has_its_endpoint_and_token_scope(cloud: str, endpoint: str, scope: str) -> None:
    settings = read(AZURE_CLOUD=cloud)
    assert (settings.arm_endpoint, settings.token_scope) == (endpoint, scope)


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("https://arm.example", "https://arm.example"),
        ("https://arm.example/", "https://arm.example"),
        ("https://arm.example:8443", "https://arm.example:8443"),
        ("https://arm.example:443", "https://arm.example"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://127.9.9.9", "http://127.9.9.9"),
        ("http://localhost:80", "http://localhost"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_endpoint_with_https_or_on_loopback_is_accepted(text: str, endpoint: str) -> None:
    assert read(ARM_ENDPOINT=text).arm_endpoint == endpoint


@pytest.mark.parametrize(
    "text",
    [
        "http://management.azure.com",
        "http://10.0.0.1",
        "http://127.0.0.1.evil.example",
        "http://localhost.evil.example",
        "http://0.0.0.0",
        "http://[::ffff:10.0.0.1]",
        "https://user@arm.example",
        "https://arm.example/base",
        "https://arm.example?x=1",
        "https://arm.example#x",
        "https://arm.example:99999",
        "https://[::1",
        "https://",
        "ftp://arm.example",
        "management.azure.com",
    ],
)
def test_endpoint_without_https_or_malformed_is_refused(text: str) -> None:
    assert set(problems_of({**NEEDED, "ARM_ENDPOINT": text})) == {"ARM_ENDPOINT"}


def test_scopes_are_listed_with_any_separator() -> None:
    group = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/web-rg"
    for text in (f"{SUBSCRIPTION},{group}", f"{SUBSCRIPTION};{group}", f"{SUBSCRIPTION}\n{group}"):
        assert [str(scope) for scope in read(MAINTENANCE_ALLOWED_SCOPES=text).allowed_scopes] == [
            f"/subscriptions/{SUBSCRIPTION}",
            group,
        ]


@pytest.mark.parametrize(("text", "on"), [("true", True), ("1", True), ("ON", True), ("false", False), ("No", False)])
def test_switch_accepts_usual_words(text: str, *, on: bool) -> None:
    assert read(MAINTENANCE_DRY_RUN=text).dry_run is on


@pytest.mark.parametrize("text", ["-1", "1.5", "1001", "٣", "many"])
def test_number_out_of_range_is_reported(text: str) -> None:
    assert "MAINTENANCE_POLL_RECEIVERS" in problems_of({**NEEDED, "MAINTENANCE_POLL_RECEIVERS": text})


@pytest.mark.parametrize("name", ["MAINTENANCE_TICK_BUDGET", "MAINTENANCE_DEFAULT_DEADLINE"])
def test_duration_of_zero_is_reported(name: str) -> None:
    assert name in problems_of({**NEEDED, name: "PT0S"})


def test_connection_is_namespace_or_connection_string_but_not_both() -> None:
    local = {**NEEDED, "ServiceBusConnection": CONNECTION_STRING}
    assert set(problems_of(local)) == {"ServiceBusConnection"}
    del local[NAMESPACE]
    assert read_settings(local).service_bus.connection_string == CONNECTION_STRING
    assert set(problems_of({**local, "ServiceBusConnection": "ns.servicebus.windows.net"})) == {"ServiceBusConnection"}


def test_user_assigned_identity_is_set_for_each_service() -> None:
    settings = read(ServiceBusConnection__clientId="bus-id", MAINTENANCE_IDENTITY_CLIENT_ID="arm-id")
    assert (settings.service_bus.client_id, settings.identity_client_id) == ("bus-id", "arm-id")


def test_connection_string_is_in_no_representation() -> None:
    settings = read_settings({"MAINTENANCE_ALLOWED_SCOPES": SUBSCRIPTION, "ServiceBusConnection": CONNECTION_STRING})
    assert "c2VjcmV0" not in repr(settings)
    assert "c2VjcmV0" not in str(problems_of({**NEEDED, "ServiceBusConnection": CONNECTION_STRING}))
