// Assigns one role on a subscription.

targetScope = 'subscription'

@description('Principal id of the identity that gets the role.')
param principalId string

@description('Resource id of the role.')
param roleDefinitionId string

@description('Text that marks role assignments of this environment, for its removal.')
param owner string

resource assignment 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(subscription().id, principalId, roleDefinitionId)
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: roleDefinitionId
    description: owner
  }
}
