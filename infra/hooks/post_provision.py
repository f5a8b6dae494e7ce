"""After provisioning: where the deployer may not assign roles, what an administrator must run."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from infra.hooks.azure_cli import say

# Built-in roles of the app's identity on Service Bus, by the setting that names the entity: kind, default name, roles.
ENTITIES = (
    ("WORKER_REQUESTS_QUEUE", "queues", "maintenance-requests", ("Azure Service Bus Data Receiver",)),
    (
        "WORKER_OPERATIONS_QUEUE",
        "queues",
        "maintenance-operations",
        ("Azure Service Bus Data Receiver", "Azure Service Bus Data Sender"),
    ),
    (
        "WORKER_COORDINATION_QUEUE",
        "queues",
        "maintenance-coordination",
        ("Azure Service Bus Data Receiver", "Azure Service Bus Data Sender"),
    ),
    ("WORKER_EVENTS_TOPIC", "topics", "maintenance-events", ("Azure Service Bus Data Sender",)),
)


def administrator_commands(environment: Mapping[str, str]) -> list[str]:
    """One Azure CLI command for each role, in the order in which they are needed."""
    host = environment["WORKER_HOST_PRINCIPAL_ID"]
    maintainer = environment["WORKER_MAINTAINER_PRINCIPAL_ID"]
    bus = environment["WORKER_SERVICE_BUS_ID"]
    grants = [
        (host, "Storage Blob Data Owner", environment["WORKER_STORAGE_ID"]),
        (host, "Storage Table Data Contributor", environment["WORKER_STORAGE_ID"]),
        (host, "Monitoring Metrics Publisher", environment["WORKER_APPLICATION_INSIGHTS_ID"]),
    ]
    for setting, kind, default, roles in ENTITIES:
        grants += [(host, role, f"{bus}/{kind}/{environment.get(setting) or default}") for role in roles]
    grants.append((host, environment.get("WORKER_QUEUE_READER_ROLE_ID") or "<role that reads queues>", bus))
    scopes = environment["WORKER_ALLOWED_SCOPES"].split(",")
    role = environment.get("WORKER_MAINTAINER_ROLE_ID") or "<role that starts maintenance>"
    grants += [(maintainer, role, scope) for scope in scopes]
    reader = environment.get("WORKER_OPERATIONS_READER_ROLE_ID") or "<role that reads operations>"
    subscriptions = dict.fromkeys("/".join(scope.split("/")[:3]) for scope in scopes)
    grants += [(maintainer, reader, subscription) for subscription in subscriptions]
    return [
        f"az role assignment create --assignee-object-id {principal} --assignee-principal-type ServicePrincipal"
        f' --role "{name}" --scope "{scope}"'
        for principal, name, scope in grants
    ]


def main() -> int:
    if os.environ.get("WORKER_ASSIGN_ROLES", "true").lower() == "false":
        say("No roles were assigned. An administrator must run (docs/deployment.md has the actions of each role):")
        for command in administrator_commands(os.environ):
            say(command)
    return 0


if __name__ == "__main__":
    sys.exit(main())
