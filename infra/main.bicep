// Everything that `azd up` makes: the function app, Service Bus, storage, telemetry, alerts about the worker, and the
// rights of the app. Azure Service Health is wired after the code is there: see service-health.bicep.

targetScope = 'subscription'

@description('Name of the azd environment. It is part of the names of the resource group, the roles and the alerts.')
@minLength(1)
@maxLength(64)
param environmentName string

@description('Region of the resources, one of those that have Flex Consumption.')
@allowed([
  'australiaeast'
  'australiasoutheast'
  'brazilsouth'
  'canadacentral'
  'centralindia'
  'centralus'
  'eastasia'
  'eastus'
  'eastus2'
  'eastus2euap'
  'francecentral'
  'germanywestcentral'
  'italynorth'
  'japaneast'
  'koreacentral'
  'northcentralus'
  'northeurope'
  'norwayeast'
  'southafricanorth'
  'southcentralus'
  'southeastasia'
  'southindia'
  'spaincentral'
  'swedencentral'
  'uaenorth'
  'uksouth'
  'ukwest'
  'westcentralus'
  'westeurope'
  'westus'
  'westus2'
  'westus3'
])
@metadata({
  azd: {
    type: 'location'
  }
})
param location string

@description('What the worker may maintain: ids of subscriptions, resource groups or scale sets, separated by commas or spaces. The roles and the worker\'s own check both come from it. Empty: the worker starts nothing.')
param allowedScopes string = ''

@description('Do everything except start maintenance. True until you set it to false.')
param dryRun bool = true

@description('Do everything except start maintenance for requests that come from alerts. True until you set it to false.')
param alertDryRun bool = true

@description('Further app settings of the worker, as a JSON object of strings, for example {"POLL_SCHEDULE": "0 * * * * *"}.')
param workerSettings object = {}

@description('Whether to define and assign roles. False where the deployer may not: a hook then prints what an administrator must run.')
param assignRoles bool = true

@description('Resource id of a role that exists, for starting maintenance; empty to define one.')
param maintainerRoleId string = ''

@description('Resource id of a role that exists, for reading operations in a subscription; empty to define one.')
param operationsReaderRoleId string = ''

@description('Resource id of a role that exists, for reading the properties of Service Bus queues; empty to define one.')
param queueReaderRoleId string = ''

@description('Whether the worker may list the scale sets of each subscription, also beyond the allowed scopes. Alerts of Azure Service Health name no scale set, so it has to look for those that they mean.')
param listScaleSets bool = true

@description('Version of Python.')
@allowed([
  '3.11'
  '3.12'
  '3.13'
  '3.14'
])
param pythonVersion string = '3.12'

@description('Memory of an instance in MB. Some regions refuse 512.')
@allowed([
  512
  2048
  4096
])
param instanceMemoryMB int = 2048

@description('Largest number of instances of each function. Some regions refuse fewer than 40.')
@minValue(1)
@maxValue(1000)
param maximumInstanceCount int = 40

@description('Instances of receive_request that always run, so that no request waits for a cold start. Each costs about 20 dollars a month.')
@minValue(0)
@maxValue(20)
param alwaysReadyInstances int = 0

@description('Resource id of a subnet for the app, delegated to Microsoft.App/environments; empty for none.')
param subnetId string = ''

@description('Whether the storage account can be reached from public networks.')
@allowed([
  'Enabled'
  'Disabled'
])
param storagePublicNetworkAccess string = 'Enabled'

@description('Resource id of a Service Bus namespace that exists; empty to make one. Only entities and roles are then made in it.')
param serviceBusNamespaceId string = ''

@description('Tier of the namespace.')
@allowed([
  'Standard'
  'Premium'
])
param serviceBusSku string = 'Standard'

@description('Whether the namespace can be reached from public networks. Private endpoints need Premium.')
@allowed([
  'Enabled'
  'Disabled'
])
param serviceBusPublicNetworkAccess string = 'Enabled'

@description('Name of the queue that requests come in by.')
param requestsQueueName string = 'maintenance-requests'

@description('Name of the queue that holds the state of all runs.')
param operationsQueueName string = 'maintenance-operations'

@description('Name of the queue of leases and cancellation markers.')
param coordinationQueueName string = 'maintenance-coordination'

@description('Name of the topic of events.')
param eventsTopicName string = 'maintenance-events'

@description('Resource id of a Log Analytics workspace that exists; empty to make one.')
param workspaceId string = ''

@description('Days that a new workspace keeps telemetry.')
@minValue(30)
@maxValue(730)
param retentionInDays int = 30

