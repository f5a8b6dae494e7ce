"""Reads Bicep without its compiler: two independent parsers, and checks of what a parser does not see."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tree_sitter
import tree_sitter_bicep
from pycep import BicepParser

PROJECT = Path(__file__).parent.parent.parent
INFRA = PROJECT / "infra"
_PARSER = tree_sitter.Parser(tree_sitter.Language(tree_sitter_bicep.language()))
_PYCEP = BicepParser()

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
_COMMON = "name location tags parent scope properties kind sku identity"
# Type@version → every property name that may stand anywhere in it. Service Bus, Flex, Insights: see docs/deployment.md.
TYPES: dict[str, str] = {
    "Microsoft.Resources/resourceGroups@2021-04-01": "",
    "Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30": "",
    "Microsoft.OperationalInsights/workspaces@2023-09-01": "retentionInDays features disableLocalAuth",
    "Microsoft.Insights/components@2020-02-02": "Application_Type WorkspaceResourceId DisableLocalAuth",
    "Microsoft.Authorization/roleAssignments@2022-04-01": "principalId principalType roleDefinitionId description",
    "Microsoft.Authorization/roleDefinitions@2022-04-01": "roleName description type permissions actions notActions "
    "dataActions notDataActions assignableScopes",
    "Microsoft.Storage/storageAccounts@2024-01-01": "allowBlobPublicAccess allowCrossTenantReplication "
    "allowSharedKeyAccess defaultToOAuthAuthentication minimumTlsVersion supportsHttpsTrafficOnly publicNetworkAccess "
    "networkAcls bypass defaultAction",
    "Microsoft.Storage/storageAccounts/blobServices@2024-01-01": "",
    "Microsoft.Storage/storageAccounts/blobServices/containers@2024-01-01": "publicAccess",
    "Microsoft.ServiceBus/namespaces@2024-01-01": "tier capacity disableLocalAuth minimumTlsVersion "
    "publicNetworkAccess",
    "Microsoft.ServiceBus/namespaces/queues@2024-01-01": "deadLetteringOnMessageExpiration defaultMessageTimeToLive "
    "duplicateDetectionHistoryTimeWindow forwardDeadLetteredMessagesTo forwardTo lockDuration maxDeliveryCount "
    "requiresDuplicateDetection requiresSession",
    "Microsoft.ServiceBus/namespaces/topics@2024-01-01": "defaultMessageTimeToLive requiresDuplicateDetection "
    "duplicateDetectionHistoryTimeWindow",
    "Microsoft.ServiceBus/namespaces/topics/subscriptions@2024-01-01": "deadLetteringOnMessageExpiration "
    "defaultMessageTimeToLive forwardDeadLetteredMessagesTo forwardTo lockDuration maxDeliveryCount requiresSession",
    "Microsoft.ServiceBus/namespaces/topics/subscriptions/rules@2024-01-01": "filterType correlationFilter sqlFilter "
    "sqlExpression action correlationId messageId to replyTo label sessionId replyToSessionId contentType",
    "Microsoft.Compute/virtualMachineScaleSets@2024-07-01": "",
    "Microsoft.Web/serverfarms@2024-11-01": "tier reserved",
    "Microsoft.Web/sites@2024-11-01": "azd-service-name type userAssignedIdentities serverFarmId httpsOnly "
    "virtualNetworkSubnetId functionAppConfig deployment storage value authentication userAssignedIdentityResourceId "
    "runtime version scaleAndConcurrency instanceMemoryMB maximumInstanceCount alwaysReady triggers http "
    "perInstanceConcurrency siteConfig minTlsVersion",
    "Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-11-01": "allow",
    "Microsoft.Web/sites/config@2024-11-01": "platform enabled globalValidation requireAuthentication "
    "unauthenticatedClientAction httpSettings requireHttps identityProviders azureActiveDirectory registration "
    "clientId openIdIssuer validation allowedAudiences defaultAuthorizationPolicy allowedApplications",
    "Microsoft.Insights/actionGroups@2023-01-01": "enabled groupShortName emailReceivers emailAddress "
    "useCommonAlertSchema azureFunctionReceivers functionAppResourceId functionName httpTriggerUrl webhookReceivers "
    "serviceUri useAadAuth objectId identifierUri tenantId",
    "Microsoft.Insights/activityLogAlerts@2020-10-01": "description enabled scopes condition allOf field equals "
    "containsAny actions actionGroups actionGroupId",
    "Microsoft.Insights/metricAlerts@2018-03-01": "description severity enabled autoMitigate scopes "
    "evaluationFrequency windowSize criteria odata.type allOf criterionType metricNamespace metricName timeAggregation "
    "operator threshold dimensions values actions actionGroupId",
    "Microsoft.Insights/scheduledQueryRules@2023-12-01": "displayName description severity enabled autoMitigate "
    "skipQueryValidation scopes evaluationFrequency windowSize criteria allOf query timeAggregation operator threshold "
    "failingPeriods numberOfEvaluationPeriods minFailingPeriodsToAlert actions actionGroups",
}


@dataclass(frozen=True)
class Resource:
    """A resource declaration: its symbol, type with version, text, and the names of all its properties."""

    symbol: str
    type: str
    text: str
    names: frozenset[str]


@dataclass(frozen=True)
class Parameter:
    """A parameter declaration: type, default as written (None: there is none), description, allowed values."""

    type: str
    default: str | None
    description: str
    allowed: tuple[str, ...]


def parameters(text: str) -> dict[str, Parameter]:
    """The parameters of a file by name, in its order."""
    found = {}
    for block in re.split(r"\n\n", text):
        declared = re.search(r"^param (\w+) (\w+)(?: = (.+))?$", block, re.MULTILINE)
        if declared is not None:
            description = re.search(r"^@description\('(.*)'\)$", block, re.MULTILINE)
            allowed = re.search(r"^@allowed\(\[\n(.*?)^\]\)", block, re.MULTILINE | re.DOTALL)
            default = declared[3]
            if default == "[":
                default = " ".join(block.rpartition(" = ")[2].split())
            found[declared[1]] = Parameter(
                type=declared[2],
                default=default,
                description=description[1].replace("\\'", "'") if description else "",
                allowed=tuple(allowed[1].split()) if allowed else (),
            )
    return found


def files() -> dict[str, str]:
    """Every Bicep file by its path below `infra`."""
    return {str(path.relative_to(INFRA)): path.read_text() for path in sorted(INFRA.rglob("*.bicep"))}


def syntax_problems(text: str) -> list[str]:
    """What either parser cannot read."""
    problems = [f"line {node.start_point[0] + 1}: {node.type}" for node in _nodes(text) if _broken(node)]
    try:
        _PYCEP.parse(text=text)
    except Exception as error:
        problems.append(f"pycep: {type(error).__name__}")
    return problems


def resources(text: str) -> list[Resource]:
    found = []
    for node in _nodes(text):
        if node.type == "resource_declaration":
            named = [child for child in node.children if child.is_named]
            names = {_property_name(each) for each in _walk(node) if each.type == "object_property"}
            settings = "'appsettings'" in _text(node)
            found.append(
                Resource(
                    _text(named[0]),
                    _text(named[1]).strip("'"),
                    _text(node),
                    frozenset() if settings else frozenset(names - {""}),
                )
            )
    return found


def property_problems(text: str) -> list[str]:
    """Types, versions and property names that are in no table."""
    problems = []
    for resource in resources(text):
        if resource.type not in TYPES:
            problems.append(f"{resource.symbol}: {resource.type} is not in the table")
            continue
        unknown = resource.names - set(f"{_COMMON} {TYPES[resource.type]}".split())
        problems += [f"{resource.symbol}: {name}" for name in sorted(unknown)]
    return problems


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


def topology() -> dict[str, Any]:
    document: dict[str, Any] = json.loads((INFRA / "topology.json").read_text())
    return document


def _nodes(text: str) -> Iterator[tree_sitter.Node]:
    yield from _walk(_PARSER.parse(text.encode()).root_node)


def _walk(node: tree_sitter.Node) -> Iterator[tree_sitter.Node]:
    yield node
    for child in node.children:
        yield from _walk(child)


def _broken(node: tree_sitter.Node) -> bool:
    return node.type == "ERROR" or node.is_missing


def _text(node: tree_sitter.Node) -> str:
    return (node.text or b"").decode()


def _property_name(node: tree_sitter.Node) -> str:
    name = _text(node.children[0]).strip("'")
    return "" if "${" in name else name
