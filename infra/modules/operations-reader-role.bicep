// The role that reads operations of Resource Manager. They live in the subscription, not in a resource group.

targetScope = 'subscription'

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

resource definition 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(subscription().id, roleName)
  properties: {
    roleName: roleName
    description: 'Read the state of operations of Microsoft.Compute, and list VM scale sets where alerts need it.'
    type: 'CustomRole'
    permissions: [
      {
        actions: concat(operationsActions, listScaleSets ? listActions : [])
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
output id string = definition.id
