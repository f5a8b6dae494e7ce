"""The Bicep files, and that the checks of them find what they are for."""

from __future__ import annotations

import json
import re

import pytest

from maintenance.arm import error_details
from maintenance.domain.operation import Status
from maintenance.settings import DEFAULT_ENTITIES, read_settings
from tests.infra import bicep, rules
from tests.infra.names import conditional_problems, name_problems, output_reference_problems
from tests.infra.resource_types import property_problems

FILES = bicep.files()
MAIN = FILES["main.bicep"]
APP = FILES["modules/function-app.bicep"]
ENTITIES = FILES["modules/service-bus-entities.bicep"]
STORAGE = FILES["modules/storage.bicep"]
ROLES = FILES["modules/service-bus-roles.bicep"]
MAINTAINER = FILES["modules/maintainer-role.bicep"]
READER = FILES["modules/operations-reader-role.bicep"]
# What the worker calls, and `$expand=instanceView`, which needs a permission of its own.
USED = {
    *(value for name, value in vars(error_details).items() if name.startswith("MAY_")),
    "Microsoft.Compute/virtualMachineScaleSets/virtualMachines/instanceView/read",
    "Microsoft.Compute/virtualMachines/instanceView/read",
}


@pytest.mark.parametrize("name", FILES)
def test_file_is_read_by_both_parsers_and_names_only_known_properties(name: str) -> None:
    assert bicep.syntax_problems(FILES[name]) == []
    assert property_problems(FILES[name]) == []
    assert rules.role_problems(FILES[name]) == []
    assert rules.output_problems(FILES[name]) == []


@pytest.mark.parametrize("name", FILES)
def test_names_are_declared_and_used_and_outputs_exist(name: str) -> None:
    assert name_problems(FILES[name]) == []
    assert output_reference_problems(name, FILES[name]) == []
    assert conditional_problems(FILES[name]) == []


@pytest.mark.parametrize("name", FILES)
def test_every_parameter_is_described_and_used(name: str) -> None:
    text = FILES[name]
    for parameter in re.findall(r"^param (\w+)", text, re.MULTILINE):
        before = text[: text.index(f"\nparam {parameter} ")].rpartition("\n\n")[2]
        assert "@description(" in before, parameter
        assert len(re.findall(rf"\b{parameter}\b", text)) > 1, parameter


def missing_parameters(text: str, folder: str = "") -> list[str]:
    """What calls of modules pass too little or too much."""
    problems = []
    for path, block in re.findall(r"^module \w+ '([\w/.-]+)' = (.*?)^\}", text, re.MULTILINE | re.DOTALL):
        given = set(re.findall(r"^    (\w+):", block, re.MULTILINE))
        wanted = set(bicep.parameters(FILES[f"{folder}/{path}".lstrip("/")]))
        problems += [f"{path}: {name}" for name in sorted(given ^ wanted)]
    return problems


def read_outputs(text: str) -> list[str]:
    return output_reference_problems("main.bicep", text)


@pytest.mark.parametrize("name", FILES)
def test_every_module_call_passes_exactly_the_parameters_of_its_module(name: str) -> None:
    assert missing_parameters(FILES[name], name.rpartition("/")[0]) == []


def test_example_is_read_and_gives_only_parameters_that_exist() -> None:
    text = (bicep.PROJECT / "tests" / "infra" / "example.bicep").read_text()
    assert bicep.syntax_problems(text) == []
    given = set(re.findall(r"^    (\w+):", text, re.MULTILINE))
    assert {"environmentName", "location"} <= given <= set(bicep.parameters(MAIN))


def test_every_parameter_but_two_has_a_default_and_its_variable() -> None:
    without = re.findall(r"^param (\w+) \w+$", MAIN, re.MULTILINE)
    assert without == ["environmentName", "location"]
    given = json.loads((bicep.INFRA / "main.parameters.json").read_text())["parameters"]
    assert set(given) <= set(re.findall(r"^param (\w+)", MAIN, re.MULTILINE))


def test_loops_over_topology_give_the_entities_of_the_file() -> None:
    assert topology_problems(ENTITIES) == []


def topology_problems(text: str) -> list[str]:
    topology = bicep.topology()
    namespace = topology["UserConfig"]["Namespaces"][0]
    found = rules.entities(text, topology)
    expected = {f"queues/{each['Name']}": each for each in namespace["Queues"]}
    for topic in namespace["Topics"]:
        expected[f"topics/{topic['Name']}"] = topic
        for each in topic["Subscriptions"]:
            expected[f"topics/{topic['Name']}/subscriptions/{each['Name']}"] = each
    problems = [f"{path} is missing" for path in expected if path not in found]
    for path, entity in expected.items():
        wanted = {name[0].lower() + name[1:]: value for name, value in entity["Properties"].items() if value != ""}
        if not wanted.get("requiresDuplicateDetection"):
            wanted.pop("duplicateDetectionHistoryTimeWindow", None)
        if path in found and found[path] != wanted:
            problems.append(f"{path} differs")
    return problems


def test_entities_are_those_that_the_worker_uses_by_default() -> None:
    namespace = bicep.topology()["UserConfig"]["Namespaces"][0]
    names = {each["Name"] for kind in ("Queues", "Topics") for each in namespace[kind]}
    assert names == set(DEFAULT_ENTITIES.values())
    # Where a name is a parameter, the entity of that name is the one that gets it.
    assert set(re.findall(r"^      '(maintenance-[a-z]+)': ", MAIN, re.MULTILINE)) == names


