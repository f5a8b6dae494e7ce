"""App settings: defaults, valid and invalid values."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from maintenance.domain.calendars import Window
from maintenance.domain.errors import SettingsError
from maintenance.policies.limits import Limits
from maintenance.settings import (
    DEAD_LETTER_SCHEDULE,
    FUNCTION_TIMEOUT,
    POLL_SCHEDULE,
    SCAN_SCHEDULE,
    Settings,
    read_settings,
)
from tests.support.samples import OTHER_SUBSCRIPTION, SCALE_SET, SUBSCRIPTION

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
    settings = read(ServiceBusConnection__clientId=SUBSCRIPTION, MAINTENANCE_IDENTITY_CLIENT_ID=OTHER_SUBSCRIPTION)
    assert (settings.service_bus.client_id, settings.identity_client_id) == (SUBSCRIPTION, OTHER_SUBSCRIPTION)


def test_connection_string_is_in_no_representation() -> None:
    settings = read_settings({"MAINTENANCE_ALLOWED_SCOPES": SUBSCRIPTION, "ServiceBusConnection": CONNECTION_STRING})
    assert "c2VjcmV0" not in repr(settings)
    assert "c2VjcmV0" not in str(problems_of({**NEEDED, "ServiceBusConnection": CONNECTION_STRING}))


# What is misspelt, or nearly right

ROOT = Path(__file__).parents[2]
SETTINGS_PAGE = ROOT / "docs" / "settings.md"
KEY = "7Fh2kLq9Zx0Vb3Nm8Ty6Rw1Ep4Sd5Ga+Jc/Uo7QrE="
LOCAL = {"MAINTENANCE_ALLOWED_SCOPES": SUBSCRIPTION}


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("MAINTENANCE_DRYRUN", "MAINTENANCE_DRY_RUN"),
        ("MAINTENANCE_DRY_RUNS", "MAINTENANCE_DRY_RUN"),
        ("MAINTENANCE_ALERT_DRYRUN", "MAINTENANCE_ALERT_DRY_RUN"),
        ("maintenance_dry_run", "MAINTENANCE_DRY_RUN"),
        ("MAINTENANCE_ALLOWED_SCOPE", "MAINTENANCE_ALLOWED_SCOPES"),
        ("MAINTENANCE_POLL_INTERVAL_MIN", None),
        ("MAINTENANCE_REQUEST_QUEUE", "REQUESTS_QUEUE"),
        ("MAINTENANCE_", None),
        ("ARM_ENDPOINTS", "ARM_ENDPOINT"),
        ("ARM_SCOPE", "ARM_TOKEN_SCOPE"),
        ("ARM_CLIENT_SECRET", None),
        ("ServiceBusConnection__fullyQualifedNamespace", "ServiceBusConnection__fullyQualifiedNamespace"),
        ("ServiceBusConnection__client_id", "ServiceBusConnection__clientId"),
    ],
)
def test_unknown_setting_is_refused_with_the_one_that_was_meant(name: str, meant: str | None) -> None:
    problems = problems_of({**NEEDED, name: "true"})
    assert set(problems) == {name}
    assert "is not a setting of this app" in problems[name]
    assert meant is None or f"did you mean {meant}?" in problems[name]


def test_settings_of_others_and_blank_ones_are_none_of_ours() -> None:
    assert read(AZURE_CLIENT_ID="x", FUNCTIONS_WORKER_RUNTIME="python", MAINTENANCEX="1", ARMOUR="x", MAINTENANCE_X=" ")
    # Windows gives names in capitals, and the host reads these without regard to case.
    capitals = {"SERVICEBUSCONNECTION__FULLYQUALIFIEDNAMESPACE": "ns.servicebus.windows.net", **LOCAL}
    assert read_settings(capitals).service_bus.namespace == "ns.servicebus.windows.net"


def test_every_documented_setting_is_known() -> None:
    documented = set(re.findall(r"`((?:MAINTENANCE|ARM)_[A-Z_]+)`", SETTINGS_PAGE.read_text()))
    assert len(documented) > 20
    with pytest.raises(SettingsError) as refused:
        read(**dict.fromkeys(documented, "?"))
    assert not [each for each in refused.value.problems if "is not a setting" in each.message]


@pytest.mark.parametrize(
    "text",
    [
        "https://ns.servicebus.windows.net:443/",
        "https://ns.servicebus.windows.net",
        "sb://ns.servicebus.windows.net/",
        "amqps://ns.servicebus.windows.net:5671",
        "NS.servicebus.windows.net",
        "ns.servicebus.windows.net:443",
        " ns.servicebus.windows.net ",
    ],
)
def test_namespace_is_understood_as_portal_and_bicep_give_it(text: str) -> None:
    assert read(**{NAMESPACE: text}).service_bus.namespace == "ns.servicebus.windows.net"


@pytest.mark.parametrize(
    "text",
    [
        "ns",
        f"Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKeyName=a;SharedAccessKey={KEY}",
        f"SharedAccessKey={KEY}",
        f"https://user:{KEY}@ns.servicebus.windows.net/",
        "https://ns.servicebus.windows.net/queue",
        "https://ns.servicebus.windows.net:8080",
        "http://ns.servicebus.windows.net",
        "ns.servicebus.windows.net,other.servicebus.windows.net",
        "ns servicebus.windows.net",
        "/subscriptions/x/resourceGroups/y/providers/Microsoft.ServiceBus/namespaces/ns",
        "<your-namespace>.servicebus.windows.net",
        "ns..servicebus.windows.net",
        "https://[::1",
    ],
)
def test_namespace_that_is_none_is_refused(text: str) -> None:
    problems = problems_of({**NEEDED, NAMESPACE: text})
    assert set(problems) == {NAMESPACE}
    assert "host name" in problems[NAMESPACE]


CONNECTION_STRINGS = {
    "one of a queue": (f"{CONNECTION_STRING};EntityPath=q", "EntityPath"),
    "no key": ("Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKeyName=Root", "the key"),
    "an empty key": ("Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKeyName=Root;SharedAccessKey=", "the key"),
    "no name of a key": (f"Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKey={KEY}", "the key"),
    "no value": (f"Endpoint=sb://ns.servicebus.windows.net/;{KEY[:-1].replace('=', '')}", "Name=Value"),
    "commas": (CONNECTION_STRING.replace(";", ","), "endpoint"),
    "another scheme": (CONNECTION_STRING.replace("sb://", "https://"), "sb://"),
    "no host": (CONNECTION_STRING.replace("ns.servicebus.windows.net", ""), "sb://"),
    "quotes": (f'"{CONNECTION_STRING}"', "Endpoint="),
    "a key twice": (f"{CONNECTION_STRING};SharedAccessKey={KEY}", "once"),
    "a storage account": (f"DefaultEndpointsProtocol=https;AccountName=x;AccountKey={KEY}", "Endpoint="),
    "a host name": ("ns.servicebus.windows.net", "fullyQualifiedNamespace"),
}


@pytest.mark.parametrize(("text", "told"), CONNECTION_STRINGS.values(), ids=CONNECTION_STRINGS.keys())
def test_malformed_connection_string_is_refused_and_not_repeated(text: str, told: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read_settings({**LOCAL, "ServiceBusConnection": text})
    (problem,) = refused.value.problems
    assert (problem.field, problem.value) == ("ServiceBusConnection", None)
    assert told in problem.message
    assert "c2VjcmV0" not in str(refused.value)
    assert KEY[:8] not in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        CONNECTION_STRING,
        f"{CONNECTION_STRING};",
        "Endpoint=sb://127.0.0.1:5672;SharedAccessKeyName=a;SharedAccessKey=SAS_KEY_VALUE;UseDevelopmentEmulator=true;",
        "Endpoint=sb://ns.servicebus.windows.net/;SharedAccessSignature=SharedAccessSignature sr=x&sig=y%3d&se=1&skn=a",
        f"{CONNECTION_STRING};TransportType=AmqpWebSockets",
    ],
)
def test_connection_string_of_a_namespace_is_taken(text: str) -> None:
    assert read_settings({**LOCAL, "ServiceBusConnection": text}).service_bus.connection_string == text


@pytest.mark.parametrize("text", ["*/30 * * * * *", "0 */5 * * * *", "0,30 0-10/2 1 1 JAN-Mar Mon-FRI", "0 0 0 1 1 0"])
def test_schedule_of_six_fields_is_taken(text: str) -> None:
    assert read(POLL_SCHEDULE=text, DEAD_LETTER_SCHEDULE=text)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "*/30 * * * *",
            "often",
            "00:00:30",
            "PT30S",
            "* * * * * * *",
            "60 * * * * *",
            "* * 24 * * *",
            "*/0 * * * * *",
        ),
        *("* * * 0 * *", "* * * * 13 *", "* * * * * 7", "* * * * FOO *", "a b c d e f", "-1 * * * * *", "1- * * * * *"),
        *("JAN * * * * *", "? * * * * *", "*,* ,* * * *", "%POLL%"),
    ],
)
def test_schedule_that_the_host_does_not_take_is_refused(text: str) -> None:
    for name in ("POLL_SCHEDULE", "DEAD_LETTER_SCHEDULE", "SCAN_SCHEDULE"):
        assert set(problems_of({**NEEDED, name: text})) == {name}


def test_default_schedules_are_valid() -> None:
    assert read(POLL_SCHEDULE=POLL_SCHEDULE, DEAD_LETTER_SCHEDULE=DEAD_LETTER_SCHEDULE, SCAN_SCHEDULE=SCAN_SCHEDULE)


def test_scan_reports_by_default_and_needs_instance_views() -> None:
    assert read().scan_mode == "report"
    assert read(MAINTENANCE_SCAN="Request").scan_mode == "request"
    assert read(MAINTENANCE_READ_INSTANCE_VIEWS="false").scan_mode == "off"
    without_views = {**NEEDED, "MAINTENANCE_READ_INSTANCE_VIEWS": "false"}
    assert set(problems_of({**without_views, "MAINTENANCE_SCAN": "report"})) == {"MAINTENANCE_SCAN"}
    assert set(problems_of({**NEEDED, "MAINTENANCE_SCAN": "daily"})) == {"MAINTENANCE_SCAN"}


def test_tags_are_read_where_the_app_says_so_and_reads_views() -> None:
    assert read().rules.tags is False
    assert read(MAINTENANCE_TAGS="true").rules.tags is True
    without_views = {**NEEDED, "MAINTENANCE_READ_INSTANCE_VIEWS": "false"}
    assert set(problems_of({**without_views, "MAINTENANCE_TAGS": "true"})) == {"MAINTENANCE_TAGS"}
    assert read_settings({**without_views, "MAINTENANCE_TAGS": "false"}).tags is False


def test_tick_budget_is_bounded_by_the_function_timeout_of_the_host() -> None:
    hours, minutes, seconds = map(int, json.loads((ROOT / "host.json").read_text())["functionTimeout"].split(":"))
    assert timedelta(hours=hours, minutes=minutes, seconds=seconds) == FUNCTION_TIMEOUT
    for text in ("PT30M", "PT10M", "PT8M1S"):
        assert "functionTimeout" in problems_of({**NEEDED, "MAINTENANCE_TICK_BUDGET": text})["MAINTENANCE_TICK_BUDGET"]
    assert read(MAINTENANCE_TICK_BUDGET="PT8M").tick_budget < FUNCTION_TIMEOUT


def test_entities_are_told_apart() -> None:
    assert set(problems_of({**NEEDED, "REQUESTS_QUEUE": "q", "OPERATIONS_QUEUE": "Q"})) == {"OPERATIONS_QUEUE"}
    assert set(problems_of({**NEEDED, "EVENTS_TOPIC": "maintenance-requests"})) == {"EVENTS_TOPIC"}
    assert set(problems_of({**NEEDED, "COORDINATION_QUEUE": "maintenance-operations"})) == {"COORDINATION_QUEUE"}
    for text in ("a b", "/q", "q/", "q?x", "größe", "x" * 261, "%QUEUE%"):
        assert set(problems_of({**NEEDED, "REQUESTS_QUEUE": text})) == {"REQUESTS_QUEUE"}


@pytest.mark.parametrize("name", ["MAINTENANCE_IDENTITY_CLIENT_ID", "ServiceBusConnection__clientId"])
@pytest.mark.parametrize("text", ["/subscriptions/x/userAssignedIdentities/y", "my-identity", "system", f"abc8Q~{KEY}"])
def test_client_id_is_a_guid(name: str, text: str) -> None:
    assert set(problems_of({**NEEDED, name: text})) == {name}


def test_credential_of_the_connection_is_a_managed_identity() -> None:
    assert read(ServiceBusConnection__credential="managedIdentity")
    assert problems_of({**NEEDED, "ServiceBusConnection__credential": "clientsecret"})


@pytest.mark.parametrize(
    "text", ["management.azure.com/.default", "https://u:p@x/.default", "https://x y/", "https://"]
)
def test_token_scope_is_a_url(text: str) -> None:
    assert set(problems_of({**NEEDED, "ARM_TOKEN_SCOPE": text})) == {"ARM_TOKEN_SCOPE"}


def test_token_endpoint_left_as_in_the_example_is_refused() -> None:
    example = json.loads((ROOT / "local.settings.example.json").read_text())["Values"]
    problems = problems_of({**NEEDED, "IDENTITY_ENDPOINT": example["IDENTITY_ENDPOINT"]})
    assert set(problems) == {"IDENTITY_ENDPOINT"}
    assert read(IDENTITY_ENDPOINT="http://127.0.0.1:41234/msi/token", IDENTITY_HEADER=KEY)


SECRETS = [
    f"https://user:{KEY}@management.azure.com",
    f"user:{KEY}@management.azure.com",
    f"https://management.azure.com/?sig={KEY}",
    KEY,
    f"Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKeyName=a;SharedAccessKey={KEY}",
    f"password: {KEY}",
    f'{{"password": "{KEY}"}}',
]


@pytest.mark.parametrize("text", SECRETS)
def test_no_secret_is_repeated_wherever_it_was_put(text: str) -> None:
    for name in [*read_names(), "MAINTENANCE_KEY", "ARM_KEY"]:
        try:
            read_settings({**LOCAL, NAMESPACE: "ns.servicebus.windows.net", name: text})
        except SettingsError as error:
            assert KEY[:8] not in str(error), name


def read_names() -> list[str]:
    documented = re.findall(r"`((?:MAINTENANCE|ARM|AZURE|POLL|REQUESTS)_[A-Z_]+)`", SETTINGS_PAGE.read_text())
    return [*documented, NAMESPACE, "ServiceBusConnection", "ServiceBusConnection__clientId", "IDENTITY_ENDPOINT"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("MAINTENANCE_DEFAULT_DEADLINE", "P36D"),
        ("MAINTENANCE_RECEIVE_WAIT", "PT5M"),
        ("IDENTITY_ENDPOINT", "http://user:hunter2@127.0.0.1:1/msi"),
        ("IDENTITY_HEADER", "copy this from what it prints"),
    ],
)
def test_value_that_cannot_work_is_refused(name: str, text: str) -> None:
    identity = {"IDENTITY_ENDPOINT": "http://127.0.0.1:1/msi", "IDENTITY_HEADER": "A1B2"}
    assert set(problems_of({**NEEDED, **identity, name: text})) == {name}


@pytest.mark.parametrize(
    ("given", "missing"), [("IDENTITY_ENDPOINT", "IDENTITY_HEADER"), ("IDENTITY_HEADER", "IDENTITY_ENDPOINT")]
)
def test_half_of_the_token_endpoint_is_refused(given: str, missing: str) -> None:
    problems = problems_of({**NEEDED, given: "http://127.0.0.1:1/msi"})
    assert set(problems) == {missing}
    assert "together" in problems[missing]


@pytest.mark.parametrize("part", ["SharedAccessKey=<key>", "SharedAccessKey={key}"])
def test_connection_string_left_as_in_an_example_is_refused(part: str) -> None:
    text = f"Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKeyName=a;{part}"
    needed = {name: value for name, value in NEEDED.items() if name != NAMESPACE}
    assert set(problems_of({**needed, "ServiceBusConnection": text})) == {"ServiceBusConnection"}


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("REQUEST_QUEUE", "REQUESTS_QUEUE"),
        ("EVENT_TOPIC", "EVENTS_TOPIC"),
        ("POLL_SCHEDULES", "POLL_SCHEDULE"),
        ("MAINTENANCE-DRY-RUN", "MAINTENANCE_DRY_RUN"),
        ("Maintenance:DryRun", "MAINTENANCE_DRY_RUN"),
    ],
)
def test_name_that_is_nearly_one_of_ours_is_refused_with_the_one_that_was_meant(name: str, meant: str) -> None:
    problems = problems_of({**NEEDED, name: "x"})
    assert set(problems) == {name}
    assert problems[name].endswith(f"did you mean {meant}?")


@pytest.mark.parametrize("name", ["JOB_QUEUE", "WEBSITE_TIME_SCHEDULE", "SBCC_TOPIC", "QUEUE_NAME"])
def test_name_of_others_that_ends_like_ours_is_none_of_ours(name: str) -> None:
    read(**{name: "x"})


def test_windows_blackouts_pause_and_limits_are_read() -> None:
    settings = read(
        MAINTENANCE_WINDOWS='[{"schedule": "0 22 * * sat", "duration": "PT6H", "timeZone": "Europe/Berlin"}]',
        MAINTENANCE_BLACKOUTS='[{"date": "2026-12-24", "timeZone": "Europe/Berlin", "reason": "eve"}, '
        '{"start": "2026-12-31T12:00:00", "end": "2027-01-02"}]',
        MAINTENANCE_PAUSED="true",
        MAINTENANCE_LIMITS='{"scaleSets": 2, "instances": 50, "per": "region", "instancesPerScaleSet": "20%"}',
    )
    ((window,),) = settings.calendar.groups
    assert window == Window("0 22 * * SAT", timedelta(hours=6), "Europe/Berlin")
    eve, year = settings.calendar.blackouts
    assert (eve.start, eve.end) == (datetime(2026, 12, 23, 23, tzinfo=UTC), datetime(2026, 12, 24, 23, tzinfo=UTC))
    assert eve.reason == "eve"
    assert (year.start, year.end) == (datetime(2026, 12, 31, 12, tzinfo=UTC), datetime(2027, 1, 3, tzinfo=UTC))
    assert settings.rules.paused
    assert settings.rules.limits == Limits(scale_sets=2, instances=50, per="region", instances_per_scale_set="20%")


@pytest.mark.parametrize(
    ("name", "text", "rule"),
    [
        ("MAINTENANCE_WINDOWS", "Saturday", "must be a JSON list"),
        ("MAINTENANCE_WINDOWS", '[{"schedule": "0 22 * * SAT"}]', "windows.0.duration"),
        ("MAINTENANCE_WINDOWS", '[{"schedule": "0 25 * * *", "duration": "PT1H"}]', "windows.0.schedule"),
        ("MAINTENANCE_WINDOWS", '[{"schedule": "0 1 * * *", "duration": "PT1H", "timeZone": "CET/X"}]', "IANA"),
        ("MAINTENANCE_BLACKOUTS", "2026-12-24", "must be a JSON list"),
        ("MAINTENANCE_BLACKOUTS", '[{"date": "24.12.2026"}]', "must be a date"),
        ("MAINTENANCE_BLACKOUTS", '[{"start": "2026-12-24"}]', "`start` and `end`"),
        ("MAINTENANCE_BLACKOUTS", '[{"start": "2026-12-24", "end": "2026-12-23"}]', "after `start`"),
        ("MAINTENANCE_BLACKOUTS", '[{"date": "2026-12-24", "timeZone": "Berlin"}]', "IANA"),
        ("MAINTENANCE_BLACKOUTS", '[{"date": "2026-12-24", "until": "x"}]', "may have"),
        ("MAINTENANCE_PAUSED", "perhaps", "true or false"),
        ("MAINTENANCE_LIMITS", "2", "must be a JSON object"),
        ("MAINTENANCE_LIMITS", '{"per": "app"}', "must be a JSON object"),
        ("MAINTENANCE_LIMITS", '{"scaleSets": 0, "sets": 1, "per": "zone"}', "sets is none of"),
        ("MAINTENANCE_LIMITS", '{"instancesPerScaleSet": "0%"}', "a share"),
    ],
)
def test_invalid_policy_stops_the_app_with_its_name(name: str, text: str, rule: str) -> None:
    problems = problems_of({**NEEDED, name: text})
    assert problems.keys() == {name}
    assert rule in problems[name]


def test_limit_that_counts_instances_needs_their_views() -> None:
    limits = {"MAINTENANCE_LIMITS": '{"instancesPerScaleSet": 2}', "MAINTENANCE_READ_INSTANCE_VIEWS": "false"}
    assert "needs instance views" in problems_of({**NEEDED, **limits})["MAINTENANCE_LIMITS"]
