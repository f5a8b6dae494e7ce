// The role that starts maintenance on scale sets and reads what came of it: exactly what the worker calls.
// One definition for each subscription, since a subscription cannot leave a shared one while it has assignments.

targetScope = 'subscription'

@description('Resource id of a role that exists, for starting maintenance; empty to define one.')
param existingRoleId string

@description('Text that marks what belongs to this environment, for its removal.')
param owner string

var roleName = 'VM scale set maintainer (${owner}, ${subscription().subscriptionId})'
var roleGuid = guid(subscription().id, roleName)

resource definition 'Microsoft.Authorization/roleDefinitions@2022-04-01' = if (empty(existingRoleId)) {
  name: roleGuid
  properties: {
    roleName: roleName
    description: 'Start planned maintenance on VM scale sets and read their instances.'
    type: 'CustomRole'
    permissions: [
      {
        actions: [
          'Microsoft.Compute/virtualMachineScaleSets/performMaintenance/action'
          'Microsoft.Compute/virtualMachineScaleSets/read'
          'Microsoft.Compute/virtualMachineScaleSets/virtualMachines/read'
          'Microsoft.Compute/virtualMachineScaleSets/virtualMachines/instanceView/read'
          'Microsoft.Compute/virtualMachines/performMaintenance/action'
          'Microsoft.Compute/virtualMachines/read'
          'Microsoft.Compute/virtualMachines/instanceView/read'
        ]
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
