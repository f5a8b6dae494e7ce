"""The hooks of azd, against an Azure CLI that answers from a table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from infra.hooks import post_deploy, post_down, post_provision, pre_provision, rights
from infra.hooks.azure_cli import AzureCliError
from tests.infra import bicep, rules

SUBSCRIPTION = "11111111-1111-4111-8111-111111111111"
ENVIRONMENT = {
    "AZURE_ENV_NAME": "dev",
    "AZURE_SUBSCRIPTION_ID": SUBSCRIPTION,
    "AZURE_RESOURCE_GROUP": "rg-dev",
    "AZURE_FUNCTION_NAME": "func-x",
    "AZURE_LOCATION": "westeurope",
    "MAINTENANCE_ALLOWED_SCOPES": f"/subscriptions/{SUBSCRIPTION}/resourceGroups/shop",
    "WORKER_ALLOWED_SCOPES": f"/subscriptions/{SUBSCRIPTION}/resourceGroups/shop",
    "WORKER_HOST_PRINCIPAL_ID": "host",
    "WORKER_MAINTAINER_PRINCIPAL_ID": "maintainer",
    "WORKER_SERVICE_BUS_ID": f"/subscriptions/{SUBSCRIPTION}/bus",
    "WORKER_SERVICE_BUS_HOST_NAME": "ns.servicebus.windows.net",
    "WORKER_STORAGE_ID": "/storage",
    "WORKER_APPLICATION_INSIGHTS_ID": "/insights",
}


@pytest.mark.parametrize("scopes", ["", "everything", f"{SUBSCRIPTION} {SUBSCRIPTION}"])
def test_scopes_that_are_missing_or_invalid_stop_provisioning(scopes: str) -> None:
    assert pre_provision.problems({"MAINTENANCE_ALLOWED_SCOPES": scopes})


def test_valid_scopes_let_provisioning_go_on() -> None:
    assert pre_provision.problems(ENVIRONMENT) == []


def test_administrator_gets_every_role_per_entity() -> None:
    commands = post_provision.administrator_commands(ENVIRONMENT)
    assert len(commands) == len(set(commands))
    defined = [each for each in commands if each.startswith("az role definition create ")]
    assigned = [each for each in commands if each.startswith("az role assignment create ")]
    assert (len(defined), len(assigned)) == (3, 12)
    assert commands == defined + assigned
    data = [command for command in assigned if "Service Bus Data" in command]
    assert len(data) == 6
    assert all("/queues/" in command or "/topics/" in command for command in data)


def test_role_that_an_administrator_defines_is_that_of_the_template() -> None:
    for module in ("maintainer-role.bicep", "operations-reader-role.bicep", "queue-reader-role.bicep"):
        role = json.loads(rights.role_definition(module, "x", SUBSCRIPTION))
        assert set(role["Actions"]) == rules.actions(bicep.files()[f"modules/{module}"])
        assert role["Description"] != "x"
        assert role["AssignableScopes"] == [f"/subscriptions/{SUBSCRIPTION}"]


def test_administrator_defines_no_role_that_exists_and_none_to_list_where_that_is_off() -> None:
    given = {"WORKER_MAINTAINER_ROLE_ID": "/roles/ours", "WORKER_LIST_SCALE_SETS": "false"}
    commands = post_provision.administrator_commands(ENVIRONMENT | given)
    text = "\n".join(commands)
    assert "performMaintenance" not in text
    assert (
        '--role "/roles/ours" --scope "/subscriptions/11111111-1111-4111-8111-111111111111/resourceGroups/shop"' in text
    )
    assert "virtualMachineScaleSets/read" not in text


def test_commands_for_an_administrator_are_printed_and_nothing_is_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WORKER_ASSIGN_ROLES", "false")
    az = RecordedAz()
    assert post_provision.main(az, lambda *_: None) == 0
    assert "az role definition create" in capsys.readouterr().out
    assert az.done == []


class RecordedAz:
    """Answers `list` commands with given values and records the others."""

    def __init__(self, **answers: list[dict[str, Any]]) -> None:
        self.answers = answers
        self.done: list[tuple[str, ...]] = []

    def __call__(self, *arguments: str) -> object:
        if "list" in arguments:
            return self.answers.get("_".join(arguments[: arguments.index("list")]), [])
        self.done.append(arguments)
        return None


def test_missing_function_is_named_after_ten_looks() -> None:
    az = RecordedAz(functionapp_function=[{"name": f"func-x/{name}"} for name in post_deploy.FUNCTIONS[1:]])
    pauses: list[float] = []
    assert post_deploy.missing_functions(ENVIRONMENT, az, pauses.append) == [post_deploy.FUNCTIONS[0]]
    assert len(pauses) == post_deploy.ATTEMPTS - 1


def test_functions_that_the_hook_expects_are_those_of_the_app() -> None:
    app = (bicep.PROJECT / "function_app.py").read_text()
    assert {each.split('"')[0] for each in app.split('@app.function_name("')[1:]} == set(post_deploy.FUNCTIONS)


def test_deployment_of_service_health_has_a_name_for_each_region_and_no_longer_than_allowed() -> None:
    names = {post_deploy.deployment_name("e" * 64, region) for region in ("westeurope", "northeurope")}
    assert len(names) == 2
    assert max(len(name) for name in names) <= 64


def test_service_health_is_wired_without_a_key_in_the_command() -> None:
    az = RecordedAz()
    post_deploy.wire_service_health(ENVIRONMENT, az)
    (command,) = az.done
    assert "functionAppName=func-x" in command
    assert not [argument for argument in command if "code=" in argument or "key" in argument.lower()]


def test_operators_checks_run_where_they_are_installed_and_stop_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    program = tmp_path / "checks"
    program.write_text('#!/bin/sh\necho "checked $*"\nexit 1\n')
    program.chmod(0o755)
    az = RecordedAz(functionapp_function=[{"name": f"func-x/{name}"} for name in post_deploy.FUNCTIONS])
    assert post_deploy.main(az, lambda _: None, lambda: str(program)) == 0
    assert "checked doctor --namespace ns.servicebus.windows.net" in capsys.readouterr().out
    # One that cannot be run at all.
    assert post_deploy.main(az, lambda _: None, lambda: str(tmp_path)) == 1
    assert "did not run to its end" in capsys.readouterr().out
    assert post_deploy.main(az, lambda _: None, lambda: None) == 0
    assert "checked" not in capsys.readouterr().out


def test_down_removes_only_what_carries_the_mark() -> None:
    mark = rights.owner(ENVIRONMENT)
    az = RecordedAz(
        role_assignment=[{"id": "ours", "description": mark}, {"id": "theirs", "description": None}],
        role_definition=[
            {"name": "a", "roleName": f"VM scale set maintainer ({mark}, {SUBSCRIPTION})"},
            {"name": "b", "roleName": f"Service Bus queue properties reader ({mark})"},
            {"name": "c", "roleName": f"VM scale set maintainer ({mark}2, {SUBSCRIPTION})"},
        ],
        group=[{"name": "rg-dev-health", "tags": {"azd-env-name": "dev"}}, {"name": "shop", "tags": None}],
    )
    rights.clean(SUBSCRIPTION, ENVIRONMENT, az)
    assert [command[:5] for command in az.done] == [
        ("role", "assignment", "delete", "--ids", "ours"),
        ("role", "definition", "delete", "--name", "a"),
        ("role", "definition", "delete", "--name", "b"),
        ("group", "delete", "--name", "rg-dev-health", "--subscription"),
    ]
    again = RecordedAz()
    rights.clean(SUBSCRIPTION, ENVIRONMENT, again)
    assert again.done == []


def test_failed_command_ends_the_hook_with_its_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: str) -> object:
        raise AzureCliError("az is not signed in")

    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    assert post_down.main(fail) == 1
    assert post_deploy.main(fail, lambda _: None) == 1
    assert "not signed in" in capsys.readouterr().out


@pytest.mark.parametrize("assign", ["true", "false"])
def test_preview_of_what_was_never_provisioned_does_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], assign: str
) -> None:
    inputs = ("AZURE_ENV_NAME", "AZURE_SUBSCRIPTION_ID", "AZURE_LOCATION", "MAINTENANCE_ALLOWED_SCOPES")
    for name in inputs:
        monkeypatch.setenv(name, ENVIRONMENT[name])
    monkeypatch.setenv("WORKER_ASSIGN_ROLES", assign)
    az, kept = RecordedAz(), dict[str, str]()
    assert post_provision.main(az, kept.__setitem__) == 0
    assert (az.done, kept, capsys.readouterr().out) == ([], {}, "")


OTHER = "99999999-9999-4999-8999-999999999999"
READER = {"roleDefinitionName": "Compute operations reader (x)"}
STARTER = {"roleDefinitionName": "VM scale set maintainer (x)"}


def assignment(number: str, scope: str, **changes: Any) -> dict[str, Any]:
    ours = {"description": rights.owner(ENVIRONMENT), "principalId": "maintainer"}
    return {"id": number, "scope": scope, **ours, **STARTER, **changes}


def test_right_at_a_scope_that_left_the_list_is_stale_and_no_other() -> None:
    whole = f"/subscriptions/{SUBSCRIPTION}"
    listed = [
        assignment("allowed", f"{whole}/resourceGroups/SHOP"),
        assignment("left", f"{whole}/resourceGroups/old"),
        assignment("too-wide", whole),
        assignment("reads", whole, **READER),
        assignment("host", f"{whole}/resourceGroups/old", principalId="host"),
        assignment("theirs", f"{whole}/resourceGroups/old", description=None),
    ]
    assert rights.stale_assignments(listed, ENVIRONMENT) == ["left", "too-wide"]


def test_role_for_reading_that_was_given_by_id_is_no_stale_right() -> None:
    given = ENVIRONMENT | {"WORKER_OPERATIONS_READER_ROLE_ID": "/Roles/Read"}
    listed = [
        assignment("reads", f"/subscriptions/{SUBSCRIPTION}", roleDefinitionName="R", roleDefinitionId="/roles/read")
    ]
    assert rights.stale_assignments(listed, given) == []
    assert rights.stale_assignments(listed, ENVIRONMENT) == ["reads"]


def test_subscription_that_left_the_list_is_cleaned_and_forgotten() -> None:
    az = RecordedAz(role_assignment=[assignment("left", f"/subscriptions/{OTHER}")])
    kept: dict[str, str] = {}
    seen = ENVIRONMENT | {rights.SEEN: f"{SUBSCRIPTION},{OTHER}"}
    post_provision.remove_stale_rights(seen, az, kept.__setitem__)
    deleted = [command for command in az.done if command[:3] == ("role", "assignment", "delete")]
    assert ("role", "assignment", "delete", "--ids", "left", "--subscription", OTHER) in deleted
    assert kept == {rights.SEEN: SUBSCRIPTION}


def test_first_provisioning_looks_for_nothing_and_notes_where_it_was() -> None:
    kept: dict[str, str] = {}

    def unexpected(*_: str) -> object:
        raise AssertionError("nothing is to be asked")

    elsewhere = ENVIRONMENT | {"WORKER_ALLOWED_SCOPES": f"/subscriptions/{OTHER}"}
    post_provision.remove_stale_rights(elsewhere, unexpected, kept.__setitem__)
    assert kept == {rights.SEEN: f"{SUBSCRIPTION},{OTHER}"}


def test_down_cleans_every_subscription_that_was_ever_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (ENVIRONMENT | {rights.SEEN: OTHER}).items():
        monkeypatch.setenv(name, value)
    asked = []

    def run(*arguments: str) -> object:
        asked.append(arguments[arguments.index("--subscription") + 1])
        return []

    assert post_down.main(run) == 0
    assert list(dict.fromkeys(asked)) == [SUBSCRIPTION, OTHER]