@description('E-mail address for alerts about the worker itself; empty for none.')
param operatorsEmail string = ''

@description('Resource id of an action group that exists, for alerts about the worker itself; empty to make one for the address.')
param operatorsActionGroupId string = ''

@description('Client id of the app registration that alerts sign in to; empty where alerts come with a function key.')
param alertClientId string = ''

@description('Application ids that may call with a token of that app registration, as a JSON list. The default is AzNS AAD Webhook, which action groups use.')
param alertCallers array = [
  '461e8683-5575-4561-ac7f-899cc907d62a'
]

var abbreviations = loadJsonContent('abbreviations.json')
var resourceToken = toLower(uniqueString(subscription().id, environmentName, location))
// What marks roles and assignments of this environment; the postdown hook finds them by it.
var owner = 'vmss-maintenance/${environmentName}/${subscription().subscriptionId}'
var tags = {
  'azd-env-name': environmentName
}

// One parameter feeds the roles and the setting, so they cannot drift.
var scopeTexts = filter(split(allowedScopes, [',', ';', ' ']), text => !empty(text))
// A bare subscription id means the same as its path; a slash at the end means nothing.
var scopePaths = union(map(scopeTexts, text => startsWith(text, '/') ? text : '/subscriptions/${text}'), [])
// The places of the names in an id: /subscriptions/{2}/resourceGroups/{4}/providers/{6}/{7}/{8}.
var scopes = map(scopePaths, path => {
  subscriptionId: toLower(split(path, '/')[?2] ?? '')
  resourceGroupName: split(path, '/')[?4] ?? ''
  scaleSetName: split(path, '/')[?8] ?? ''
})
// Where no role is to be assigned, the loops below have nothing to run over.
var grantedScopes = assignRoles ? scopes : []
var subscriptionIds = union(map(grantedScopes, scope => scope.subscriptionId), [])
var subscriptionScopes = filter(grantedScopes, scope => empty(scope.resourceGroupName))
var groupScopes = filter(grantedScopes, scope => !empty(scope.resourceGroupName) && empty(scope.scaleSetName))
var scaleSetScopes = filter(grantedScopes, scope => !empty(scope.scaleSetName))

var groupName = '${abbreviations.resourceGroup}${environmentName}'
var namespaceIdParts = split(serviceBusNamespaceId, '/')
var namespaceSubscriptionId = namespaceIdParts[?2] ?? subscription().subscriptionId
var namespaceResourceGroupName = namespaceIdParts[?4] ?? groupName

resource group 'Microsoft.Resources/resourceGroups@2021-04-01' = {
  name: groupName
  location: location
  tags: tags
}

module identities 'modules/identities.bicep' = {
  name: 'identities'
  scope: group
  params: {
    location: location
    tags: tags
    hostIdentityName: '${abbreviations.identity}host-${resourceToken}'
    maintainerIdentityName: '${abbreviations.identity}maintainer-${resourceToken}'
  }
}

module workspace 'modules/workspace.bicep' = if (empty(workspaceId)) {
  name: 'workspace'
  scope: group
  params: {
    location: location
    tags: tags
    workspaceName: '${abbreviations.logAnalyticsWorkspace}${resourceToken}'
    retentionInDays: retentionInDays
  }
}

module applicationInsights 'modules/application-insights.bicep' = {
  name: 'application-insights'
  scope: group
  params: {
    location: location
    tags: tags
    componentName: '${abbreviations.applicationInsights}${resourceToken}'
    workspaceId: empty(workspaceId) ? workspace!.outputs.id : workspaceId
    hostPrincipalId: identities.outputs.hostPrincipalId
    assignRoles: assignRoles
    owner: owner
  }
}

module storage 'modules/storage.bicep' = {
  name: 'storage'
  scope: group
  params: {
    location: location
    tags: tags
    accountName: '${abbreviations.storageAccount}${resourceToken}'
    containerName: 'package'
    publicNetworkAccess: storagePublicNetworkAccess
    hostPrincipalId: identities.outputs.hostPrincipalId
    assignRoles: assignRoles
    owner: owner
  }
}

module serviceBusNamespace 'modules/service-bus-namespace.bicep' = if (empty(serviceBusNamespaceId)) {
  name: 'service-bus-namespace'
  scope: group
  params: {
    location: location
    tags: tags
    namespaceName: '${abbreviations.serviceBusNamespace}${resourceToken}'
    sku: serviceBusSku
    publicNetworkAccess: serviceBusPublicNetworkAccess
  }
}

