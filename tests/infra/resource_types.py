"""The resource types that the template uses, and their properties: what the compiler knows and the parsers do not.

Names, levels and what is required are those of https://github.com/Azure/bicep-types-az at the versions given.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from tests.infra.bicep import Literal, resources

# `name!`: required. `name{…}`: an object or a list of objects with these properties. `name{*}`: any properties.
TABLE: dict[str, str] = {
    "Microsoft.Resources/resourceGroups@2021-04-01": "name! location! tags{*}",
    "Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30": "name! location! tags{*}",
    "Microsoft.OperationalInsights/workspaces@2023-09-01": """name! location! tags{*}
        properties{sku{name!} retentionInDays features{disableLocalAuth}}""",
    "Microsoft.Insights/components@2020-02-02": """name! location! kind! tags{*}
        properties{Application_Type! WorkspaceResourceId DisableLocalAuth}""",
    "Microsoft.Authorization/roleAssignments@2022-04-01": """name!
        properties!{principalId! principalType roleDefinitionId! description}""",
    "Microsoft.Authorization/roleDefinitions@2022-04-01": """name!
        properties{roleName description type permissions{actions notActions dataActions notDataActions}
        assignableScopes}""",
    "Microsoft.Storage/storageAccounts@2024-01-01": """name! location! kind! sku!{name!} tags{*}
        properties{allowBlobPublicAccess allowCrossTenantReplication allowSharedKeyAccess defaultToOAuthAuthentication
        minimumTlsVersion supportsHttpsTrafficOnly publicNetworkAccess networkAcls{bypass defaultAction!}}""",
    "Microsoft.Storage/storageAccounts/blobServices@2024-01-01": "name!",
    "Microsoft.Storage/storageAccounts/blobServices/containers@2024-01-01": "name! properties{publicAccess}",
    "Microsoft.ServiceBus/namespaces@2024-01-01": """name! location! tags{*} sku{name! tier capacity}
        properties{disableLocalAuth minimumTlsVersion publicNetworkAccess}""",
    "Microsoft.ServiceBus/namespaces/queues@2024-01-01": """name!
        properties{deadLetteringOnMessageExpiration defaultMessageTimeToLive duplicateDetectionHistoryTimeWindow
        forwardDeadLetteredMessagesTo forwardTo lockDuration maxDeliveryCount requiresDuplicateDetection
        requiresSession}""",
    "Microsoft.ServiceBus/namespaces/topics@2024-01-01": """name!
        properties{defaultMessageTimeToLive requiresDuplicateDetection duplicateDetectionHistoryTimeWindow}""",
    "Microsoft.ServiceBus/namespaces/topics/subscriptions@2024-01-01": """name!
        properties{deadLetteringOnMessageExpiration defaultMessageTimeToLive forwardDeadLetteredMessagesTo forwardTo
        lockDuration maxDeliveryCount requiresSession}""",
    "Microsoft.ServiceBus/namespaces/topics/subscriptions/rules@2024-01-01": """name!
        properties{filterType sqlFilter{sqlExpression} action{sqlExpression}
        correlationFilter{correlationId messageId to replyTo label sessionId replyToSessionId contentType
        properties{*}}}""",
    "Microsoft.Compute/virtualMachineScaleSets@2024-07-01": "name!",
    "Microsoft.Web/serverfarms@2024-11-01": "name! location! kind tags{*} sku{name tier} properties{reserved}",
    "Microsoft.Web/sites@2024-11-01": """name! location! kind tags{*} identity{type userAssignedIdentities{*}}
        properties{serverFarmId httpsOnly virtualNetworkSubnetId siteConfig{minTlsVersion}
        functionAppConfig{deployment{storage{type value authentication{type userAssignedIdentityResourceId}}}
        runtime{name version} scaleAndConcurrency{instanceMemoryMB maximumInstanceCount
        alwaysReady{name instanceCount} triggers{http{perInstanceConcurrency}}}}}""",
    "Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-11-01": "name! properties{allow!}",
    "Microsoft.Web/sites/config@2024-11-01 appsettings": "name! properties{*}",
    "Microsoft.Web/sites/config@2024-11-01 authsettingsV2": """name!
        properties{platform{enabled} httpSettings{requireHttps}
        globalValidation{requireAuthentication unauthenticatedClientAction}
        identityProviders{azureActiveDirectory{enabled registration{clientId openIdIssuer}
        validation{allowedAudiences defaultAuthorizationPolicy{allowedApplications}}}}}""",
    "Microsoft.Insights/actionGroups@2023-01-01": """name! location! tags{*}
        properties{enabled! groupShortName! emailReceivers{name! emailAddress! useCommonAlertSchema}
        azureFunctionReceivers{name! functionAppResourceId! functionName! httpTriggerUrl! useCommonAlertSchema}
        webhookReceivers{name! serviceUri! useCommonAlertSchema useAadAuth objectId identifierUri tenantId}}""",
    "Microsoft.Insights/activityLogAlerts@2020-10-01": """name! location tags{*}
        properties{description enabled scopes! condition!{allOf!{field equals containsAny}}
        actions!{actionGroups{actionGroupId!}}}""",
    "Microsoft.Insights/metricAlerts@2018-03-01": """name! location! tags{*}
        properties!{description severity! enabled! autoMitigate scopes! evaluationFrequency! windowSize!
        criteria!{odata.type! allOf{name! criterionType! metricNamespace metricName! timeAggregation! operator!
        threshold! dimensions{name! operator! values!}}} actions{actionGroupId}}""",
    "Microsoft.Insights/scheduledQueryRules@2023-12-01": """name! location! kind tags{*}
        properties!{displayName description severity enabled autoMitigate skipQueryValidation scopes
        evaluationFrequency windowSize criteria{allOf{query timeAggregation operator threshold
        failingPeriods{numberOfEvaluationPeriods minFailingPeriodsToAlert}}} actions{actionGroups}}""",
    "Microsoft.Insights/workbooks@2023-06-01": """name! location! kind tags{*}
        properties{displayName! category! version sourceId serializedData!}""",
}
# Bicep's own, of every resource.
BICEP = frozenset({"parent", "scope", "dependsOn"})


@dataclass
class Level:
    """The properties of an object by name, and which of them are required. `free`: any others, too."""

    properties: dict[str, Level] = field(default_factory=dict)
    required: set[str] = field(default_factory=set)
    free: bool = False


def read_levels(text: str) -> Level:
    """Read an entry of the table."""
    levels = [Level()]
    for name, mark, opened, closed in re.findall(r"([\w.*-]+)(!?)(\{?)|(\})", text):
        if closed:
            levels.pop()
        elif name == "*":
            levels[-1].free = True
        else:
            level = Level()
            levels[-1].properties[name] = level
            if mark:
                levels[-1].required.add(name)
            if opened:
                levels.append(level)
    return levels[0]


def property_problems(text: str) -> list[str]:
    """Types, versions and properties that are in no table, or stand in the wrong place, or are missing."""
    problems = []
    for resource in resources(text):
        entry = TABLE.get(resource.type) or TABLE.get(f"{resource.type} {resource.name}")
        if entry is None:
            problems.append(f"{resource.symbol}: {resource.type} {resource.name} is not in the table")
        else:
            found = _compare(resource.body, read_levels(entry), top=True, whole=not resource.exists)
            problems += [f"{resource.symbol}: {each}" for each in found]
    return problems


def _compare(body: Literal, level: Level, *, top: bool, whole: bool) -> list[str]:
    problems = []
    if whole and body.whole:
        problems += [f"{name} is missing" for name in sorted(level.required - set(body.properties))]
    for name, values in body.properties.items():
        if name in level.properties:
            inner = level.properties[name]
            problems += [
                f"{name}.{problem}" for value in values for problem in _compare(value, inner, top=False, whole=whole)
            ]
        elif not (level.free or (top and name in BICEP)):
            problems.append(f"{name} is unknown here")
    return problems
