// Azure Service Health → receive_alert. A hook deploys this after the code: before that the function has no key.

targetScope = 'subscription'

@description('Name of the azd environment.')
@minLength(1)
@maxLength(64)
param environmentName string

@description('Region of the resource groups that are made in other subscriptions.')
param location string

@description('What the worker may maintain: ids of subscriptions, resource groups or scale sets, separated by commas or spaces. Each of their subscriptions gets a rule.')
param allowedScopes string

@description('Resource group of the function app.')
param resourceGroupName string

@description('Name of the function app.')
param functionAppName string

@description('Resource id of an action group that exists and calls the worker; empty to make one.')
param actionGroupId string = ''

@description('Object id of the app registration that alerts sign in to; empty to use the key of the function.')
param alertObjectId string = ''

@description('Identifier URI of the app registration, such as api://<client id>.')
param alertIdentifierUri string = ''

@description('Services of Azure whose planned maintenance counts.')
param services array = [
  'Virtual Machines'
  'Virtual Machine Scale Sets'
]

var abbreviations = loadJsonContent('abbreviations.json')
var tags = {
  'azd-env-name': environmentName
}
var scopeTexts = filter(split(allowedScopes, [',', ';', ' ']), text => !empty(text))
// A bare subscription id means the same as its path.
var subscriptionIds = union(map(scopeTexts, text => split(replace(toLower(text), '/subscriptions/', ''), '/')[0]), [])
var otherSubscriptionIds = filter(subscriptionIds, id => id != toLower(subscription().subscriptionId))
var ownSubscriptionIds = filter(subscriptionIds, id => id == toLower(subscription().subscriptionId))
var actionGroupName = '${abbreviations.actionGroup}${environmentName}-maintenance'
var ruleName = '${environmentName}-planned-maintenance'
var byKey = empty(actionGroupId) && empty(alertObjectId)
var byToken = empty(actionGroupId) && !empty(alertObjectId)

resource group 'Microsoft.Resources/resourceGroups@2021-04-01' existing = {
  name: resourceGroupName
}

module actionGroupByKey 'modules/health-action-group.bicep' = if (byKey) {
  name: 'health-action-group'
  scope: group
  params: {
    tags: tags
    actionGroupName: actionGroupName
    functionAppName: functionAppName
  }
}

module actionGroupByToken 'modules/health-action-group-without-key.bicep' = if (byToken) {
  name: 'health-action-group-without-key'
  scope: group
  params: {
    tags: tags
    actionGroupName: actionGroupName
    functionAppName: functionAppName
    alertObjectId: alertObjectId
    alertIdentifierUri: alertIdentifierUri
  }
}

module ownRule 'modules/health-rule.bicep' = [for id in ownSubscriptionIds: {
  name: 'health-rule-${uniqueString(id, environmentName, location)}'
  scope: group
  params: {
    tags: tags
    ruleName: ruleName
    actionGroupId: byKey ? actionGroupByKey!.outputs.id : (byToken ? actionGroupByToken!.outputs.id : actionGroupId)
    services: services
  }
}]

module otherRules 'modules/health-rule-elsewhere.bicep' = [for id in otherSubscriptionIds: {
  name: 'health-rule-${uniqueString(id, environmentName, location)}'
  scope: subscription(id)
  params: {
    location: location
    tags: tags
    resourceGroupName: '${abbreviations.resourceGroup}${environmentName}-health'
    ruleName: ruleName
    actionGroupId: byKey ? actionGroupByKey!.outputs.id : (byToken ? actionGroupByToken!.outputs.id : actionGroupId)
    services: services
  }
}]
