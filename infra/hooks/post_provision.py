"""After provisioning: rights at scopes that were taken off the list go; what an administrator must run is printed."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping

from infra.hooks.azure_cli import Az, AzureCliError, az, remember, say
from infra.hooks.rights import (
    SEEN,
    clean,
    needed_subscriptions,
    role_definition,
    seen_subscriptions,
    stale_assignments,
)

RECEIVER = "Azure Service Bus Data Receiver"
SENDER = "Azure Service Bus Data Sender"
# Built-in roles of the app's identity on Service Bus, by the setting that names the entity: kind, default name, roles.
ENTITIES = (
    ("WORKER_REQUESTS_QUEUE", "queues", "maintenance-requests", (RECEIVER,)),
    ("WORKER_OPERATIONS_QUEUE", "queues", "maintenance-operations", (RECEIVER, SENDER)),
    ("WORKER_COORDINATION_QUEUE", "queues", "maintenance-coordination", (RECEIVER, SENDER)),
    ("WORKER_EVENTS_TOPIC", "topics", "maintenance-events", (SENDER,)),
)
LIST_SCALE_SETS = "Microsoft.Compute/virtualMachineScaleSets/read"
# Who (principal) gets which role (its name or id) where (scope).
Grant = tuple[str, str, str]


def administrator_commands(environment: Mapping[str, str]) -> list[str]:
    """Azure CLI commands that define and assign each role, in the order in which they are needed."""
    host = environment["WORKER_HOST_PRINCIPAL_ID"]
    maintainer = environment["WORKER_MAINTAINER_PRINCIPAL_ID"]
    bus = environment["WORKER_SERVICE_BUS_ID"]
    scopes = environment["WORKER_ALLOWED_SCOPES"].split(",")
    lists = environment.get("WORKER_LIST_SCALE_SETS", "true").lower() != "false"
    grants: list[Grant] = [
        (host, "Storage Blob Data Owner", environment["WORKER_STORAGE_ID"]),
        (host, "Storage Table Data Contributor", environment["WORKER_STORAGE_ID"]),
        (host, "Monitoring Metrics Publisher", environment["WORKER_APPLICATION_INSIGHTS_ID"]),
    ]
    for setting, kind, default, roles in ENTITIES:
        grants += [(host, role, f"{bus}/{kind}/{environment.get(setting) or default}") for role in roles]
    # Roles that no cloud has built in: the module that defines each, and for whom and where it is.
    own = [
        ("WORKER_QUEUE_READER_ROLE_ID", "queue-reader-role", "Service Bus queue properties reader", host, [bus], ()),
        ("WORKER_MAINTAINER_ROLE_ID", "maintainer-role", "VM scale set maintainer", maintainer, scopes, ()),
        (
            "WORKER_OPERATIONS_READER_ROLE_ID",
            "operations-reader-role",
            "Compute operations reader",
            maintainer,
            list(dict.fromkeys("/".join(scope.split("/")[:3]) for scope in scopes)),
            () if lists else (LIST_SCALE_SETS,),
        ),
    ]
    commands = []
    for setting, module, name, principal, places, without in own:
        if existing := environment.get(setting, ""):
            grants += [(principal, existing, place) for place in places]
            continue
        for subscription in dict.fromkeys(place.split("/")[2] for place in places):
            # The names of roles are unique in a tenant.
            role = f"{name} ({environment['AZURE_ENV_NAME']}, {subscription})"
            definition = role_definition(f"{module}.bicep", role, subscription, without=without)
            commands.append(f"az role definition create --role-definition '{definition}'")
            grants += [(principal, role, place) for place in places if place.split("/")[2] == subscription]
    return commands + [
        f"az role assignment create --assignee-object-id {principal} --assignee-principal-type ServicePrincipal"
        f' --role "{role}" --scope "{place}"'
        for principal, role, place in grants
    ]


def remove_stale_rights(environment: Mapping[str, str], run: Az, keep: Callable[[str, str], None]) -> None:
    """Bicep only adds. Remove what earlier lists of scopes needed and today's does not. Raises AzureCliError."""
    needed, seen = needed_subscriptions(environment), seen_subscriptions(environment)
    for subscription in seen:
        if subscription not in needed:
            say(f"Subscription {subscription} is in no allowed scope any more: removing the worker's rights there.")
            clean(subscription, environment, run)
    for subscription in needed:
        # Without an earlier provisioning there is nothing to look for.
        listed = run("role", "assignment", "list", "--all", "--subscription", subscription) if seen else []
        for stale in stale_assignments(listed or [], environment):
            say(f"Removing a right at a scope that is not allowed any more: {stale}")
            run("role", "assignment", "delete", "--ids", stale, "--subscription", subscription)
    if needed != seen:
        keep(SEEN, ",".join(needed))


def main(run: Az = az, keep: Callable[[str, str], None] = remember) -> int:
    if "WORKER_MAINTAINER_PRINCIPAL_ID" not in os.environ:
        # A preview of what was never provisioned ends here, too.
        return 0
    if os.environ.get("WORKER_ASSIGN_ROLES", "true").lower() == "false":
        say("No roles were assigned. An administrator must run:")
        for command in administrator_commands(os.environ):
            say(command)
        return 0
    try:
        remove_stale_rights(os.environ, run, keep)
    except AzureCliError as error:
        say(f"Rights that are not needed any more may be left; run `azd provision` again: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