def action_problems(*texts: str) -> list[str]:
    allowed = set().union(*(rules.actions(text) for text in texts))
    return [f"{action} is missing" for action in USED - allowed] + [f"{each} is not used" for each in allowed - USED]


def test_roles_allow_exactly_what_the_worker_calls() -> None:
    assert action_problems(MAINTAINER, READER) == []
    assert rules.actions(READER) == {error_details.MAY_READ_OPERATIONS, error_details.MAY_READ_SCALE_SETS}
    assert rules.actions(FILES["modules/queue-reader-role.bicep"]) == {"Microsoft.ServiceBus/namespaces/queues/read"}


def test_service_bus_rights_are_those_of_the_readme() -> None:
    given = re.findall(r"scope: (\w+)\n.*?roleDefinitionId: (\w+)", ROLES, re.DOTALL)
    assert sorted(given) == [
        ("coordinationQueue", "receiver"),
        ("coordinationQueue", "sender"),
        ("eventsTopic", "sender"),
        ("namespace", "queueReaderRoleId"),
        ("operationsQueue", "receiver"),
        ("operationsQueue", "sender"),
        ("requestsQueue", "receiver"),
    ]


def setting_problems(text: str) -> list[str]:
    return [f"{name} is refused by Flex" for name in rules.settings(text) & rules.FORBIDDEN_SETTINGS]


def test_settings_are_accepted_by_the_worker_and_by_flex() -> None:
    names = rules.settings(APP) | rules.settings(MAIN)
    assert setting_problems(APP) == setting_problems(MAIN) == []
    guid = "11111111-1111-4111-8111-111111111111"
    values = dict.fromkeys(names, "") | {
        "ServiceBusConnection__fullyQualifiedNamespace": "ns.servicebus.windows.net",
        "ServiceBusConnection__credential": "managedidentity",
        "ServiceBusConnection__clientId": guid,
        "MAINTENANCE_IDENTITY_CLIENT_ID": guid,
        "MAINTENANCE_ALLOWED_SCOPES": f"/subscriptions/{guid}",
    }
    assert set(values) == names
    assert read_settings(values).identity_client_id == guid


def test_nothing_is_started_until_someone_says_so() -> None:
    assert "param dryRun bool = true" in MAIN
    assert "param alertDryRun bool = true" in MAIN
    assert "param allowedScopes string = ''" in MAIN
    assert "MAINTENANCE_ALLOWED_SCOPES: join(scopePaths, ',')" in MAIN
    given = json.loads((bicep.INFRA / "main.parameters.json").read_text())["parameters"]
    assert given["dryRun"]["value"] == "${MAINTENANCE_DRY_RUN=true}"
    assert given["alertDryRun"]["value"] == "${MAINTENANCE_ALERT_DRY_RUN=true}"


def test_alert_on_failed_requests_looks_for_words_that_the_log_has() -> None:
    assert "loadTextContent('../queries/failed-requests.kql')" in FILES["modules/operators-alerts.bicep"]
    query = (bicep.INFRA / "queries" / "failed-requests.kql").read_text()
    assert f"ended as {Status.FAILED.value} on" in query
    assert f"ended as {Status.TIMED_OUT.value} on" in query


@pytest.mark.parametrize(
    ("text", "before", "after", "check"),
    [
        (ENTITIES, "lockDuration:", "lockDurration:", property_problems),
        (STORAGE, "    networkAcls: {\n      bypass:", "    bypass: {\n      networkAcls:", property_problems),
        (STORAGE, "  location: location\n", "", property_problems),
        (MAIN, "  name: groupName\n", "  name: groupNames\n", name_problems),
        (MAIN, "join(scopePaths, ',')\n      MAINTENANCE_DRY_RUN", "concat2(scopePaths)\n      X", name_problems),
        (MAIN, "    alertClientId: alertClientId\n", "", missing_parameters),
        (MAIN, "storage.outputs.containerUrl", "storage.outputs.containerURL", read_outputs),
        (MAIN, "workspace!.outputs", "workspace.outputs", conditional_problems),
        (APP, "sites@2024-11-01", "sites@2024-11-02", property_problems),
        (MAINTAINER, "          'Microsoft.Compute/virtualMachines/read'\n", "", lambda t: action_problems(t, READER)),
        (ENTITIES, "for queue in topology.Queues", "for queue in []", topology_problems),
        (ENTITIES, "maxDeliveryCount: queue.Properties.MaxDeliveryCount\n", "", topology_problems),
        (APP, "    AzureWebJobsStorage__credential:", "    FUNCTIONS_WORKER_RUNTIME:", setting_problems),
        (APP, "  properties: {", "  properties: ", bicep.syntax_problems),
        (MAIN, "  }\n}\n", "  }\n", bicep.syntax_problems),
        (ROLES, "  scope: operationsQueue\n", "  scope: namespace\n", rules.role_problems),
        (ROLES, "4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0", rules.DATA_ROLES[2], rules.role_problems),
        (MAIN, "string = group.name", "string = listKeys(group.id, '1').key", rules.output_problems),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) and len(value) < 90 else "",
)
def test_check_finds_what_is_broken(text: str, before: str, after: str, check: object) -> None:
    assert callable(check)
    if before in text:
        assert check(text) == []
        assert check(text.replace(before, after, 1))
    else:
        pytest.fail(f"{before!r} is not in the file: choose another text to break")
