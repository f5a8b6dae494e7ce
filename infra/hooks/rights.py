"""Which rights and roles of an environment are where, and which of them nobody needs any more."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from infra.hooks.azure_cli import Az
from maintenance.domain.resources import Scope, parse_scope, split_scopes

MODULES = Path(__file__).parent.parent / "modules"
# Where roles were assigned before: a subscription whose last scope is taken off the list stays here until it is clean.
SEEN = "WORKER_SEEN_SUBSCRIPTIONS"
# How the name of the role that reads operations begins, as its module defines it.
READER = "Compute operations reader ("


def owner(environment: Mapping[str, str]) -> str:
    """The mark on roles and assignments of this environment, as main.bicep writes it."""
    return f"vmss-maintenance/{environment['AZURE_ENV_NAME']}/{environment['AZURE_SUBSCRIPTION_ID']}"


def scopes(environment: Mapping[str, str]) -> list[Scope]:
    """What the worker may maintain, as provisioned; before that, as asked for."""
    text = environment.get("WORKER_ALLOWED_SCOPES") or environment.get("MAINTENANCE_ALLOWED_SCOPES", "")
    return [parse_scope(each) for each in split_scopes(text)]


def needed_subscriptions(environment: Mapping[str, str]) -> list[str]:
    """Where this environment has something now: its own subscription, the namespace's, those of the scopes."""
    found = [environment["AZURE_SUBSCRIPTION_ID"]]
    found += [scope.subscription_id for scope in scopes(environment)]
    if namespace := environment.get("WORKER_SERVICE_BUS_NAMESPACE_ID", ""):
        found.append(namespace.split("/")[2])
    return list(dict.fromkeys(each.lower() for each in found))


def seen_subscriptions(environment: Mapping[str, str]) -> list[str]:
    """Where this environment has had something."""
    return [each.lower() for each in split_scopes(environment.get(SEEN, ""))]


def stale_assignments(assignments: Iterable[Mapping[str, Any]], environment: Mapping[str, str]) -> list[str]:
    """Ids of the assignments of ours for Resource Manager at scopes that are not on the list (any more)."""
    allowed = {_path(scope) for scope in scopes(environment)}
    subscriptions = {_path(Scope(scope.subscription_id)) for scope in scopes(environment)}
    readers = {environment.get("WORKER_OPERATIONS_READER_ROLE_ID", "").lower()} - {""}
    found = []
    for each in assignments:
        if each.get("description") != owner(environment):
            continue
        if each.get("principalId") != environment.get("WORKER_MAINTAINER_PRINCIPAL_ID"):
            continue
        reads = str(each.get("roleDefinitionName", "")).startswith(READER)
        reads = reads or str(each.get("roleDefinitionId", "")).lower() in readers
        if str(each["scope"]).lower() not in (subscriptions if reads else allowed):
            found.append(str(each["id"]))
    return found


def clean(subscription: str, environment: Mapping[str, str], run: Az) -> None:
    """Remove what carries the mark from one subscription: assignments, roles, health group. Raises AzureCliError."""
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


def role_definition(module: str, name: str, subscription: str, *, without: Iterable[str] = ()) -> str:
    """The role that a module of the template defines, as JSON for `az role definition create`."""
    text = (MODULES / module).read_text(encoding="utf-8")
    description = re.search(r"^    description: '(.*)'$", text, re.MULTILINE)
    actions = re.findall(r"^ +'(Microsoft\.[\w/]+)'$", text, re.MULTILINE)
    document = {
        "Name": name,
        "Description": description[1] if description else name,
        "Actions": [action for action in actions if action not in without],
        "AssignableScopes": [f"/subscriptions/{subscription}"],
    }
    return json.dumps(document)


def _path(scope: Scope) -> str:
    parts = f"/subscriptions/{scope.subscription_id}"
    if scope.resource_group_name is not None:
        parts += f"/resourceGroups/{scope.resource_group_name}"
    if scope.scale_set_name is not None:
        parts += f"/providers/Microsoft.Compute/virtualMachineScaleSets/{scope.scale_set_name}"
    return parts.lower()