module serviceBusEntities 'modules/service-bus-entities.bicep' = {
  name: 'service-bus-entities-${resourceToken}'
  scope: resourceGroup(namespaceSubscriptionId, namespaceResourceGroupName)
  params: {
    namespaceName: empty(serviceBusNamespaceId) ? serviceBusNamespace!.outputs.name : last(namespaceIdParts)
    entityNames: {
      'maintenance-requests': requestsQueueName
      'maintenance-operations': operationsQueueName
      'maintenance-coordination': coordinationQueueName
      'maintenance-events': eventsTopicName
    }
  }
}

module queueReaderRole 'modules/queue-reader-role.bicep' = if (assignRoles && empty(queueReaderRoleId)) {
  name: 'queue-reader-role-${resourceToken}'
  scope: subscription(namespaceSubscriptionId)
  params: {
    owner: owner
  }
}

module serviceBusRoles 'modules/service-bus-roles.bicep' = if (assignRoles) {
  name: 'service-bus-roles-${resourceToken}'
  scope: resourceGroup(namespaceSubscriptionId, namespaceResourceGroupName)
  params: {
    namespaceName: serviceBusEntities.outputs.namespaceName
    requestsQueueName: requestsQueueName
    operationsQueueName: operationsQueueName
    coordinationQueueName: coordinationQueueName
    eventsTopicName: eventsTopicName
    hostPrincipalId: identities.outputs.hostPrincipalId
    queueReaderRoleId: empty(queueReaderRoleId) ? queueReaderRole!.outputs.id : queueReaderRoleId
    owner: owner
  }
}

module maintainerRoles 'modules/maintainer-role.bicep' = [for id in subscriptionIds: {
  name: 'maintainer-role-${uniqueString(id, resourceToken)}'
  scope: subscription(id)
  params: {
    existingRoleId: maintainerRoleId
    owner: owner
  }
}]

module operationsReaderRoles 'modules/operations-reader-role.bicep' = [for id in subscriptionIds: {
  name: 'operations-reader-role-${uniqueString(id, resourceToken)}'
  scope: subscription(id)
  params: {
    existingRoleId: operationsReaderRoleId
    listScaleSets: listScaleSets
    owner: owner
  }
}]

module operationsReaders 'modules/role-at-subscription.bicep' = [for (id, index) in subscriptionIds: {
  name: 'operations-reader-${uniqueString(id, resourceToken)}'
  scope: subscription(id)
  params: {
    principalId: identities.outputs.maintainerPrincipalId
    roleDefinitionId: operationsReaderRoles[index].outputs.id
    owner: owner
  }
}]

module subscriptionMaintainers 'modules/role-at-subscription.bicep' = [for scope in subscriptionScopes: {
  name: 'maintainer-${uniqueString(scope.subscriptionId, resourceToken)}'
  scope: subscription(scope.subscriptionId)
  params: {
    principalId: identities.outputs.maintainerPrincipalId
    roleDefinitionId: maintainerRoles[indexOf(subscriptionIds, scope.subscriptionId)].outputs.id
    owner: owner
  }
}]

module groupMaintainers 'modules/role-at-resource-group.bicep' = [for scope in groupScopes: {
  name: 'maintainer-${uniqueString(scope.subscriptionId, scope.resourceGroupName, resourceToken)}'
  scope: resourceGroup(scope.subscriptionId, scope.resourceGroupName)
  params: {
    principalId: identities.outputs.maintainerPrincipalId
    roleDefinitionId: maintainerRoles[indexOf(subscriptionIds, scope.subscriptionId)].outputs.id
    owner: owner
  }
}]

module scaleSetMaintainers 'modules/role-at-scale-set.bicep' = [for scope in scaleSetScopes: {
  name: 'maintainer-${uniqueString(scope.subscriptionId, scope.resourceGroupName, scope.scaleSetName, resourceToken)}'
  scope: resourceGroup(scope.subscriptionId, scope.resourceGroupName)
  params: {
    scaleSetName: scope.scaleSetName
    principalId: identities.outputs.maintainerPrincipalId
    roleDefinitionId: maintainerRoles[indexOf(subscriptionIds, scope.subscriptionId)].outputs.id
    owner: owner
  }
}]

