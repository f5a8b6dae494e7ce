"""What the template must hold to beside its syntax: roles, actions, app settings, outputs and entities."""

from __future__ import annotations

import re
from typing import Any

from tests.infra.bicep import resources

# Data roles of Service Bus (Receiver, Sender, Owner): never on a namespace.
DATA_ROLES = (
    "4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0",
    "69a216fc-b8fb-44d8-bc22-1f3c2cd27a39",
    "090c5cfd-751d-490a-894a-3ce6f1109419",
)
DOCUMENTED_ROLES = {
    "receiver": DATA_ROLES[0],
    "sender": DATA_ROLES[1],
    "blobDataOwner": "b7e6dc6d-f1e8-4753-8033-0f276bb0955b",
    "tableDataContributor": "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3",
    "metricsPublisher": "3913510d-42f4-4e42-8a64-420c390055eb",
}
FORBIDDEN_SETTINGS = frozenset(
    {
        "FUNCTIONS_WORKER_RUNTIME",
        "FUNCTIONS_WORKER_RUNTIME_VERSION",
        "FUNCTIONS_EXTENSION_VERSION",
        "FUNCTIONS_WORKER_PROCESS_COUNT",
        "FUNCTIONS_MAX_HTTP_CONCURRENCY",
        "WEBSITE_RUN_FROM_PACKAGE",
        "WEBSITE_CONTENTAZUREFILECONNECTIONSTRING",
        "WEBSITE_CONTENTSHARE",
        "WEBSITE_CONTENTOVERVNET",
        "WEBSITE_VNET_ROUTE_ALL",
        "WEBSITE_DNS_SERVER",
        "WEBSITE_NODE_DEFAULT_VERSION",
        "WEBSITE_MAX_DYNAMIC_APPLICATION_SCALE_OUT",
        "WEBSITE_MOUNT_ENABLED",
        "SCM_DO_BUILD_DURING_DEPLOYMENT",
        "ENABLE_ORYX_BUILD",
        "TZ",
        "WEBSITE_TIME_ZONE",
    }
)


def role_problems(text: str) -> list[str]:
    """Role assignments whose scope is too wide, or whose principal is not one of the app's."""
    problems = []
    roles = dict(re.findall(r"^var (\w+) = .*'([0-9a-f]{8}-[0-9a-f-]{27})'\)?$", text, re.MULTILINE))
    for name, role in roles.items():
        if DOCUMENTED_ROLES.get(name) != role:
            problems.append(f"{name}: {role} is not the documented id")
    for resource in resources(text):
        if not resource.type.startswith("Microsoft.Authorization/roleAssignments@"):
            continue
        scope = re.search(r"^  scope: (\w+)$", resource.text, re.MULTILINE)
        role = re.search(r"roleDefinitionId: (\w+)", resource.text)
        data = role is not None and roles.get(role[1]) in DATA_ROLES
        if data and (scope is None or scope[1] == "namespace"):
            problems.append(f"{resource.symbol}: a data role on the namespace")
        if "principalType: 'ServicePrincipal'" not in resource.text or "description: owner" not in resource.text:
            problems.append(f"{resource.symbol}: no principal type or no mark")
    return problems


def actions(text: str) -> set[str]:
    """The actions that a role definition allows."""
    return set(re.findall(r"^ +'(Microsoft\.[\w/]+/(?:action|read))'$", text, re.MULTILINE))


def settings(text: str) -> set[str]:
    """The names of app settings that an object of settings sets."""
    return set(re.findall(r"^ {4,8}([A-Z][A-Za-z]*_\w+): ", text, re.MULTILINE)) | {
        name for name in FORBIDDEN_SETTINGS if re.search(rf"^ +{name}: ", text, re.MULTILINE)
    }


def output_problems(text: str) -> list[str]:
    """Outputs that may hold a secret."""
    lines = re.findall(r"^output .*$", text, re.MULTILINE)
    return [line for line in lines if re.search(r"(?i)listkeys|secret|password|\.key|sharedaccess", line)]


def entities(text: str, topology: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What the loops over topology.json give: `queues/name`, `topics/name`, `topics/name/subscriptions/name`."""
    blocks = {each.symbol: each.text for each in resources(text)}
    namespace = topology["UserConfig"]["Namespaces"][0]
    found = {}
    for queue in namespace["Queues"] if "topology.Queues" in blocks["queues"] else []:
        found[f"queues/{queue['Name']}"] = _properties(blocks["queues"], queue["Properties"])
    for topic in namespace["Topics"] if "topology.Topics" in blocks["topics"] else []:
        found[f"topics/{topic['Name']}"] = _properties(blocks["topics"], topic["Properties"])
        for each in topic["Subscriptions"]:
            path = f"topics/{topic['Name']}/subscriptions/{each['Name']}"
            found[path] = _properties(blocks["topicSubscriptions"], each["Properties"])
    return found


def _properties(block: str, source: dict[str, Any]) -> dict[str, Any]:
    found = {}
    for name, expression in re.findall(r"^    (\w+): (.+)$", block, re.MULTILINE):
        words = re.findall(r"[pP]roperties\.(\w+)", expression)
        if expression.startswith("empty(") or "?" in expression:
            value = source[words[1]] if source[words[0]] else None
        else:
            value = source[words[0]]
        if value is not None:
            found[name] = value
    return found
