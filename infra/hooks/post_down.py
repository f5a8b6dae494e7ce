"""After `azd down`: remove what lies outside the resource group, and only what is ours. Runs any number of times."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from infra.hooks.azure_cli import Az, AzureCliError, az, say
from maintenance.domain.resources import parse_scope, split_scopes


def owner(environment: Mapping[str, str]) -> str:
    """The mark on roles and assignments of this environment, as main.bicep writes it."""
    return f"vmss-maintenance/{environment['AZURE_ENV_NAME']}/{environment['AZURE_SUBSCRIPTION_ID']}"


def subscriptions(environment: Mapping[str, str]) -> list[str]:
    """Where something of this environment may be: its own subscription, the namespace's, those of the scopes."""
    found = [environment["AZURE_SUBSCRIPTION_ID"].lower()]
    scopes = split_scopes(environment.get("MAINTENANCE_ALLOWED_SCOPES", ""))
    found += [parse_scope(scope).subscription_id.lower() for scope in scopes]
    if namespace := environment.get("WORKER_SERVICE_BUS_NAMESPACE_ID", ""):
        found.append(namespace.split("/")[2].lower())
    return list(dict.fromkeys(found))


def clean(subscription: str, environment: Mapping[str, str], run: Az) -> None:
    """Remove assignments, roles and the health group of this environment from one subscription."""
    mark = owner(environment)
    for assignment in run("role", "assignment", "list", "--all", "--subscription", subscription) or []:
        if assignment.get("description") == mark:
            run("role", "assignment", "delete", "--ids", assignment["id"], "--subscription", subscription)
    definitions = run("role", "definition", "list", "--custom-role-only", "true", "--subscription", subscription)
    for role in definitions or []:
        name = role.get("roleName", "").lower()
        if f"({mark.lower()})" in name or f"({mark.lower()}, " in name:
            scope = f"/subscriptions/{subscription}"
            run(
                "role", "definition", "delete", "--name", role["name"], "--scope", scope, "--subscription", subscription
            )
    group = f"rg-{environment['AZURE_ENV_NAME']}-health"
    for each in run("group", "list", "--subscription", subscription) or []:
        tags = each.get("tags") or {}
        if each["name"] == group and tags.get("azd-env-name") == environment["AZURE_ENV_NAME"]:
            run("group", "delete", "--name", group, "--subscription", subscription, "--yes")


def main(run: Az = az) -> int:
    failed = 0
    for subscription in subscriptions(os.environ):
        try:
            clean(subscription, os.environ, run)
        except AzureCliError as error:
            failed = 1
            say(f"Subscription {subscription} is not clean yet; run `azd down` again, or this hook: {error}")
    if os.environ.get("WORKER_SERVICE_BUS_NAMESPACE_ID"):
        say("The queues and the topic in your namespace are left: they may hold messages. Delete them by hand.")
    return failed


if __name__ == "__main__":
    sys.exit(main())
