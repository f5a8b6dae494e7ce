// The role that reads operations of Resource Manager. They live in the subscription, not in a resource group.

targetScope = 'subscription'

@description('Resource id of a role that exists, for reading operations; empty to define one.')
param existingRoleId string

@description('Text that marks what belongs to this environment, for its removal.')
param owner string

@description('Whether the role also lists scale sets, which alerts of Azure Service Health need.')
param listScaleSets bool

var operationsActions = [
  'Microsoft.Compute/locations/operations/read'
]
var listActions = [
  'Microsoft.Compute/virtualMachineScaleSets/read'
]
var roleName = 'Compute operations reader (${owner}, ${subscription().subscriptionId})'
var roleGuid = guid(subscription().id, roleName)

resource definition 'Microsoft.Authorization/roleDefinitions@2022-04-01' = if (empty(existingRoleId)) {
  name: roleGuid
  properties: {
    roleName: roleName
    description: 'Read the state of operations of Microsoft.Compute, and list VM scale sets where alerts need it.'
    type: 'CustomRole'
    permissions: [
      {
        actions: listScaleSets ? concat(operationsActions, listActions) : operationsActions
        notActions: []
        dataActions: []
        notDataActions: []
      }
    ]
    assignableScopes: [
      subscription().id
    ]
  }
}

@description('Resource id of the role.')
output id string = empty(existingRoleId) ? subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roleGuid) : existingRoleId