module functionApp 'modules/function-app.bicep' = {
  name: 'function-app'
  scope: group
  params: {
    location: location
    tags: tags
    serviceName: 'worker'
    planName: '${abbreviations.plan}${resourceToken}'
    appName: '${abbreviations.functionApp}${resourceToken}'
    pythonVersion: pythonVersion
    instanceMemoryMB: instanceMemoryMB
    maximumInstanceCount: maximumInstanceCount
    alwaysReadyInstances: alwaysReadyInstances
    subnetId: subnetId
    hostIdentityId: identities.outputs.hostId
    hostClientId: identities.outputs.hostClientId
    maintainerIdentityId: identities.outputs.maintainerId
    maintainerClientId: identities.outputs.maintainerClientId
    containerUrl: storage.outputs.containerUrl
    blobEndpoint: storage.outputs.blobEndpoint
    queueEndpoint: storage.outputs.queueEndpoint
    tableEndpoint: storage.outputs.tableEndpoint
    applicationInsightsConnectionString: applicationInsights.outputs.connectionString
    serviceBusHostName: serviceBusEntities.outputs.hostName
    workerSettings: union(workerSettings, {
      AZURE_CLOUD: environment().name
      MAINTENANCE_ALLOWED_SCOPES: join(scopePaths, ',')
      MAINTENANCE_DRY_RUN: toLower(string(dryRun))
      MAINTENANCE_ALERT_DRY_RUN: toLower(string(alertDryRun))
      MAINTENANCE_ALERT_TOKEN_AUDIENCE: alertClientId
      MAINTENANCE_ALERT_TOKEN_TENANT: empty(alertClientId) ? '' : tenant().tenantId
      MAINTENANCE_ALERT_TOKEN_CALLERS: empty(alertClientId) ? '' : join(alertCallers, ',')
      REQUESTS_QUEUE: requestsQueueName
      OPERATIONS_QUEUE: operationsQueueName
      COORDINATION_QUEUE: coordinationQueueName
      EVENTS_TOPIC: eventsTopicName
    })
    alertClientId: alertClientId
    tenantId: tenant().tenantId
    alertCallers: alertCallers
  }
}

module operatorsActionGroup 'modules/operators-action-group.bicep' = if (empty(operatorsActionGroupId) && !empty(operatorsEmail)) {
  name: 'operators-action-group'
  scope: group
  params: {
    tags: tags
    actionGroupName: '${abbreviations.actionGroup}${environmentName}-operators'
    emailAddress: operatorsEmail
  }
}

module operatorsAlerts 'modules/operators-alerts.bicep' = if (!empty(operatorsActionGroupId) || !empty(operatorsEmail)) {
  name: 'operators-alerts'
  scope: group
  params: {
    location: location
    tags: tags
    namePrefix: '${environmentName}-'
    actionGroupId: empty(operatorsActionGroupId) ? operatorsActionGroup!.outputs.id : operatorsActionGroupId
    namespaceId: serviceBusEntities.outputs.namespaceId
    entityNames: serviceBusEntities.outputs.names
    requestsQueueName: requestsQueueName
    workspaceId: empty(workspaceId) ? workspace!.outputs.id : workspaceId
    componentId: applicationInsights.outputs.id
  }
}

module workbook 'modules/workbook.bicep' = {
  name: 'workbook'
  scope: group
  params: {
    location: location
    tags: tags
    displayName: 'VM scale set maintenance (${environmentName})'
    workspaceId: empty(workspaceId) ? workspace!.outputs.id : workspaceId
    componentId: applicationInsights.outputs.id
  }
}

@description('Region of the resources.')
output AZURE_LOCATION string = location

@description('Tenant of the subscription.')
output AZURE_TENANT_ID string = tenant().tenantId

@description('Resource group of the function app.')
output AZURE_RESOURCE_GROUP string = group.name

@description('Name of the function app.')
output AZURE_FUNCTION_NAME string = functionApp.outputs.name

@description('Resource id of the function app.')
output WORKER_FUNCTION_APP_ID string = functionApp.outputs.id

@description('Host name of the function app.')
output WORKER_HOST_NAME string = functionApp.outputs.hostName

@description('Host name of the Service Bus namespace.')
output WORKER_SERVICE_BUS_HOST_NAME string = serviceBusEntities.outputs.hostName

@description('Resource id of the Service Bus namespace.')
output WORKER_SERVICE_BUS_ID string = serviceBusEntities.outputs.namespaceId

@description('Resource id of the storage account.')
output WORKER_STORAGE_ID string = storage.outputs.id

@description('Resource id of Application Insights.')
output WORKER_APPLICATION_INSIGHTS_ID string = applicationInsights.outputs.id

@description('Principal id of the identity of the app.')
output WORKER_HOST_PRINCIPAL_ID string = identities.outputs.hostPrincipalId

@description('Principal id of the identity for Resource Manager.')
output WORKER_MAINTAINER_PRINCIPAL_ID string = identities.outputs.maintainerPrincipalId

@description('What the worker may maintain.')
output WORKER_ALLOWED_SCOPES string = join(scopePaths, ',')
