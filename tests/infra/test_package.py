"""What `.funcignore` leaves for the deployment, and the hooks of azd."""

from __future__ import annotations

import fnmatch
import subprocess
from typing import Any

import pytest

from infra.hooks import post_deploy, post_down, post_provision, pre_provision
from infra.hooks.azure_cli import AzureCliError
from tests.infra.bicep import PROJECT

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
    "WORKER_SERVICE_BUS_ID": "/bus",
    "WORKER_STORAGE_ID": "/storage",
    "WORKER_APPLICATION_INSIGHTS_ID": "/insights",
}


def deployed() -> list[str]:
    """The files under version control that `.funcignore` leaves."""
    rules = [line for line in (PROJECT / ".funcignore").read_text().splitlines() if line and not line.startswith("#")]
    listed = subprocess.run(["git", "ls-files"], cwd=PROJECT, capture_output=True, text=True, check=True)
    return [path for path in listed.stdout.splitlines() if not _ignored(path, rules)]


def _ignored(path: str, rules: list[str]) -> bool:
    parts = path.split("/")
    ignored = False
    for rule in rules:
        pattern = rule.removeprefix("!").rstrip("/")
        candidates = parts[:-1] if rule.endswith("/") else parts
        if any(fnmatch.fnmatch(part, pattern) for part in candidates):
            ignored = not rule.startswith("!")
    return ignored


def test_only_the_worker_is_deployed() -> None:
    files = deployed()
    assert {path for path in files if "/" not in path} == {"function_app.py", "host.json", "requirements.txt"}
    assert {path.split("/")[0] for path in files if "/" in path} == {"maintenance"}
    assert all(path.endswith(".py") for path in files if "/" in path)
    assert sum((PROJECT / path).stat().st_size for path in files) < 1_000_000


def test_vendored_packages_are_deployed() -> None:
    rules = (PROJECT / ".funcignore").read_text().splitlines()
    assert not _ignored(".python_packages/lib/site-packages/httpx/__init__.py", rules)
    assert _ignored(".venv/lib/x.py", rules)


@pytest.mark.parametrize("scopes", ["", "everything", f"{SUBSCRIPTION} {SUBSCRIPTION}"])
def test_scopes_that_are_missing_or_invalid_stop_provisioning(scopes: str) -> None:
    assert pre_provision.problems({"MAINTENANCE_ALLOWED_SCOPES": scopes})


def test_valid_scopes_let_provisioning_go_on() -> None:
    assert pre_provision.problems(ENVIRONMENT) == []


def test_administrator_gets_every_role_per_entity() -> None:
    commands = post_provision.administrator_commands(ENVIRONMENT)
    assert len(commands) == len(set(commands)) == 12
    data = [command for command in commands if "Service Bus Data" in command]
    assert len(data) == 6
    assert all("/queues/" in command or "/topics/" in command for command in data)


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
    app = (PROJECT / "function_app.py").read_text()
    assert {each.split('"')[0] for each in app.split('@app.function_name("')[1:]} == set(post_deploy.FUNCTIONS)


def test_service_health_is_wired_without_a_key_in_the_command() -> None:
    az = RecordedAz()
    post_deploy.wire_service_health(ENVIRONMENT, az)
    (command,) = az.done
    assert "functionAppName=func-x" in command
    assert not [argument for argument in command if "code=" in argument or "key" in argument.lower()]


def test_down_removes_only_what_carries_the_mark() -> None:
    mark = post_down.owner(ENVIRONMENT)
    az = RecordedAz(
        role_assignment=[{"id": "ours", "description": mark}, {"id": "theirs", "description": None}],
        role_definition=[
            {"name": "a", "roleName": f"VM scale set maintainer ({mark}, {SUBSCRIPTION})"},
            {"name": "b", "roleName": f"Service Bus queue properties reader ({mark})"},
            {"name": "c", "roleName": f"VM scale set maintainer ({mark}2, {SUBSCRIPTION})"},
        ],
        group=[{"name": "rg-dev-health", "tags": {"azd-env-name": "dev"}}, {"name": "shop", "tags": None}],
    )
    post_down.clean(SUBSCRIPTION, ENVIRONMENT, az)
    assert [command[:5] for command in az.done] == [
        ("role", "assignment", "delete", "--ids", "ours"),
        ("role", "definition", "delete", "--name", "a"),
        ("role", "definition", "delete", "--name", "b"),
        ("group", "delete", "--name", "rg-dev-health", "--subscription"),
    ]
    again = RecordedAz()
    post_down.clean(SUBSCRIPTION, ENVIRONMENT, again)
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
