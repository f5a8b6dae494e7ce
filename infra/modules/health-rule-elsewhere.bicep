// The Service Health rule of another subscription, in a resource group of its own, which the postdown hook deletes.

targetScope = 'subscription'

@description('Region of the resource group.')
param location string

@description('Tags of the resource group and the rule.')
param tags object

@description('Name of the resource group.')
param resourceGroupName string

@description('Name of the rule.')
param ruleName string

@description('Resource id of the action group that gets the alert.')
param actionGroupId string

@description('Services of Azure whose planned maintenance counts.')
param services array

resource group 'Microsoft.Resources/resourceGroups@2021-04-01' = {
  name: resourceGroupName
  location: location
  tags: tags
}

module rule 'health-rule.bicep' = {
  name: 'health-rule'
  scope: group
  params: {
    tags: tags
    ruleName: ruleName
    actionGroupId: actionGroupId
    services: services
  }
}
