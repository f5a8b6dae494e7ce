// The role that reads operations of Resource Manager. They live in the subscription, not in a resource group.

targetScope = 'subscription'

@description('Text that marks what belongs to this environment, for its removal.')
param owner string

var roleName = 'Compute operations reader (${owner}, ${subscription().subscriptionId})'

resource definition 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(subscription().id, roleName)
  properties: {
    roleName: roleName
    description: 'Read the state of long-running operations of Microsoft.Compute.'
    type: 'CustomRole'
    permissions: [
      {
        actions: [
          'Microsoft.Compute/locations/operations/read'
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
output id string = definition.id
