"""After the deployment of the code: are all functions there? Then Azure Service Health is wired to the worker."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from infra.hooks.azure_cli import Az, AzureCliError, az, completed, say

FUNCTIONS = ("poll_operations", "read_dead_letters", "receive_alert", "receive_request", "scan_scale_sets")
# The host lists its functions a little after a deployment.
ATTEMPTS = 10
SECONDS_BETWEEN = 15


def missing_functions(environment: Mapping[str, str], run: Az, sleep: Callable[[float], None]) -> list[str]:
    """The functions that the app does not list. Raises AzureCliError."""
    missing = list(FUNCTIONS)
    for attempt in range(ATTEMPTS):
        if attempt:
            sleep(SECONDS_BETWEEN)
        app = environment["AZURE_FUNCTION_NAME"]
        listed = run(
            "functionapp",
            "function",
            "list",
            "--resource-group",
            environment["AZURE_RESOURCE_GROUP"],
            "--name",
            app,
            "--subscription",
            environment["AZURE_SUBSCRIPTION_ID"],
        )
        names = {str(each["name"]).rpartition("/")[2] for each in listed or []}
        missing = [name for name in FUNCTIONS if name not in names]
        if not missing:
            break
    return missing


def deployment_name(environment: str, location: str) -> str:
    """A name for each region: what was deployed from another cannot be repeated under its name. Up to 64 characters."""
    return "service-health-" + hashlib.sha256(f"{environment}/{location}".encode()).hexdigest()[:13]


def wire_service_health(environment: Mapping[str, str], run: Az) -> None:
    """Deploy the action group and the rules. The key of the function never leaves the deployment."""
    values = {
        "environmentName": environment["AZURE_ENV_NAME"],
        "location": environment["AZURE_LOCATION"],
        "allowedScopes": environment["WORKER_ALLOWED_SCOPES"],
        "resourceGroupName": environment["AZURE_RESOURCE_GROUP"],
        "functionAppName": environment["AZURE_FUNCTION_NAME"],
        "actionGroupId": environment.get("WORKER_ALERT_ACTION_GROUP_ID", ""),
        "alertObjectId": environment.get("WORKER_ALERT_OBJECT_ID", ""),
        "alertIdentifierUri": environment.get("WORKER_ALERT_IDENTIFIER_URI", ""),
    }
    run(
        "deployment",
        "sub",
        "create",
        "--name",
        deployment_name(values["environmentName"], values["location"]),
        "--subscription",
        environment["AZURE_SUBSCRIPTION_ID"],
        "--location",
        values["location"],
        "--template-file",
        "infra/service-health.bicep",
        "--parameters",
        *[f"{name}={value}" for name, value in values.items() if value],
    )


def operators_program() -> str | None:
    """The operator's command line, where it is installed: in the clone's own environment, or on the path."""
    own = Path(".venv") / ("Scripts" if os.name == "nt" else "bin")
    return shutil.which("vmss-maintenance", path=str(own)) or shutil.which("vmss-maintenance")


def operators_checks(environment: Mapping[str, str], program: str | None) -> None:
    """Run the operator's checks where they are installed, and show what they say. They decide nothing: who deploys has
    no right to the queues, and checks need one."""
    if program is None:
        return
    done = completed(program, "doctor", "--namespace", environment["WORKER_SERVICE_BUS_HOST_NAME"])
    say(done.stdout + done.stderr)
    if done.returncode:
        say("The checks above need rights to the queues, which whoever deploys does not get; see docs/deployment.md.")


def main(
    run: Az = az,
    sleep: Callable[[float], None] = time.sleep,
    program: Callable[[], str | None] = operators_program,
) -> int:
    try:
        if missing := missing_functions(os.environ, run, sleep):
            say(f"The app does not list these functions: {', '.join(missing)}.")
            say("Look at the app's log stream and at its settings: an invalid setting stops all functions and is named")
            say("in the log. If roles were assigned a moment ago, wait two minutes and run `azd deploy` again.")
            return 1
        if os.environ.get("WORKER_WIRE_SERVICE_HEALTH", "true").lower() != "false":
            wire_service_health(os.environ, run)
            say("Azure Service Health tells the worker of planned maintenance.")
        operators_checks(os.environ, program())
    except AzureCliError as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
